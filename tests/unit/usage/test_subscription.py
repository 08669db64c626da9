"""Spans, dated facts, and where in its subscription a line item counts."""

from copy import replace

import pytest

from meterstone.usage.meter import Aggregation
from meterstone.usage.subscription import Dated, Placed, Span, in_force
from support.one_subscription import FLAT, at, charge_at, item_of, meter_of, subscription_of


@pytest.mark.parametrize(
    ("instant", "value"), [(-1, "a"), (4, "a"), (5, "b"), (8, "b"), (9, "c"), (100, "c")]
)
def test_in_force_is_the_last_fact_that_has_begun(instant: int, value: str) -> None:
    assert in_force((Dated("a"), Dated("b", 5), Dated("c", 9)), instant) == value


def test_in_force_is_nothing_before_the_first_fact() -> None:
    assert in_force((Dated("b", 5),), 4) is None
    assert in_force((), 4) is None


@pytest.mark.parametrize(
    ("end", "held"),
    [pytest.param(7, [5, 6], id="with an end"), pytest.param(None, [5, 6, 7, 8], id="without one")],
)
def test_holds_its_start_and_not_its_end(end: int | None, held: list[int]) -> None:
    assert [instant for instant in range(9) if Span(5, end).holds(instant)] == held


@pytest.mark.parametrize(
    ("span", "window", "met"),
    [
        pytest.param(Span(5, 8), (0, 5), False, id="before the span"),
        pytest.param(Span(5, 8), (0, 6), True, id="over its start"),
        pytest.param(Span(5, 8), (6, 7), True, id="inside"),
        pytest.param(Span(5, 8), (7, 9), True, id="over its end"),
        pytest.param(Span(5, 8), (8, 9), False, id="after the span"),
        pytest.param(Span(5, 8), (6, 6), True, id="an empty window inside"),
        pytest.param(Span(5, 8), (5, 5), False, id="an empty window on its start"),
        pytest.param(Span(5, 8), (8, 8), False, id="an empty window on its end"),
        pytest.param(Span(5, 5), (0, 9), False, id="an empty span"),
        pytest.param(Span(5, None), (9, 10), True, id="a span without end"),
        pytest.param(Span(5, None), (0, 5), False, id="a span without end, before it"),
        pytest.param(Span(5, 8), (0, None), True, id="a window without end"),
        pytest.param(Span(5, 8), (8, None), False, id="a window without end, after the span"),
        pytest.param(Span(5, None), (0, None), True, id="both without end"),
    ],
)
def test_meets_a_window(span: Span, window: tuple[int, int | None], met: bool) -> None:  # noqa: FBT001
    assert span.meets(*window) is met


@pytest.mark.parametrize(
    ("item", "deleted", "shown", "counted"),
    [
        pytest.param(("01-01", None), None, "01-10 05-01", "01-10 05-01", id="the subscription's span"),
        pytest.param(("02-01", "04-01"), None, "02-01 04-01", "02-01 04-01", id="its own"),
        pytest.param(("01-01", "04-01"), None, "01-10 04-01", "01-10 04-01", id="its end"),
        pytest.param(("02-01", "06-01"), None, "02-01 05-01", "02-01 05-01", id="its start"),
        pytest.param(("01-01", "01-05"), None, "01-10 01-10", "01-10 01-10", id="none: it ends too early"),
        pytest.param(("06-01", None), None, "06-01 06-01", "06-01 06-01", id="none: it begins too late"),
        pytest.param(("02-01", "04-01"), "03-01", "02-01 04-01", "02-01 03-01", id="its meter is deleted"),
        pytest.param(("02-01", "04-01"), "04-10", "02-01 04-01", "02-01 04-01", id="its meter, afterwards"),
        pytest.param(("02-01", "04-01"), "01-15", "02-01 04-01", "02-01 02-01", id="its meter, before"),
    ],
)
def test_a_line_item_is_shown_in_its_subscription_and_counts_until_its_meter_is_deleted(
    item: tuple[str, str | None], deleted: str | None, shown: str, counted: str
) -> None:
    meter = replace(meter_of(Aggregation.SUM), deleted_at=None if deleted is None else at(deleted))
    line_item = item_of(meter, FLAT, *item)
    subscription = subscription_of(line_item, start="01-10", end="05-01")

    assert subscription.shown(line_item) == Span(*(at(bound) for bound in shown.split()))
    assert subscription.counted(line_item) == Span(*(at(bound) for bound in counted.split()))


def test_without_ends_a_line_item_counts_for_ever() -> None:
    subscription = subscription_of(item_of(meter_of(Aggregation.SUM), start="02-01"))

    assert subscription.counted(subscription.line_items[0]) == Span(at("02-01"), None)


@pytest.mark.parametrize(
    ("period", "count", "code"),
    [
        pytest.param(None, 1, "MONTHLY.1", id="the subscription's"),
        pytest.param(None, 3, "MONTHLY.1", id="a count without a period is none"),
        pytest.param("WEEKLY", 2, "WEEKLY.2", id="its price's own"),
    ],
)
def test_cadence_of_a_line_item(period: str | None, count: int, code: str) -> None:
    price = replace(FLAT, billing_period=period, billing_period_count=count)
    subscription = subscription_of(item_of(meter_of(Aggregation.SUM), price))

    assert subscription.cadence(subscription.line_items[0]).code == code
    assert subscription.cadence().code == "MONTHLY.1"
    assert charge_at(subscription, "02-01").cadence_code == code


@pytest.mark.parametrize(
    ("placed", "beyond"), [((0, 0), False), ((1, 0), False), ((0, 1), True), ((2, 0), True), ((1, 1), True)]
)
def test_what_follows_either_move_that_is_not_known_is_beyond_what_is(
    placed: tuple[int, int], *, beyond: bool
) -> None:
    assert Placed(*placed).is_beyond(Placed(1, 0)) is beyond
