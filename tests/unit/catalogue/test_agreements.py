"""Changes of subscriptions, one at a time: what they end, begin, and have counted anew."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from meterstone.catalogue.management import (
    CatalogueConflictError,
    Management,
    Put,
)
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import integer, key_item
from meterstone.usage.arrival import AHEAD
from meterstone.usage.instant import MINUTE, SECOND, format_instant
from meterstone.usage.terms import Terms
from support.managed import (
    NOW,
    OF_C,
    at,
    count_event,
    managed,
    table_of,
)
from support.scenario import ORGANIZATION

LATER = OF_C | {"start": format_instant(at(1))}


@pytest.mark.parametrize("by_customer", [False, True], ids=["by its external id", "by its customer"])
@pytest.mark.parametrize(
    ("last", "anew"),
    [(-MINUTE, False), (0, True), (2 * MINUTE, True)],
    ids=["a minute ago", "now", "ahead of the clock"],
)
def test_now_is_now_and_what_was_counted_from_then_on_is_counted_anew(
    last: int, *, anew: bool, by_customer: bool
) -> None:
    management = managed()
    management.put("subscription", "s", OF_C | {"prices": ["call"]})
    count_event(management, "s", NOW + last, by_customer=by_customer)
    ended = management.end("s", None)
    assert ended.stored.value.end == NOW
    assert (ended.recount is not None) is anew
    assert not management.end("s", None).changed


def test_a_level_is_counted_anew_for_an_end_within_5_minutes() -> None:
    """Usage that time alone changes may be counted up to 5 minutes ahead."""
    management = managed()
    management.put("subscription", "s", OF_C)
    count_event(management, "s", at(-1))
    assert management.end("s", NOW + AHEAD).recount is None
    ended = management.end("s", NOW + MINUTE)
    assert ended.stored.value.end == NOW + MINUTE
    assert ended.recount is not None
    assert ended.recount.line_items == ("s.call", "seats"), "a line item, and the meter of a chain"


@pytest.mark.parametrize("by_customer", [False, True], ids=["by its external id", "by its customer"])
@pytest.mark.parametrize("before", [None, at(-1)], ids=["the first event", "a later event"])
@pytest.mark.parametrize(
    "change",
    [lambda it: it.end("s", NOW + MINUTE), lambda it: it.change_plan("s", "pro", NOW + MINUTE)],
    ids=["an end", "another plan"],
)
def test_what_the_clock_changes_is_counted_anew_if_it_is_counted_meanwhile(
    change: Callable[[Management], Put[Terms]], before: int | None, *, by_customer: bool
) -> None:
    """The event lies before the change, which would move nothing of it, but what the clock makes of it."""
    management = managed()
    management.put("subscription", "s", OF_C)
    management.put("subscription", "t", OF_C | {"external_id": "other"})
    if before is not None:
        subject = keys.subject(ORGANIZATION.id, *(("c", "c") if by_customer else ("s", "s")))
        table_of(management).update(subject, "SET latest_at = :at", {":at": {"N": str(before)}})
    table = table_of(management)
    transact, events = table.transact, iter([at(-0.5)])

    def counted_first(actions: Any) -> None:
        for when in events:
            count_event(management, "s", when, by_customer=by_customer)
        transact(actions)

    table.transact = counted_first  # type: ignore[method-assign]
    assert change(management).recount is not None


@pytest.mark.parametrize("prices", [["call"], None], ids=["a plain meter", "a recurring one"])
def test_usage_whose_time_is_not_known_is_taken_to_lie_ahead(prices: list[str] | None) -> None:
    management = managed()
    management.put("subscription", "s", OF_C | ({"prices": prices} if prices else {}))
    counter = Key(keys.usage(ORGANIZATION.id, "1", "s"), keys.counter("monthly.1", 0, "item", 0))
    table_of(management).put(key_item(counter) | {"v": {"N": "1"}})
    assert management.end("s", NOW + AHEAD).recount is None
    assert management.end("s", NOW + AHEAD - 1).recount is not None


def test_a_new_subscription_begins_now_though_events_of_its_customer_lie_ahead() -> None:
    management = managed()
    management.put("subscription", "s", OF_C)
    count_event(management, "s", NOW + SECOND, by_customer=True)
    without = {name: value for name, value in OF_C.items() if name != "start"}
    made = management.put("subscription", "t", without)
    assert (made.created, made.stored.value.start) == (True, NOW)
    assert made.recount is not None
    assert (made.recount.subscriptions, made.recount.line_items) == (("t",), ())
    again = management.put("subscription", "t", without)
    assert (again.changed, again.recount) == (False, made.recount)


def test_another_plan_ends_the_line_items_and_begins_others() -> None:
    management = managed()
    management.put("subscription", "s", OF_C)
    changed = management.change_plan("s", "pro", at(1))
    assert not management.change_plan("s", "pro", at(1)).changed
    items = management.resolved(changed.stored).line_items
    assert [(item.price.id, item.start, item.end) for item in items] == [
        ("call", changed.stored.value.start, at(1)),
        ("seat", changed.stored.value.start, at(1)),
        ("dear call", at(1), None),
        ("seat", at(1), None),
    ]
    back = management.change_plan("s", "basic", at(0.5))
    assert [term.value for term in back.stored.value.plan] == ["basic"]


def test_one_succeeds_another_at_one_instant() -> None:
    management = managed()
    management.put("subscription", "s", OF_C)
    record = {"id": "t", "plan": "pro", "currency": "EUR"}
    ended, begun = management.succeed("s", record, at(1))
    assert (ended.stored.value.end, begun.stored.value.start) == (at(1), at(1))
    assert begun.stored.value.events_by == "s"
    again = management.succeed("s", record, None)
    assert [each.changed for each in again] == [False, False]
    assert [each.stored for each in again] == [ended.stored, begun.stored]


def test_what_has_not_begun_is_called_off_by_what_succeeds_it() -> None:
    management = managed()
    management.put("subscription", "s", LATER)
    off, begun = management.succeed("s", {"id": "t", "plan": "pro", "currency": "EUR"}, NOW)
    assert off.stored.value.canceled_at == NOW
    assert begun.stored.value.start == NOW
    assert management.resolved(off.stored).span.start == management.resolved(off.stored).span.end


@pytest.mark.parametrize(
    ("record", "refused"), [(LATER, False), (OF_C, True)], ids=["before it begins", "afterwards"]
)
def test_calling_off(record: Mapping[str, object], *, refused: bool) -> None:
    management = managed()
    management.put("subscription", "s", record)
    if refused:
        with pytest.raises(CatalogueConflictError, match="end it instead"):
            management.cancel_pending("s")
        return
    assert management.cancel_pending("s").stored.value.canceled_at == NOW
    assert not management.cancel_pending("s").changed
    assert management.put("subscription", "t", OF_C | {"external_id": "s"}).created, "the external id is free"


def versions(management: Management, *subjects: tuple[str, str]) -> list[int]:
    rows = [
        table_of(management).get(keys.subject(ORGANIZATION.id, *each), consistent=True) for each in subjects
    ]
    return [0 if row is None else integer(row, "ver") for row in rows]


@pytest.mark.parametrize(
    ("change", "raised"),
    [
        (lambda it: it.merge("subscription", "s", {"name": "x"}), [1, 0, 1, 0]),
        (lambda it: it.merge("subscription", "s", {"customer": "d"}), [1, 1, 1, 0]),
        (lambda it: it.merge("subscription", "s", {"external_id": "e"}), [1, 0, 1, 1]),
        (lambda it: it.merge("subscription", "s", {"customer": "d", "external_id": "e"}), [1, 1, 1, 1]),
        (lambda it: it.end("s", at(1)), [1, 0, 1, 0]),
        (lambda it: it.delete("subscription", "s"), [1, 0, 1, 0]),
        (lambda it: it.succeed("s", {"id": "t", "plan": "pro", "currency": "EUR"}, at(1)), [1, 0, 1, 0]),
        (
            lambda it: it.succeed("s", {"id": "t", "customer": "d", "plan": "pro", "currency": "EUR"}, at(1)),
            [1, 1, 1, 0],
        ),
        (lambda it: it.merge("customer", "c", {"name": "x"}), [0, 0, 0, 0]),
    ],
    ids=[
        *("a name", "another customer", "another external id", "both", "an end", "a deletion"),
        *("a successor", "a successor of another customer", "a customer's name"),
    ],
)
def test_a_change_of_a_subscription_raises_the_versions_of_its_subjects_before_and_after(
    change: Callable[[Management], object], raised: list[int]
) -> None:
    management = managed()
    management.put("customer", "d", {})
    management.put("subscription", "s", OF_C)
    subjects = ("c", "c"), ("c", "d"), ("s", "s"), ("s", "e")
    before = versions(management, *subjects)
    change(management)
    after = versions(management, *subjects)
    assert [new - old for old, new in zip(before, after, strict=True)] == raised


@pytest.mark.parametrize(
    ("end", "counted", "anew"),
    [
        (NOW, NOW, True),
        (NOW, NOW - 1, False),
        (NOW + AHEAD + 30 * SECOND, NOW + AHEAD + 31 * SECOND, True),
        (NOW + AHEAD + 30 * SECOND, NOW + AHEAD + 29 * SECOND, False),
    ],
    ids=["at the end", "before it", "after an end ahead of all events", "before such an end"],
)
@pytest.mark.parametrize("by_customer", [False, True], ids=["by its external id", "by its customer"])
def test_an_event_counted_meanwhile_is_counted_anew_if_it_lies_after_the_end(
    end: int, counted: int, *, anew: bool, by_customer: bool
) -> None:
    """Clocks differ: an event may lie more than 5 minutes ahead of ours."""
    management = managed()
    management.put("subscription", "s", OF_C | {"prices": ["call"]})
    table = table_of(management)
    plain, events = table.transact, iter([counted])

    def transact(actions: Any) -> None:
        for when in events:
            count_event(management, "s", when, by_customer=by_customer)
        plain(actions)

    table.transact = transact  # type: ignore[method-assign]
    ended = management.end("s", end)
    assert ended.stored.value.end == end
    assert (ended.recount is not None) is anew


def test_a_subscription_ends_now_while_events_keep_coming_in() -> None:
    """One is counted before each attempt is written, and lies later than the attempt's end."""
    management = managed()
    management.put("subscription", "s", OF_C | {"prices": ["call"]})
    table = table_of(management)
    plain = table.transact
    attempts: list[int] = []

    def transact(actions: Any) -> None:
        attempts.append(len(attempts))
        count_event(management, "s", NOW + len(attempts) * SECOND // 2)
        plain(actions)

    table.transact = transact  # type: ignore[method-assign]
    ended = management.end("s", None)
    assert (ended.stored.value.end, len(attempts)) == (NOW, 2)
    assert ended.recount is not None
