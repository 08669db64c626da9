"""That what stands in the table is what the docstrings' tables say: every attribute of every kind of item."""

import re
from collections import defaultdict
from copy import replace
from types import ModuleType
from typing import Any

import pytest

from meterstone.catalogue.recounting import carry_all_on
from meterstone.scope import Scope
from meterstone.store.catalogue import api_keys
from meterstone.store.catalogue.recounts import SETTLED
from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb import packing as counters
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item
from meterstone.store.events import log as event_log
from meterstone.store.events import uncounted
from meterstone.store.events import unmatched as history
from meterstone.store.operations import purge_records
from meterstone.store.operations.purge import purge
from meterstone.store.operations.rebuild import rebuild
from meterstone.store.operations.replay import KEPT, catch_up, replay
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, format_instant
from meterstone.usage.meter import Event
from support.first_format import in_first_format
from support.managed import BASIC, NOW, OF_C, managed
from support.memory_table import MemoryTable
from support.recovering import Clock, Stream, streaming
from support.scenario import ORGANIZATION, Usage, World
from support.stored import START, rich
from support.written import write_catalogue

_KEY = {"pk", "sk"}
_DAYS = {f"{letter}{day:02}" for letter in "ufa" for day in range(1, 32)}


class Watched(MemoryTable):
    """Remembers the attributes that any item ever had, by the kind of item."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: defaultdict[str, set[str]] = defaultdict(set)

    def _store(self, key: Key, item: Item | None) -> None:
        super()._store(key, item)
        self.seen[_kind(key)] |= (item or {}).keys() - _KEY


def _kind(key: Key) -> str:
    """Name the kind of an item: what its partition key says beside the organization and the generation."""
    parts = [each for each in key.pk.split("#") if each != ORGANIZATION.id and not each.isdigit()]
    return key.sk if parts[0] == "organization" else parts[0]


def described(module: ModuleType, *items: str) -> set[str]:
    """Read the attributes of a module's table; of some items, where its first column names these."""
    found: set[str] = set()
    item = ""
    for line in (module.__doc__ or "").partition("| attribute |")[2].splitlines():
        first, *others = [cell.strip() for cell in line.strip("|").split("|")]
        item = first or item
        if not items:
            found.update(re.findall(r"`(\w+)`", first))
        elif others and item in items:
            found.update(re.findall(r"`(\w+)`", others[0]))
    return found


EVENT = described(event_log)
USAGE = described(counters)
LISTS = described(uncounted)
#: Those of one generation have its number behind them.
NUMBERS = {each for each in LISTS if each.startswith("n_")}
UNREADABLE = LISTS - NUMBERS
DESCRIBED = {
    "key": described(keys, "API key, key listing"),
    "keys": described(keys, "API key, key listing", "key listing"),
    "profile": described(keys, "`profile`"),
    "meters": described(keys, "`meters`"),
    "subscription": described(keys, "subscription"),
    "customer": described(keys, "customer", "customer, external id", "… of a customer, by external id"),
    "external": described(keys, "customer, external id", "… of a customer, by external id"),
    "catalogue": described(keys, "catalogue"),
    "usage": USAGE,
    "rollup": described(keys, "rollup") | _DAYS,
    "events": EVENT,
    "unmatched": EVENT | described(history),
    "unreadable": UNREADABLE,
    "uncounted": NUMBERS,
    "poison": described(keys, "poison"),
    "imports": described(keys, "import"),
    "purges": described(purge_records),
    "recounts": described(keys, "recount"),
    "scanned": set[str](),
    "late": described(keys, "late"),
    "organizations": set[str](),
}
#: What the client said beside an event: here it said nothing. Nothing is counted anew here.
_NOTES = {"n", "wr"}


@pytest.fixture(scope="module")
def seen() -> dict[str, set[str]]:
    """Give the attributes that items of a table had in which everything happened."""
    table = Watched()
    scenario = rich()
    _, stream = streaming(scenario, table)
    world, _ = streaming(scenario, table)
    clock = stream.clock
    _, key_id = api_keys.create_key(table, ORGANIZATION.id, "name", clock.now, [Scope.READ])
    api_keys.revoke_key(table, key_id, clock.now)
    write_catalogue(table, ORGANIZATION, scenario.meters, scenario.subscriptions, [("plan", "p", {})])
    world.load("file", scenario.usage[:6], scenario.end)
    stranger = Usage(Subject.subscription("other"), Event("u", "call", START, {"value": 1, "text": "t"}))
    other_stranger = replace(stranger, subject=Subject.subscription("another"))
    unread = Usage(Subject.subscription("ext"), Event("unread", "call", START + DAY, {}))
    stream.post([*scenario.usage[6:], stranger, other_stranger, unread])
    stream.deliver()
    unreadable = {"eventName": "INSERT", "dynamodb": {"NewImage": {"e": {}, "acc": {}}}}
    StreamFold(table).fold([unreadable], "shard", clock.now)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("meterstone.store.operations.replay._COUNTED_TOGETHER", 1)
        assert catch_up(table, ORGANIZATION.id, clock, clock.now)
    stream.withdraw(Subject.subscription("another"), ["u"])
    (subscription,) = scenario.subscriptions
    other = replace(subscription, id="other", external_id="other")
    write_catalogue(table, ORGANIZATION, scenario.meters, [other], ())
    replay(table, ORGANIZATION.id, clock)
    stream.withdraw(Subject.subscription("ext"), ["e1", "e7"])
    stream.deliver()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(keys.VIEWS, "PCY", ("plan", "country", "customer_type"))
        rebuild(table, ORGANIZATION.id, clock.around)
    keys.rollups.cache_clear()
    ended = [replace(each, end=clock.now) for each in (subscription, other)]
    write_catalogue(table, ORGANIZATION, scenario.meters, ended, ())
    clock.now += KEPT + HOUR
    purge(table, ORGANIZATION.id, subscription.customer_id, clock.around)
    before = Watched()
    in_first_format(World(scenario, before))
    for kind, attributes in (*_of_single_puts().items(), *before.seen.items()):
        table.seen[kind] |= attributes
    return dict(table.seen)


def _of_single_puts() -> dict[str, set[str]]:
    """Give what is left by records that are put one at a time, from the first stored format on."""
    table, clock = Watched(), Clock(NOW)
    write_catalogue(table, ORGANIZATION, (), ())
    table.update(keys.organization(ORGANIZATION.id, "profile"), "REMOVE stored_format", {})
    management = managed(table, clock)
    management.put("subscription", "s", OF_C | {"start": format_instant(NOW)})
    stream = Stream(table, clock)
    by_customer = Subject.customer("c")
    stream.post(
        [Usage(by_customer, Event(name, name, NOW, {"n": 1})) for name in ("calls", "seats", "other")]
    )
    stream.deliver()
    assert catch_up(table, ORGANIZATION.id, clock, clock.now)
    management.change_plan("s", "pro", None)
    management.offer_to_all("pro", BASIC)
    clock.now += SETTLED
    # The plan that is put for all has one subscription follow; before it, two events are counted anew.
    done = carry_all_on(table, clock, clock.now + HOUR, clock.sleep)
    assert sorted(each.done for each in done) == [1, 2]
    # Of a one-time period of some years, a move takes several transactions.
    long: dict[str, Any] = {"external_id": "long", "billing_period": "ONETIME"}
    long |= {"start": format_instant(NOW - 900 * DAY), "line_items": [{"price": "call"}]}
    management.put("subscription", "long", OF_C | long)
    subject = Subject.subscription("long")
    stream.post(
        [Usage(subject, Event(f"l{days}", "calls", NOW - days * DAY, {"n": 1})) for days in range(0, 890, 20)]
    )
    stream.deliver()
    clock.now += SETTLED
    carry_all_on(table, clock, clock.now + HOUR, clock.sleep)
    moved = [{"value": "SE"}, {"value": "DE", "since": "2000-01-01T00:00:00Z"}]
    management.put("customer", "c", {"country": moved})
    carry_all_on(table, clock, clock.now + HOUR, clock.sleep)
    management.put("subscription", "long", OF_C | long | {"plan": "pro"})
    carry_all_on(table, clock, clock.now + HOUR, clock.sleep)
    ahead = {"external_id": "w", "start": format_instant(clock.now + HOUR)}
    management.put("subscription", "w", OF_C | ahead)
    management.end("w", clock.now + DAY)

    def puts(_: str) -> None:
        management.put("subscription", "late", OF_C | {"external_id": "late"})

    rebuild(table, ORGANIZATION.id, replace(clock.around, progress=puts))
    return table.seen


@pytest.mark.parametrize("kind", DESCRIBED)
def test_every_attribute_is_described(seen: dict[str, set[str]], kind: str) -> None:
    assert {re.sub(r"_g\d+$", "", name) for name in seen[kind]} <= DESCRIBED[kind]
    if kind not in ("usage", "rollup", "events", "unmatched", "uncounted"):
        assert seen[kind] == DESCRIBED[kind]


def test_what_is_described_is_there(seen: dict[str, set[str]]) -> None:
    assert seen.keys() == DESCRIBED.keys()
    assert seen["usage"] >= USAGE
    assert seen["events"] | _NOTES >= EVENT
