"""One record of the catalogue: what is read of it, and everything that is wrong with it."""

from decimal import Decimal
from typing import Any

import pytest

from meterstone.catalogue.models import LineItemRecord, SubscriptionRecord
from meterstone.catalogue.reading import KINDS, RecordProblem, read_record
from meterstone.contracts.fields import NOT_A_MAPPING, NOT_TEXT, NOT_WHOLE, REQUIRED, UNKNOWN_FIELD

AGGREGATIONS = (
    "'COUNT', 'SUM', 'SUM_WITH_MULTIPLIER', 'MAX', 'LATEST', 'AVG', 'COUNT_UNIQUE' or 'WEIGHTED_SUM'"
)
NO_COUNTRY = "is not an ISO 3166-1 alpha-2 country, such as NO"
NO_VALUES = "has no values, so that nothing passes"

GOOD: dict[str, dict[str, Any]] = {
    "organization": {"id": "6f9e0e0e-0000-4000-8000-000000000001"},
    "customers": {"id": "c"},
    "plans": {"code": "basic"},
    "meters": {"id": "calls", "code": "calls", "aggregation": "count"},
    "prices": {"id": "call", "currency": "EUR", "billing_model": "FLAT_FEE", "meter_id": "calls"},
    "subscriptions": {
        "id": "s",
        "customer": "c",
        "plan": "basic",
        "currency": "EUR",
        "start": "2026-01-01T00:00:00Z",
        "line_items": [{"price": "call"}, {"price": "fee"}],
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_of_each_kind(kind: str) -> None:
    record, broken, problems = read_record(kind, GOOD[kind])

    assert type(record) is KINDS[kind]
    assert (broken, problems) == (frozenset(), ())


@pytest.mark.parametrize(
    ("kind", "changed", "broken", "problems"),
    [
        pytest.param("plans", {"code": None}, {"code"}, [("code", NOT_TEXT)], id="no text"),
        pytest.param("plans", {"color": "red"}, {"color"}, [("color", UNKNOWN_FIELD)], id="unknown"),
        pytest.param(
            "meters", {"recurring": 1}, {"recurring"}, [("recurring", "must be true or false")], id="boolean"
        ),
        pytest.param(
            "meters",
            {"group_by": "region"},
            {"group_by"},
            [("group_by", "is not supported: make a meter with filters for each group")],
            id="grouped",
        ),
        pytest.param("meters", {"field": "n"}, {"field"}, [("field", "COUNT has no field")], id="conflict"),
        pytest.param(
            "meters",
            {"filters": {"size": []}},
            {"filters"},
            [("filters.size", NO_VALUES)],
            id="conflict inside a field",
        ),
        pytest.param(
            "meters",
            {"aggregation": "MOST", "field": 5, "filters": {"size": []}},
            {"aggregation", "field", "filters"},
            [("aggregation", f"should be {AGGREGATIONS}"), ("field", NOT_TEXT), ("filters.size", NO_VALUES)],
            id="a conflict of sound fields beside broken ones",
        ),
        pytest.param(
            "customers",
            {"country": [{"value": "NO"}, {"value": "XX", "since": "2026-01-01T00:00:00Z"}]},
            {"country"},
            [("country[1].value", NO_COUNTRY)],
            id="in a list",
        ),
        pytest.param(
            "customers",
            {"country": "XX"},
            {"country"},
            [("country", NO_COUNTRY)],
            id="a plain value is not told as the list that it stands for",
        ),
        pytest.param(
            "prices",
            {"tiers": [{"up_to": Decimal("1.5"), "unit_amount": 1}]},
            {"tiers"},
            [("tiers[0].up_to", NOT_WHOLE)],
            id="in a record inside",
        ),
        pytest.param(
            "subscriptions",
            {"line_items": [{}]},
            {"line_items"},
            [("line_items[0].price", REQUIRED)],
            id="required inside",
        ),
    ],
)
def test_bad_records(
    kind: str, changed: dict[str, Any], broken: set[str], problems: list[tuple[str, str]]
) -> None:
    read = read_record(kind, {**GOOD[kind], **changed})

    assert read.broken == broken
    assert list(read.problems) == problems


@pytest.mark.parametrize("raw", [None, "s", 5, []], ids=["nothing", "text", "number", "list"])
def test_a_record_is_a_mapping(raw: object) -> None:
    assert read_record("subscriptions", raw) == (
        None,
        frozenset(),
        (RecordProblem("", NOT_A_MAPPING),),
    )


def test_a_broken_record_has_the_values_of_its_sound_fields() -> None:
    raw = {**GOOD["subscriptions"], "start": "today", "line_items": [{"price": 5}, {"price": "fee"}]}

    record, broken, _ = read_record("subscriptions", raw)

    assert isinstance(record, SubscriptionRecord)
    assert broken == {"start", "line_items"}
    assert (record.customer, record.currency, record.billing_period_count) == ("c", "eur", 1)
    assert record.line_items == [None, LineItemRecord(price="fee")]
    assert not hasattr(record, "start")
