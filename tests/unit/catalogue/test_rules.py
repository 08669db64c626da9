"""Rules that need several records, as tables."""

from collections.abc import Mapping
from copy import replace
from decimal import Decimal
from typing import Any

import pytest

from meterstone.catalogue import rules
from meterstone.catalogue.rules import Bounds, Finding, Moved
from meterstone.pricing.commitment import Commitment
from meterstone.pricing.price import BillingModel, Price
from meterstone.usage.arrival import AHEAD
from meterstone.usage.instant import DAY, parse_instant
from meterstone.usage.meter import Aggregation, Filter, Meter
from meterstone.usage.period import BillingPeriod
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Dated, Subscription
from meterstone.usage.terms import ItemTerm, PlanTerm, Terms, resolve

START = parse_instant("2026-01-01T00:00:00Z")


def day(number: float) -> int:
    """Return an instant so many days after the start."""
    return START + round(number * DAY)


def price(name: str, meter: str = "m", currency: str = "eur", period: str | None = None) -> Price:
    return Price(name, currency, BillingModel.FLAT_FEE, Decimal(1), meter_id=meter, billing_period=period)


METERS = {name: Meter(name, name, name, Aggregation.COUNT, name) for name in ("m", "n")}
PRICES = {
    each.id: each
    for each in (
        *(price("p"), price("q"), price("of n", "n"), price("dollar", currency="usd")),
        *(price("yearly", period="ANNUAL"), price("by quarter", "n", period="QUARTERLY")),
    )
}
PLANS = {
    ("basic", 1): Plan("basic", prices=("p",), version=1),
    ("both", 1): Plan("both", prices=("p", "of n"), version=1),
    ("twice", 1): Plan("twice", prices=("p", "q"), version=1),
    ("years", 1): Plan("years", prices=("yearly", "by quarter"), version=1),
    ("dollars", 1): Plan("dollars", prices=("dollar",), version=1),
    ("none", 1): Plan("none", version=1),
}
OWN = Terms("s", "c", "eur", "UTC", START, (PlanTerm("basic"),), line_items=(ItemTerm("p"),))
BASIC = Terms("s", "c", "eur", "UTC", START, (PlanTerm("basic", None, 1),))


def resolved(terms: Terms) -> Subscription:
    return resolve(terms, PLANS, PRICES, METERS)


@pytest.mark.parametrize(
    ("changes", "findings"),
    [
        ({}, []),
        ({"line_items": (ItemTerm("p", end=day(1)), ItemTerm("q", start=day(1)))}, []),
        ({"line_items": (ItemTerm("p"), ItemTerm("of n"))}, []),
        (
            {"line_items": (ItemTerm("p", end=day(2)), ItemTerm("q", start=day(1)))},
            [("line_items[1]", "overlaps line_items[0] on the meter 'm'")],
        ),
        (
            {"line_items": (ItemTerm("q", start=day(1)), ItemTerm("p"))},
            [("line_items[0]", "overlaps line_items[1] on the meter 'm'")],
        ),
        (
            {"line_items": (ItemTerm("dollar"),)},
            [("line_items[0].price", "'dollar' is in USD, the subscription in EUR")],
        ),
        (
            {"line_items": (ItemTerm("p", "i", end=day(1)), ItemTerm("q", "i", start=day(1)))},
            [("line_items[1].id", "'i' is the id of line_items[0] already")],
        ),
        (
            {"line_items": (ItemTerm("p", start=day(2), end=day(2)),)},
            [("line_items[0]", "must end after it starts")],
        ),
        (
            {"line_items": (ItemTerm("p", start=day(2)),), "end": day(1)},
            [("line_items[0]", "must end after it starts")],
        ),
        (
            {"id": "s" * 254},
            [("line_items[0].id", "would have 256 characters: give it an id")],
        ),
    ],
    ids=[
        *("one", "one after the other", "of two meters", "overlapping", "overlapping, in another order"),
        *("another currency", "an id twice", "empty", "after the subscription's end", "too long an id"),
    ],
)
def test_own_line_items(changes: Mapping[str, Any], findings: list[tuple[str, str]]) -> None:
    terms = replace(OWN, **changes)
    assert list(rules.line_items(terms, PLANS, PRICES, METERS)) == findings


@pytest.mark.parametrize(
    ("changes", "findings"),
    [
        ({}, []),
        ({"plan": (PlanTerm("basic", None, 1), PlanTerm("both", day(9), 1))}, []),
        ({"plan": (PlanTerm("years", None, 1),), "billing_period": BillingPeriod.ANNUAL}, []),
        (
            {"plan": (PlanTerm("years", None, 1),)},
            [("plan", "'years' has no price in EUR for a billing period of 1 MONTHLY")],
        ),
        (
            {"plan": (PlanTerm("dollars", None, 1),)},
            [("plan", "'dollars' has no price in EUR for a billing period of 1 MONTHLY")],
        ),
        (
            {"plan": (PlanTerm("basic", None, 1), PlanTerm("none", day(9), 1)), "end": day(5)},
            [("plan[1].value", "'none' has no price in EUR for a billing period of 1 MONTHLY")],
        ),
        (
            {"plan": (PlanTerm("twice", None, 1),)},
            [("plan", "price 'q' of the plan overlaps price 'p' of the plan on the meter 'm'")],
        ),
        ({"plan": (PlanTerm("twice", None, 1),), "chosen": ("q",)}, []),
        ({"chosen": ()}, []),
        ({"chosen": ("q",)}, [("prices[0]", "'q' is no price of the plan")]),
        ({"line_items": (ItemTerm("of n"),)}, []),
        (
            {"line_items": (ItemTerm("q"),)},
            [("plan", "price 'p' of the plan overlaps line_items[0] on the meter 'm'")],
        ),
    ],
    ids=[
        *(
            "followed",
            "one plan after the other",
            "prices whose periods divide its own",
            "none of its period",
        ),
        *("none in its currency", "the second plan has none", "two of one meter", "one of them chosen"),
        *("none chosen", "another's price chosen", "own line items beside", "own ones of the same meter"),
    ],
)
def test_line_items_of_a_plan(changes: Mapping[str, Any], findings: list[tuple[str, str]]) -> None:
    terms = replace(BASIC, **changes)
    assert list(rules.line_items(terms, PLANS, PRICES, METERS)) == findings


@pytest.mark.parametrize(("count", "refused"), [(999, False), (1000, True)])
def test_a_subscription_has_at_most_1000_line_items_those_of_its_plan_included(
    count: int, *, refused: bool
) -> None:
    items = tuple(ItemTerm("of n", f"item {number}", day(number), day(number + 1)) for number in range(count))
    found = list(rules.line_items(replace(BASIC, line_items=items), PLANS, PRICES, METERS))
    expected = Finding(
        "line_items",
        "are 1001 with those of the plan, 1000 are allowed: "
        "divide them among several subscriptions of the customer",
    )
    assert found == ([expected] if refused else [])


@pytest.mark.parametrize(
    ("one", "other", "meets"),
    [
        ((0, None), (0, None), True),
        ((0, 5), (5, None), False),
        ((5, None), (0, 5), False),
        ((0, 6), (5, None), True),
        ((0, None), (9, 9), False),
        ((0, 1), (9, None), False),
    ],
    ids=["both for ever", "after it", "before it", "overlapping", "called off", "far apart"],
)
def test_one_external_id(one: tuple[int, int | None], other: tuple[int, int | None], *, meets: bool) -> None:
    def of(name: str, span: tuple[int, int | None]) -> Subscription:
        return replace(
            resolved(OWN),
            id=name,
            external_id="e",
            start=day(span[0]),
            end=None if span[1] is None else day(span[1]),
        )

    reason = "'e' is that of subscription 't' at the same time"
    found = list(rules.one_external_id(of("s", one), [of("t", other), of("s", one)]))
    assert found == ([("external_id", reason)] if meets else [])
    elsewhere = replace(of("t", other), external_id="f")
    assert not list(rules.one_external_id(of("s", one), [elsewhere]))


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        ({}, None),
        ({"name": "x", "details": {"a": "b"}}, None),
        ({"end": day(9)}, Moved(day(9), "end")),
        ({"start": day(2)}, Moved(START, "start")),
        ({"start": day(-2)}, Moved(day(-2), "start")),
        ({"currency": "usd"}, Moved(START, "currency")),
        ({"timezone": "Europe/Oslo"}, Moved(START, "timezone")),
        ({"customer_id": "d"}, Moved(START, "customer")),
        ({"external_id": "e"}, Moved(START, "external_id")),
        ({"billing_period": BillingPeriod.ANNUAL}, Moved(START, "billing_period")),
        ({"billing_period_count": 2}, Moved(START, "billing_period_count")),
        ({"anchor": day(1)}, Moved(START, "anchor")),
        ({"commitment": Commitment(Decimal(1), Decimal(2))}, Moved(START, "commitment")),
        ({"canceled_at": day(-1)}, Moved(START, "end")),
        ({"plan": (PlanTerm("basic"), PlanTerm("both", day(4)))}, Moved(day(4), "plan")),
        ({"plan": (PlanTerm("both"),)}, Moved(START, "plan")),
        ({"line_items": (ItemTerm("p", end=day(3)),)}, Moved(day(3), "line_items[0].end")),
        ({"line_items": (ItemTerm("p", start=day(3)),)}, Moved(START, "line_items[0].start")),
        ({"line_items": ()}, Moved(START, "line_items")),
        ({"line_items": (ItemTerm("p"), ItemTerm("of n", start=day(5)))}, Moved(day(5), "line_items[1]")),
        (
            {"line_items": (ItemTerm("p", end=day(6)), ItemTerm("q", start=day(6)))},
            Moved(day(6), "line_items[0].end"),
        ),
        ({"line_items": (ItemTerm("q", "s.p"),)}, Moved(START, "line_items[0].price")),
        ({"line_items": (ItemTerm("p", "other"),)}, Moved(START, "line_items[0]")),
    ],
)
def test_from_when_on_a_change_of_own_line_items_moves_usage(
    changes: Mapping[str, Any], moved: Moved | None
) -> None:
    after = resolved(replace(OWN, **changes))
    assert rules.moved_from(resolved(OWN), after) == moved
    back = rules.moved_from(after, resolved(OWN))
    assert (back and back.at) == (moved and moved.at), "and back again"


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({"plan": (PlanTerm("basic", None, 1), PlanTerm("both", day(4), 1))}, 4),
        ({"plan": (PlanTerm("basic", None, 1), PlanTerm("basic", day(4), 1))}, None),
        ({"plan": (PlanTerm("basic"),), "line_items": (ItemTerm("p"),)}, None),
        ({"chosen": ("p",)}, None),
        ({"chosen": ()}, 0),
        ({"line_items": (ItemTerm("of n", start=day(2), end=day(3)),)}, 2),
    ],
    ids=["another plan", "the same again", "its own now", "all chosen", "none chosen", "one more for a day"],
)
def test_from_when_on_a_change_of_what_follows_a_plan_moves_usage(
    changes: Mapping[str, Any], at: int | None
) -> None:
    moved = rules.moved_from(resolved(BASIC), resolved(replace(BASIC, **changes)))
    assert (None if moved is None else moved.at) == (None if at is None else day(at))


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        (None, OWN, Moved(START, "start")),
        (OWN, None, Moved(START, "start")),
        (None, replace(OWN, canceled_at=day(-1)), None),
        (replace(OWN, canceled_at=day(-1)), replace(OWN, canceled_at=day(-1), currency="usd"), None),
        (replace(OWN, end=day(3)), replace(OWN, end=day(7)), Moved(day(3), "end")),
        (
            replace(OWN, end=day(3)),
            replace(OWN, end=day(3), line_items=(ItemTerm("p"), ItemTerm("of n", start=day(4)))),
            None,
        ),
    ],
    ids=["a new one", "one that goes", "one called off", "a change of that", "goes on", "beyond its end"],
)
def test_from_when_on_usage_is_moved_by(
    before: Terms | None, after: Terms | None, moved: Moved | None
) -> None:
    both = [None if each is None else resolved(each) for each in (before, after)]
    assert rules.moved_from(*both) == moved


NOW = day(10)


@pytest.mark.parametrize(
    ("bounds", "free"),
    [
        (Bounds(day(5)), day(5) + 1),
        (Bounds(NOW - 5), NOW - 4),
        (Bounds(NOW), NOW + 1),
        (Bounds(NOW + AHEAD), NOW + AHEAD + 1),
        (Bounds(unknown=True), NOW + AHEAD),
        (Bounds(NOW - 5, clocked=True), NOW + AHEAD),
        (Bounds(NOW + AHEAD, clocked=True), NOW + AHEAD + 1),
    ],
    ids=[
        *("counted days ago", "counted before", "counted now", "counted ahead"),
        *("unknown", "a level", "a level and counted ahead"),
    ],
)
def test_a_change_moves_counted_usage_up_to_the_last_that_was_counted(bounds: Bounds, free: int) -> None:
    assert bounds.counted_from(free - 1, NOW)
    assert not bounds.counted_from(free, NOW)


def test_where_nothing_was_counted_nothing_is_moved() -> None:
    assert not Bounds().counted_from(day(1), NOW)


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"name": "x"}, []),
        ({"deleted_at": day(3)}, []),
        ({"code": "x"}, ["code"]),
        ({"event_name": "x", "field": "f"}, ["event_name", "field"]),
        ({"aggregation": Aggregation.SUM}, ["aggregation"]),
        ({"filters": (Filter("a", ("b",)),)}, ["filters"]),
        ({"recurring": True}, ["recurring"]),
        ({"multiplier": Decimal(2)}, ["multiplier"]),
    ],
)
def test_what_of_a_meter_never_changes(changes: Mapping[str, Any], paths: list[str]) -> None:
    found = list(rules.changed_meter(METERS["m"], replace(METERS["m"], **changes)))
    assert [each.path for each in found] == paths


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"details": {"display_name": "x"}}, []),
        ({"amount": Decimal("1.0")}, []),
        ({"amount": Decimal(2)}, ["amount"]),
        ({"currency": "usd", "meter_id": "n"}, ["currency", "meter_id"]),
        ({"billing_period": "ANNUAL"}, ["billing_period"]),
    ],
)
def test_what_of_a_price_never_changes(changes: Mapping[str, Any], paths: list[str]) -> None:
    found = list(rules.changed_price(PRICES["p"], replace(PRICES["p"], **changes)))
    assert [each.path for each in found] == paths


@pytest.mark.parametrize(
    ("code", "event_name", "path"),
    [
        ("x", "x", None),
        ("m", "m", None),
        ("x", "m", None),
        ("m", "x", "code"),
        ("x", "alias", "event_name"),
        ("alias", "alias", "event_name"),
        ("alias", "name", None),
    ],
    ids=[
        *("another name", "the same name", "another's events", "another's events beside its own"),
        *("events that another counts by its code", "the same as its code", "the code of another alone"),
    ],
)
def test_names_that_meters_share(code: str, event_name: str, path: str | None) -> None:
    """The meter m counts m. The meter that is called alias counts events of name, and of alias beside them."""
    others = [METERS["m"], Meter("o", "alias", "", Aggregation.COUNT, "name")]
    put = Meter("put", code, "", Aggregation.COUNT, event_name)
    found = list(rules.shared_names(others, put))
    assert [each.path for each in found] == ([] if path is None else [path])


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ((), (Dated("NO"),), (Dated("NO"),)),
        ((Dated("NO"),), (Dated("NO"),), (Dated("NO"),)),
        ((Dated("NO"),), (Dated("SE"),), (Dated("NO"), Dated("SE", NOW))),
        ((Dated("NO"), Dated("SE", day(2))), (Dated("SE"),), (Dated("NO"), Dated("SE", day(2)))),
        ((Dated("NO"), Dated("SE", day(20))), (Dated("NO"),), (Dated("NO"),)),
        ((Dated("NO"),), (Dated("NO"), Dated("SE", day(20))), (Dated("NO"), Dated("SE", day(20)))),
        ((Dated("NO", day(20)),), (Dated("SE"),), (Dated("SE"),)),
        ((Dated("NO"),), (), ()),
    ],
    ids=[
        *("the first", "the same", "another", "the present one", "no other later"),
        *("a dated one", "none holds yet", "none any more"),
    ],
)
def test_facts_without_a_date(
    old: tuple[Dated, ...], new: tuple[Dated, ...], found: tuple[Dated, ...]
) -> None:
    assert rules.facts_from_now(old, new, NOW) == found
