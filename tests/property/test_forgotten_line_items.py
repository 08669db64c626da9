"""Line items that were forgotten: loaded with a beginning in the past, they count all that was logged for them."""

from collections.abc import Iterable
from copy import replace
from decimal import Decimal
from functools import cache
from itertools import groupby
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner, Result

from meterstone.catalogue.recounting import carry_all_on
from meterstone.pricing.money import add, round_money
from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.catalogue.stamped import read_terms
from meterstone.store.catalogue.subscriptions import read_subscription
from meterstone.store.dynamodb.table import StoreUnavailableError, Table
from meterstone.store.events.unmatched import list_unmatched
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE, format_instant, parse_instant
from meterstone.usage.meter import Event
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.window import Window
from meterstone_cli import __main__ as program
from meterstone_cli import session
from meterstone_cli.catalogue import read_catalogue
from meterstone_cli.commands import catalogue as commands
from meterstone_cli.progress import say
from support.counting import answers, check_analytics, check_window, right_answers
from support.memory_table import Faults, Killed
from support.oracle import Oracle
from support.recovering import SECOND, WAIT, Clock, Stream, generations
from support.scenario import ORGANIZATION, DayTotals, Scenario, Usage, World, oracles
from support.stale_table import StaleTable

START = parse_instant("2026-01-01T00:00:00Z")
NOW = START + 34 * DAY + 5 * HOUR
SUBJECT = Subject.subscription("s")

METERS = """
- {id: calls, code: calls, event_name: call, aggregation: SUM, field: n}
- {id: seats, code: seats, event_name: seat, aggregation: SUM, field: n, recurring: true}
"""
#: One counts events that `calls` counts, too; the others count what nothing counted.
FORGOTTEN = """
- {id: long, code: long, event_name: call, aggregation: SUM, field: n, filters: {kind: [long]}}
- {id: fax, code: fax, event_name: fax, aggregation: SUM, field: n}
- {id: level, code: level, event_name: level, aggregation: SUM, field: n, recurring: true}
"""
PRICES = """
- {id: %s, currency: usd, billing_model: TIERED, tier_mode: VOLUME, meter_id: %s,
   tiers: [{up_to: 3000, unit_amount: 2}, {up_to: null, unit_amount: 0.777}]}
"""
SUBSCRIPTION = """
- id: s
  customer: c
  plan: basic
  currency: USD
  start: 2026-01-01T00:00:00Z
  line_items:
  - {id: calls, price: calls, end: 2026-01-21T00:00:00Z}
  - {id: seats, price: seats}
"""
#: On a meter that is known, on new ones, and a chain of two.
NEW = """
  - {id: calls 2, price: calls, start: 2026-01-22T00:00:00Z}
  - {id: long, price: long, start: 2026-01-02T00:00:00Z}
  - {id: fax, price: fax}
  - {id: level, price: level, start: 2026-01-02T00:00:00Z, end: 2026-01-13T00:00:00Z}
  - {id: level 2, price: level, start: 2026-01-13T00:00:00Z}
"""
KNOWN = frozenset({"calls", "seats"})
WINDOWS = (
    Window(START, NOW),
    Window(START + 3 * DAY + HOUR, START + 10 * DAY),
    Window(START + 9 * DAY + 30 * MINUTE, NOW - DAY),
)


#: Reading YAML takes longer than all the rest.
_read = cache(read_catalogue)


def folder(path: Path, meters: str, subscription: str) -> Path:
    """Write a catalogue's files."""
    path.mkdir(exist_ok=True)
    files = {
        "organization": f"{{id: {ORGANIZATION.id}, name: {ORGANIZATION.name}}}",
        "customers": "- {id: c, country: DE, customer_type: company}",
        "plans": "- {code: basic}",
        "meters": meters,
        "prices": "".join(
            PRICES % (each, each)
            for each in ("calls", "seats", "long", "fax", "level")
            if f"id: {each}" in meters
        ),
        "subscriptions": subscription,
    }
    for name, text in files.items():
        (path / f"{name}.yaml").write_text(text)
    return path


def usage(seed: int, fives: int) -> list[Usage]:
    """Give events in any order; their values tell from any sum which of them it is of."""
    random = Random(seed)  # noqa: S311 - nothing secret
    names = ["call", "call", "fax", "level", "seat"] * fives
    random.shuffle(names)
    found = []
    for number, name in enumerate(names):
        properties = {"n": 2**number, "kind": random.choice(["long", "short"])}
        at = START + random.randrange(NOW - START)
        found.append(Usage(SUBJECT, Event(f"e{number}", name, at, properties)))
    return found


class Forgetful:
    """A subscription of which some events come before, and some while, what it forgot is loaded."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, fives: int = 5) -> None:
        self.before = folder(path / "before", METERS, SUBSCRIPTION)
        self.after = folder(path / "after", METERS + FORGOTTEN, SUBSCRIPTION + NEW.lstrip("\n"))
        self.table = StaleTable(page_items=7)
        self.clock = Clock(NOW)
        self.stream = Stream(self.table, self.clock)
        self.usage = usage(seed, fives)
        monkeypatch.setattr("meterstone.clock.now", self.clock)
        monkeypatch.setattr(commands, "read_catalogue", _read)
        monkeypatch.setattr(Table, "from_environment", classmethod(lambda _: self.table))
        monkeypatch.setattr(session, "surroundings", lambda: replace(self.clock.around, progress=say))
        loaded = self.load(self.before)
        assert loaded.exit_code == 0, loaded.stderr
        catalogue, _ = _read(self.after)
        self.world = World.__new__(World)
        self.world.table = self.table
        self.world.scenario = Scenario(catalogue.meters, catalogue.subscriptions, (), NOW)
        #: Those that came when all was written.
        self.since: set[str] = set()
        self._remembered: list[tuple[int, Account]] = []
        self._shown: dict[str, set[str]] = {}

    def load(self, path: Path, *options: str) -> Result:
        return CliRunner().invoke(program.app, ["load", str(path), *options], catch_exceptions=False)

    def remember(self) -> Result:
        """Load what was forgotten, and have it counted."""
        result = self.load(self.after)
        self.carry_on()
        return result

    def carry_on(self) -> None:
        """Carry on what is to be counted anew, once the leases of whoever was killed are over."""
        for _ in range(3):
            self.clock.now += WAIT
            carry_all_on(self.table, self.clock, self.clock.now + HOUR, self.clock.sleep)
            self.table.settle()
            if all(each.done_at is not None for each in read_recounts(self.table, ORGANIZATION.id)):
                return
        raise AssertionError("a recount does not come to its end")

    def account(self) -> Account:
        account = read_account(self.table, ORGANIZATION.id, consistent=True)
        assert account is not None
        return account

    def subscription(self) -> Subscription:
        return read_subscription(self.table, ORGANIZATION.id, "s", consistent=True)

    def is_followed(self) -> bool:
        """Return whether the rollups do not show yet what is read of the subscription."""
        seen = read_terms(self.table, ORGANIZATION.id, "s")
        assert seen is not None
        return seen.counting.former is not None

    def post(self, count: int = 1) -> None:
        """Have some more events come in."""
        self.stream.post(self.usage[len(self.stream.usage) :][:count])
        self.deliver()

    def deliver(self) -> None:
        """Deliver what is not yet, as far as it is taken: while the catalogue is written, not all is."""
        while self.stream.delivered < len(self.stream.records):
            try:
                self.stream.deliver(self.stream.delivered + 1)
            except StoreUnavailableError:
                return
            if len(self.subscription().line_items) > len(KNOWN) and self.account().loading_at is None:
                self.since.add(self.stream.usage[self.stream.delivered - 1].event.id)

    def ask(self) -> None:
        """Ask with all accounts that one may remember: what is answered is right, if maybe not all yet."""
        faults, self.table.faults = self.table.faults, Faults()
        now, account = self.clock.now, self.account()
        self._remembered.append((now, account))
        for each in {each for at, each in self._remembered if at >= now - 30 * SECOND}:
            self.world.account = each
            self.world.roll(now)
            self._check(each, now, fresh=each == account)
        self.table.faults = faults

    def _check(self, account: Account, now: int, *, fresh: bool) -> None:
        subscription = self.subscription()
        whole = Window(START, now)
        quantities = {
            name: cost.quantity for name, cost in self.world.usage(subscription, whole, now, account).items()
        }
        everything = self.stream.usage[: self.stream.delivered]
        known = {meter.code for meter in account.meters}
        wanted: dict[str, DayTotals] = {}
        parts = list(_chains(subscription.line_items))
        counting: list[Oracle] = []
        for items in parts:
            part = replace(subscription, line_items=items)
            counted = tuple(everything)
            if items[0].id not in KNOWN:
                number = int(quantities[items[-1].id])
                counted = tuple(each for place, each in enumerate(everything) if number >> place & 1)
                assert number == sum(2**place for place, each in enumerate(everything) if each in counted)
                self._never_less(items, {each.event.id for each in counted}, part, fresh=fresh)
            counting.append(Oracle(part, [each.event for each in counted]))
            scenario = replace(self.world.scenario, subscriptions=(part,))
            for view, days in right_answers(scenario, counted, now).items():
                wanted.setdefault(view, {}).update(_sum(wanted.get(view, {}), days))
        # The rollups follow charge by charge.
        views = {} if self.is_followed() else answers(self.world)
        for view, days in views.items():
            assert days == {key: worth for key, worth in wanted[view].items() if key[2] in known}, view
        for window in WINDOWS:
            rows = self.world.usage(subscription, window, now, account)
            assert {
                name: (cost.quantity, round_money(cost.amount, "usd")) for name, cost in rows.items()
            } == {
                name: measured
                for oracle in counting
                for name, measured in oracle.measured(window.start, window.end, now).items()
            }, window

    def _never_less(
        self, items: tuple[LineItem, ...], ids: set[str], part: Subscription, *, fresh: bool
    ) -> None:
        """Check that a new line item has all that came since it was there, and what it had when last asked."""
        of = [each.event for each in self.stream.usage if each.event.id in self.since]
        theirs = {
            event.id
            for event in of
            for item in items
            if item.meter is not None
            and part.counted(item).holds(event.at)
            and event.name == item.meter.event_name
            and (not item.meter.filters or event.properties["kind"] == "long")
        }
        assert theirs <= ids
        if fresh:
            assert self._shown.get(items[0].id, set()) <= ids
            self._shown[items[0].id] = ids

    def check_all(self) -> None:
        """Check that all is counted by the whole catalogue, once, and that nothing waits."""
        self.post(len(self.usage))
        now, account = self.clock.now, self.account()
        assert list(list_unmatched(self.table, ORGANIZATION.id)) == []
        assert generations(self.table) == {account.generation}
        assert (account.next, account.previous, account.loading_at) == (None, None, None)
        self.world.account = account
        self.world.scenario = replace(self.world.scenario, subscriptions=(self.subscription(),))
        self.world.roll(now)
        check_analytics(self.world, tuple(self.usage), now)
        (oracle,) = oracles(self.world.scenario, self.usage)
        for window in WINDOWS:
            check_window(self.world, oracle, window, now)


def _chains(items: Iterable[LineItem]) -> Iterable[tuple[LineItem, ...]]:
    """Put line items of one recurring meter together: the value of one goes on in the next."""

    def chain(item: LineItem) -> str:
        return item.meter.id if item.meter is not None and item.meter.recurring else f"item {item.id}"

    return (tuple(several) for _, several in groupby(sorted(items, key=chain), key=chain))


def _sum(one: DayTotals, other: DayTotals) -> DayTotals:
    found = dict(one)
    for key, (units, cents) in other.items():
        before = found.get(key, (Decimal(0), 0))
        found[key] = add(units, before[0]), cents + before[1]
    return {key: worth for key, worth in found.items() if any(worth)}


@pytest.fixture
def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forgetful:
    found = Forgetful(tmp_path, monkeypatch, 1)
    found.post(15)
    return found


def test_what_was_forgotten_is_counted_from_the_beginning(forgetful: Forgetful) -> None:
    unmatched = {each.event.name for each in list_unmatched(forgetful.table, ORGANIZATION.id)}
    assert unmatched == {"call", "fax", "level"}
    result = forgetful.load(forgetful.after)
    (recount,) = read_recounts(forgetful.table, ORGANIZATION.id)
    told = result.stdout.splitlines()
    assert (result.exit_code, told[-1]) == (
        0,
        f"  s: 15 events, from {format_instant(recount.since)} on, recount {recount.id}",
    )
    assert len(forgetful.subscription().line_items) == len(KNOWN), "as before until it is counted"
    forgetful.carry_on()
    assert len(forgetful.subscription().line_items) > len(KNOWN)
    assert forgetful.account().generation == "1", "nothing else is counted anew"
    forgetful.check_all()
    assert forgetful.remember().stdout == "loaded already: nothing to change\n"
    forgetful.check_all()


@pytest.mark.parametrize("seed", range(3))
def test_no_answer_is_wrong_while_what_was_forgotten_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Asked before each write: what there was is answered as ever, and what was forgotten is never too much."""
    it = Forgetful(tmp_path, monkeypatch, seed)
    it.post(15)
    random = Random(seed)  # noqa: S311 - nothing secret

    def meanwhile(_: int) -> bool:
        it.table.faults = Faults()
        if random.random() < 0.3:
            it.post()
        it.deliver()
        it.ask()
        it.table.faults = Faults(unavailable=meanwhile)
        return False

    it.table.faults = Faults(unavailable=meanwhile)
    assert it.remember().exit_code == 0
    it.table.faults = Faults()
    it.ask()
    assert len(it.stream.usage) > 17, "some came meanwhile"
    it.check_all()


@pytest.mark.slow
def test_killed_at_any_write_it_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begun() -> Forgetful:
        it = Forgetful(tmp_path, monkeypatch, 3, fives=2)
        it.post(8)
        it.ask()
        return it

    it = begun()
    start = it.table.writes
    it.remember()
    writes = it.table.writes - start
    assert writes > 20
    for number in range(writes):
        it = begun()
        it.table.faults = Faults(before=it.table.writes + number)
        with pytest.raises(Killed):
            it.remember()
        it.table.faults = Faults()
        it.post()
        it.ask()
        assert it.remember().exit_code == 0, number
        it.deliver()
        it.ask()
        it.check_all()


def test_an_open_import_is_not_in_the_way(forgetful: Forgetful) -> None:
    table, world = forgetful.table, forgetful.world
    world.account = forgetful.account()
    table.faults = Faults(before=table.writes + 2)
    with pytest.raises(Killed):
        world.load("stopped", forgetful.usage[15:17], NOW)
    table.faults = Faults()
    forgetful.clock.now += WAIT
    assert forgetful.remember().exit_code == 0
    world.load("stopped", forgetful.usage[15:17], NOW)
    forgetful.stream.usage += forgetful.usage[15:17]
    forgetful.check_all()
