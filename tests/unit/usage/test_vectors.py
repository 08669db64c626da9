"""Flexprice's vectors on what a meter counts: filters and aggregations."""

from decimal import Decimal
from typing import Any

import pytest

from meterstone.pricing.money import plain, quotient
from meterstone.usage.aggregation import observe
from meterstone.usage.instant import DAY, parse_instant
from meterstone.usage.meter import Aggregation, Event, Filter, Meter, Observation, Uncounted, passes
from meterstone.usage.state import accrued, merge_all_states, quantity, state_of
from vectors.flexprice import section


def test_every_filter_case_is_here() -> None:
    assert len(section("meter_filter_match")) == 4


@pytest.mark.parametrize("case", section("meter_filter_match"), ids=lambda case: str(case["properties"]))
def test_filters_match_as_in_flexprice(case: dict[str, Any]) -> None:
    filters = tuple(Filter(each["key"], tuple(each["values"])) for each in case["filters"])

    assert passes(filters, case["properties"]) is case["expected_match"]


@pytest.mark.parametrize(
    ("value", "text", "matches"),
    [
        pytest.param(5, "5", True, id="an integer"),
        pytest.param(Decimal("5.0"), "5", True, id="numeric filter text: a number is normalised"),
        pytest.param("5.0", "5", False, id="a string stays as it is"),
        pytest.param(Decimal("1E+3"), "1000", True, id="an exponent is written out"),
        pytest.param(True, "true", True, id="a boolean"),
        pytest.param(None, "null", False, id="null is absent"),
        pytest.param(["a"], "a", False, id="a list never matches"),
        pytest.param({"a": "b"}, "b", False, id="an object never matches"),
    ],
)
def test_filters_compare_texts(value: Any, text: str, matches: bool) -> None:  # noqa: FBT001
    assert passes((Filter("key", (text,)),), {"key": value}) is matches


def _meter(aggregation: Aggregation) -> Meter:
    return Meter("m", "m", "M", aggregation, "e", "q")


def _case(name: str) -> dict[str, Any]:
    return next(case for case in section("aggregation") if case["aggregation"].startswith(name))


@pytest.mark.parametrize("name", ["SUM", "COUNT", "LATEST", "AVG"])
def test_aggregations_as_in_flexprice(name: str) -> None:
    case, meter = _case(name), _meter(Aggregation(name))
    states = []
    for number, row in enumerate(case["rows"]):
        at = parse_instant(row.get("t", "2026-01-05T10:00:00Z"))
        seen = observe(meter, Event(str(number), "e", at, {"q": row["q"]}))
        assert isinstance(seen, Observation)
        states.append(state_of(meter, seen))

    assert quantity(meter, merge_all_states(meter, states)) == Decimal(case["expected"])


def test_weighted_sum_as_flexprice_documents_it() -> None:
    case, meter = _case("WEIGHTED_SUM"), _meter(Aggregation.WEIGHTED_SUM)
    origin = parse_instant("2026-01-01T00:00:00Z")
    states = []
    for number, row in enumerate(case["rows"]):
        at = origin + (int(row["t"].split()[1]) - 1) * DAY
        states.append(state_of(meter, Observation(at, str(number), Decimal(row["q"]))))
    total = accrued(merge_all_states(meter, states), Decimal(0), origin, origin + 31 * DAY, 31 * DAY)

    assert plain(total.quantize(Decimal("1E-10"))) == case["expected"]


def test_every_aggregation_case_is_here() -> None:
    # The bucketed MAX is a matter of windows: `usage_by_subscription` has it too.
    names = [case["aggregation"].split()[0] for case in section("aggregation")]
    assert names == ["SUM", "COUNT", "LATEST", "AVG", "MAX", "WEIGHTED_SUM"]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="absent"),
        pytest.param("12kWh", id="text"),
        pytest.param("1e101", id="an exponent beyond 100"),
        pytest.param("", id="empty"),
        pytest.param(True, id="a boolean"),
        pytest.param([1], id="a list"),
        pytest.param("1" * 19, id="19 digits"),
        pytest.param("1,000", id="thousands"),
        pytest.param("1" * 101, id="101 characters"),
    ],
)
def test_non_numeric_fields_do_not_count_and_say_so(value: Any) -> None:
    seen = observe(_meter(Aggregation.SUM), Event("1", "e", 0, {} if value is None else {"q": value}))

    assert isinstance(seen, Uncounted)
    assert "'q'" in seen.reason


def test_quotients_have_16_decimals() -> None:
    assert quotient(Decimal(2), Decimal(3)) == Decimal("0.6666666666666667")
