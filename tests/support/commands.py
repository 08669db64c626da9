"""The command line over a table in memory: what a person types, and what comes of it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from meterstone.catalogue.recounting import carry_all_on
from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.recounts import SETTLED, Recount
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, Table
from meterstone.store.events.log import EventLog
from meterstone.store.operations.rebuild import Surroundings
from meterstone.usage.arrival import Arrival, Outcome, Subject
from meterstone.usage.instant import HOUR, parse_instant
from meterstone.usage.meter import Event
from meterstone_cli.__main__ import app
from meterstone_cli.progress import say
from support.memory_table import MemoryTable

NOW = parse_instant("2026-03-01T12:00:00Z")
ORGANIZATION = "6f9e0e0e-0000-4000-8000-000000000001"

#: A catalogue of one subscription, which prices calls and load, and a meter that nobody prices.
FILES = {
    "organization": f"id: {ORGANIZATION}",
    "customers": "- {id: c}",
    "plans": "- {code: p}",
    "meters": (
        "- {id: calls, code: x, aggregation: COUNT}\n"
        "- {id: load, code: load, aggregation: SUM, field: n}\n"
        "- {id: fax, code: fax, aggregation: COUNT}\n"
    ),
    "prices": (
        "- {id: calls, currency: usd, billing_model: FLAT_FEE, amount: 1, meter_id: calls}\n"
        "- {id: load, currency: usd, billing_model: FLAT_FEE, amount: 1, meter_id: load}\n"
        "- {id: fax, currency: usd, billing_model: FLAT_FEE, amount: 1, meter_id: fax}\n"
    ),
    "subscriptions": (
        "- id: s\n  customer: c\n  plan: p\n  currency: USD\n  start: 2026-01-01T00:00:00Z\n"
        "  line_items:\n  - {id: i, price: calls}\n  - {id: j, price: load}\n"
    ),
}


@dataclass
class Machine:
    """A person's machine: a table, a clock that moves when a command waits, a folder with a catalogue."""

    path: Path
    table: MemoryTable = field(default_factory=MemoryTable)
    now: int = NOW

    def __post_init__(self) -> None:
        self.folder = self.path / "catalogue"
        self.folder.mkdir()
        for kind, text in FILES.items():
            (self.folder / f"{kind}.yaml").write_text(text)

    def work_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have commands find this table and this clock."""
        monkeypatch.setattr(Table, "from_environment", classmethod(lambda _: self.table))
        monkeypatch.setattr("meterstone_cli.session.surroundings", self.surroundings)
        monkeypatch.setattr("meterstone.clock.now", lambda: self.now)

    def surroundings(self) -> Surroundings:
        """Give surroundings in which waiting takes no time."""
        return Surroundings(lambda: self.now, self.sleep, say)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * 1_000_000)

    def run(self, *arguments: object) -> Result:
        """Run a command."""
        return CliRunner().invoke(app, [str(each) for each in arguments])

    def of(self, *arguments: object) -> Result:
        """Run a command of the organization."""
        return self.run(*arguments, "-o", ORGANIZATION)

    def load(self, *options: str) -> Result:
        """Load the folder's catalogue."""
        return self.run("load", self.folder, *options)

    def recount(self) -> list[Recount]:
        """Let half a minute pass, and carry on the recounts that are due then."""
        self.now += SETTLED
        return carry_all_on(self.table, lambda: self.now, self.now + HOUR, self.sleep)

    def change(self, kind: str, old: str, new: str) -> None:
        """Change a file of the catalogue."""
        path = self.folder / f"{kind}.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def usage(self, name: str, *lines: object) -> Path:
        """Write a file of usage; what is no text becomes JSON."""
        path = self.path / name
        path.write_text(
            "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines)
        )
        return path

    def post(self, identity: str, subscription: str = "s", code: str = "x") -> None:
        """Log an event as ingestion does, which nothing has counted yet."""
        event = Event(identity, code, parse_instant("2026-01-15T00:00:00Z"), {})
        arrival = Arrival.of(Subject.subscription(subscription), event, self.now, {}, dated=True)
        assert EventLog(self.table, ORGANIZATION).append_each({0: arrival}) == {0: Outcome.NEW}

    def set_profile(self, expression: str, values: Item) -> None:
        """Change what stands in the organization's profile."""
        assert self.table.update(keys.organization(ORGANIZATION, "profile"), expression, values)

    @property
    def account(self) -> Account:
        """The organization's account."""
        account = read_account(self.table, ORGANIZATION, consistent=True)
        assert account is not None
        return account

    def items(self) -> dict[Key, Item]:
        """Give all that is stored."""
        return self.table.items()


def row(identity: str, **changes: Any) -> dict[str, Any]:
    """Give an event as a row of a file."""
    given = {
        "transaction_id": identity,
        "code": "x",
        "external_subscription_id": "s",
        "timestamp": "2026-02-01T00:00:00Z",
    }
    return given | changes
