"""Changes that move counted usage: each begins a recount, after which all is counted by the new record."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import pytest

from meterstone.catalogue import anew
from meterstone.catalogue.management import CatalogueConflictError, Management, Put, Recount
from meterstone.catalogue.recounting import carry_all_on
from meterstone.pricing.commitment import Commitment
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.catalogue.subscriptions import list_subscriptions, read_meters
from meterstone.store.dynamodb.table import key_item
from meterstone.store.dynamodb.transaction import item_bytes
from meterstone.store.events.unmatched import list_unmatched
from meterstone.store.operations.replay import catch_up
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE, SECOND, format_instant
from meterstone.usage.meter import Event
from meterstone.usage.terms import Terms
from support.counting import answers, check_analytics
from support.managed import NOW, OF_C, at, managed
from support.recovering import Clock, Stream
from support.scenario import ORGANIZATION, Scenario, Usage, World
from support.stale_table import StaleTable

type Change = Callable[[Management], Put[Terms]]

#: When events happen, of the meters of both line items; the last one lies ahead of the clock.
TIMES: Final = (at(-40), at(-9), at(-4), at(-1), NOW + 2 * MINUTE)
#: At each of them, one by the subscription's external id and one by its customer, of both meters.
EVENTS: Final = 4 * len(TIMES)


@dataclass
class Counted:
    """A subscription of which usage is counted, by its external id and by its customer."""

    clock: Clock = field(default_factory=lambda: Clock(NOW))
    table: StaleTable = field(default_factory=lambda: StaleTable(page_items=7))

    def __post_init__(self) -> None:
        self.world = World(Scenario((), (), (), NOW), self.table)
        self.management = managed(self.table, self.clock)
        self.stream = Stream(self.table, self.clock)

    def sign_up(self) -> None:
        self.management.put("subscription", "s", OF_C)

    def count(self, *times: int) -> None:
        """Have events counted of both meters, by the subscription and by its customer."""
        for when in times:
            for subject in (Subject.subscription("s"), Subject.customer("c")):
                for name in ("calls", "seats"):
                    event = Event(f"e{len(self.stream.usage)}", name, when, {"n": 2})
                    self.stream.post([Usage(subject, event)])
        self.stream.deliver()

    def carry_on(self) -> list[Recount]:
        """Let the recounts that are due come to their end."""
        self.clock.now += 30 * SECOND
        done = carry_all_on(self.table, self.clock, self.clock.now + HOUR, self.clock.sleep)
        self.table.settle()
        return done

    def totals(self) -> object:
        """Return what all views answer."""
        self._look()
        return answers(self.world)

    def check(self) -> None:
        """Compare all totals with what the log and the records come to."""
        catch_up(self.table, ORGANIZATION.id, self.clock, self.clock.now + HOUR)
        self.clock.now += DAY
        self._look()
        check_analytics(self.world, tuple(self.stream.usage), self.clock.now)

    def _look(self) -> None:
        self.table.settle()
        account = read_account(self.table, ORGANIZATION.id, consistent=True)
        assert account is not None
        self.world.account = account
        self.world.roll(self.clock.now)
        self.table.settle()
        meters = read_meters(self.table, ORGANIZATION.id, consistent=True)
        subscriptions = tuple(list_subscriptions(self.table, ORGANIZATION.id))
        self.world.scenario = Scenario(meters, subscriptions, (), self.clock.now)


@pytest.fixture
def counted() -> Counted:
    found = Counted()
    found.sign_up()
    found.count(*TIMES)
    return found


def merging(**fields: Any) -> Change:
    return lambda it: it.merge("subscription", "s", fields)


CHANGES: Final[dict[str, tuple[Change, tuple[str, ...]]]] = {
    "ended now": (lambda it: it.end("s", None), ("s.call", "seats")),
    "ended in the past": (lambda it: it.end("s", at(-5)), ("s.call", "seats")),
    "ended where a billing period begins": (merging(end="2026-03-01T00:00:00Z"), ("s.call", "seats")),
    "ended before all but one": (merging(end=format_instant(at(-20))), ("s.call", "seats")),
    "another plan now": (
        lambda it: it.change_plan("s", "pro", None),
        ("s.call", "s.dear call.1", "seats"),
    ),
    "another plan in the past": (
        lambda it: it.change_plan("s", "pro", at(-5)),
        ("s.call", "s.dear call.1", "seats"),
    ),
    "a later start": (merging(start=format_instant(at(-5))), ()),
    "an earlier start": (merging(start=format_instant(at(-90))), ()),
    "another time zone": (merging(timezone="Europe/Oslo"), ()),
    "another external id": (merging(external_id="t"), ()),
    "a price less": (merging(prices=["call"]), ("seats",)),
    "a line item more": (
        merging(
            prices=["seat"],
            plan_prices=True,
            line_items=[
                {"id": "old", "price": "call", "end": format_instant(at(-5))},
                {"id": "new", "price": "dear call", "start": format_instant(at(-5))},
            ],
        ),
        ("new", "old", "s.call"),
    ),
    "succeeded in the past": (
        lambda it: it.succeed("s", {"id": "t", "plan": "pro", "currency": "EUR"}, at(-5))[1],
        ("s.call", "seats"),
    ),
}


@pytest.mark.parametrize(("change", "line_items"), CHANGES.values(), ids=CHANGES)
def test_what_a_change_moves_is_counted_anew(
    counted: Counted, change: Change, line_items: tuple[str, ...]
) -> None:
    before = counted.totals()
    recount = change(counted.management).recount
    assert recount is not None
    assert recount.line_items == line_items
    assert recount.events == EVENTS
    assert read_recounts(counted.table, ORGANIZATION.id) == [recount]
    assert counted.totals() == before, "an answer is as before until it is as after"
    (done,) = counted.carry_on()
    assert done.done_at is not None
    assert done.id == recount.id
    counted.check()


@pytest.mark.parametrize(("change", "line_items"), CHANGES.values(), ids=CHANGES)
def test_events_that_come_while_it_is_counted_anew_count_once(
    counted: Counted, change: Change, line_items: tuple[str, ...]
) -> None:
    change(counted.management)
    counted.count(at(-4.5), counted.clock.now)
    counted.clock.now += 10 * SECOND
    counted.count(at(-6), counted.clock.now)
    counted.carry_on()
    counted.count(at(-5.5), counted.clock.now)
    counted.check()


def test_a_commitment_is_another_without_an_event_counted_anew(counted: Counted) -> None:
    put = counted.management.change_commitment("s", Commitment(Decimal(7), Decimal(1)))
    assert (put.changed, put.recount) == (True, None)
    assert read_recounts(counted.table, ORGANIZATION.id) == []
    counted.check()


def test_a_subscription_that_is_entered_late_counts_what_waited() -> None:
    counted = Counted()
    counted.count(*TIMES)
    counted.table.settle()
    put = counted.management.put("subscription", "s", OF_C)
    assert put.recount is not None
    assert (put.recount.subscriptions, put.recount.line_items) == (("s",), ())
    counted.carry_on()
    assert list(list_unmatched(counted.table, ORGANIZATION.id)) == []
    counted.check()


def test_one_that_is_entered_late_beside_another_counts_what_its_customer_used(counted: Counted) -> None:
    put = counted.management.put("subscription", "t", OF_C | {"external_id": "t"})
    assert put.recount is not None
    assert (put.recount.subscriptions, put.recount.line_items) == (("t",), ())
    counted.carry_on()
    counted.check()


def test_a_change_that_is_put_meanwhile_waits_and_has_a_recount_of_its_own(counted: Counted) -> None:
    first = counted.management.end("s", at(-5))
    second = counted.management.end("s", at(-2))
    assert first.recount is not None
    assert second.stored.value.end == at(-2)
    assert second.recount == first.recount, "it waits for the one that is under way"
    counted.carry_on()
    found = read_recounts(counted.table, ORGANIZATION.id)
    assert [each.done_at is not None for each in found] == [True, False]
    counted.carry_on()
    assert all(each.done_at is not None for each in read_recounts(counted.table, ORGANIZATION.id))
    counted.check()


def test_more_than_20_mb_of_events_are_read_by_force_alone(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted.table.settle()
    logged = [key_item(key) | each for key, each in counted.table.items().items() if "#events#" in key.pk]
    monkeypatch.setattr(anew, "MOST_LOG", sum(map(item_bytes, logged)) - 1)
    stored = counted.table.items()
    with pytest.raises(CatalogueConflictError, match="more than 20 MB of events") as conflict:
        counted.management.end("s", at(-5))
    assert conflict.value.earliest is None
    assert counted.table.items() == stored
    forced = counted.management.end("s", at(-5), forced=True)
    assert forced.recount is not None
    assert forced.recount.events is None
    counted.carry_on()
    counted.check()


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.change_plan("s", "pro", at(-5), forced=True),
        lambda it: it.put("subscription", "s", OF_C | {"end": format_instant(at(-5))}, forced=True),
        lambda it: it.put_many("subscription", [("s", OF_C | {"end": format_instant(at(-5))})], forced=True)[
            0
        ],
    ],
    ids=["another plan", "a record", "one of several records"],
)
def test_each_change_takes_the_force(
    counted: Counted, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    monkeypatch.setattr(anew, "MOST_LOG", 0)
    assert change(counted.management).recount is not None
