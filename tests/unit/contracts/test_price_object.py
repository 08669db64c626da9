"""A price in a request hears what `catalogue check` says of the same price in a file, at its path."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meterstone.catalogue.prices import PriceRecord
from meterstone.contracts.fields import Fields
from meterstone.contracts.preview import read_number
from meterstone.contracts.price_object import _DESCRIPTIVE, read_price
from meterstone.pricing.price import Price, TierMode
from meterstone_cli.catalogue.folder import read_catalogue
from meterstone_cli.problem import InputRefusedError

GOOD = {"id": "p", "currency": "USD", "billing_model": "FLAT_FEE", "amount": 1, "meter_id": "m"}
TIERED = GOOD | {"billing_model": "TIERED", "tier_mode": "SLAB"}
PACKAGE = GOOD | {"billing_model": "PACKAGE", "transform_quantity": {"divide_by": 10}}
TIER = {"up_to": None, "unit_amount": 1}
HUGE = 10**39

BAD: dict[str, Any] = {
    "no billing model": {k: v for k, v in GOOD.items() if k != "billing_model"},
    "another billing model": GOOD | {"billing_model": "FLAT"},
    "a billing model that is a number": GOOD | {"billing_model": 1},
    "no billing model at all": GOOD | {"billing_model": None},
    "an unknown field": GOOD | {"colour": "red"},
    "an amount below zero": GOOD | {"amount": "-1"},
    "an amount that is text": GOOD | {"amount": "one"},
    "an amount with too many digits": GOOD | {"amount": HUGE},
    "an amount with too many decimals": GOOD | {"amount": "0.0000000000000000001"},
    "an amount with a huge exponent": GOOD | {"amount": "1e999"},
    "an amount that is true": GOOD | {"amount": True},
    "an amount that is null": GOOD | {"amount": None},
    "an amount that is a list": GOOD | {"amount": [1]},
    "a billing model in unicode": GOOD | {"billing_model": "T\u0131ered"},
    "no such currency": GOOD | {"currency": "DOLLARS"},
    "a currency in unicode": GOOD | {"currency": "\u0131nr"},
    "a currency that is a number": GOOD | {"currency": 840},
    "an id that is empty": GOOD | {"id": ""},
    "an id that is too long": GOOD | {"id": "x" * 256},
    "an id with a control character": GOOD | {"id": "a\u0085b"},
    "an id that is a number": GOOD | {"id": 5},
    "a tier mode that is none": TIERED | {"tier_mode": "STAIRS", "tiers": [TIER]},
    "no tier mode": GOOD | {"billing_model": "TIERED", "tiers": [TIER]},
    "no tiers": TIERED,
    "tiers that are no list": TIERED | {"tiers": {"up_to": None}},
    "a tier that is no mapping": TIERED | {"tiers": [5]},
    "a tier without a bound": TIERED | {"tiers": [{"unit_amount": 1}]},
    "a tier without an amount": TIERED | {"tiers": [{"up_to": None}]},
    "a tier with another field": TIERED | {"tiers": [TIER | {"from": 1}]},
    "a bound that is no integer": TIERED | {"tiers": [TIER | {"up_to": Decimal("1.5")}, TIER]},
    "a bound that is text": TIERED | {"tiers": [TIER | {"up_to": "5"}, TIER]},
    "a bound that is true": TIERED | {"tiers": [TIER | {"up_to": True}, TIER]},
    "a bound of 0": TIERED | {"tiers": [TIER | {"up_to": 0}, TIER]},
    "a bound of 40 digits": TIERED | {"tiers": [TIER | {"up_to": HUGE}, TIER]},
    "bounds that fall": TIERED | {"tiers": [TIER | {"up_to": 5}, TIER | {"up_to": 4}, TIER]},
    "a bounded last tier": TIERED | {"tiers": [TIER | {"up_to": 5}]},
    "an open tier in between": TIERED | {"tiers": [TIER, TIER]},
    "tier amounts below zero": TIERED | {"tiers": [TIER | {"unit_amount": -1, "flat_amount": "-0.5"}]},
    "a tier amount that is no number": TIERED | {"tiers": [TIER | {"unit_amount": {}}]},
    "51 tiers": TIERED | {"tiers": [*(TIER | {"up_to": n} for n in range(1, 51)), TIER]},
    "no package": GOOD | {"billing_model": "PACKAGE"},
    "a package that is no mapping": PACKAGE | {"transform_quantity": 10},
    "a package without a size": PACKAGE | {"transform_quantity": {}},
    "a package of 0": PACKAGE | {"transform_quantity": {"divide_by": 0}},
    "a package rounded to the nearest": PACKAGE
    | {"transform_quantity": {"divide_by": 1, "round": "nearest"}},
    "a package with another field": PACKAGE | {"transform_quantity": {"divide_by": 1, "size": 2}},
    "no such billing period": GOOD | {"billing_period": "FORTNIGHTLY"},
    "a count without a period": GOOD | {"billing_period_count": 2},
    "a count of 0": GOOD | {"billing_period": "DAILY", "billing_period_count": 0},
    "a count that is too large": GOOD | {"billing_period": "DAILY", "billing_period_count": 10_001},
    "a count that is text": GOOD | {"billing_period": "DAILY", "billing_period_count": "2"},
    "a name that is a number": GOOD | {"display_name": 5},
    "a name with a control character": GOOD | {"display_name": "a\u0000"},
    "metadata that is no mapping": GOOD | {"metadata": ["a"]},
    "metadata that is a number": GOOD | {"metadata": {"a": 1}},
    "metadata with a control character in a name": GOOD | {"metadata": {"a\u0007": "b"}},
    "dates that are none": GOOD | {"start_date": "2026-02-30T00:00:00Z", "end_date": 5},
    "no such status": GOOD | {"status": "draft"},
    "no such entity": GOOD | {"entity_type": "CUSTOMER"},
    "trial days below zero": GOOD | {"trial_period_days": -1},
    "a price unit's amount that is text": GOOD | {"price_unit_amount": "many"},
    "a price unit's tier": GOOD | {"price_unit_tiers": [{"up_to": "x"}]},
    "several at once": TIERED
    | {"amount": "x", "currency": "zzz", "tiers": [{"up_to": "x", "unit_amount": -1}]},
}


def in_a_request(price: Any) -> dict[str, str]:
    """Read a price as a request has it: JSON, its numbers exact."""
    faults: dict[str, str] = {}
    text = json.dumps(price, default=lambda value: float(value) if isinstance(value, Decimal) else value)
    raw = json.loads(text, parse_int=read_number, parse_float=read_number)
    read_price(Fields(raw, "price", faults), with_currency=True)
    return {path.removeprefix("price").removeprefix("."): reason for path, reason in faults.items()}


def in_a_catalogue(price: Any, folder: Path) -> dict[str, str]:
    """Check a catalogue that has the price."""
    files: dict[str, Any] = {
        "organization": {"id": "0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a01"},
        "meters": [{"id": "m", "code": "m", "aggregation": "COUNT"}],
        "prices": [price],
    }
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value, default=float))
    try:
        read_catalogue(folder)
    except InputRefusedError as error:
        return {each.path.removeprefix("prices[0]").removeprefix("."): each.reason for each in error.problems}
    return {}


OTHER_CASE = [f"{what} in the other case" for what in ("model", "mode", "rounding", "status", "cadence")]


@pytest.mark.parametrize("price", BAD.values(), ids=BAD)
def test_a_bad_price_is_told_what_the_catalogue_says(price: Any, tmp_path: Path) -> None:
    found = in_a_request(price)
    assert found
    assert found == in_a_catalogue(price, tmp_path)


@pytest.mark.parametrize(
    "price",
    [
        GOOD,
        PACKAGE,
        TIERED | {"tiers": [TIER | {"up_to": 5, "flat_amount": "0.5"}, TIER]},
        GOOD | {"billing_period": "WEEKLY", "billing_period_count": 2},
        GOOD | {"tier_mode": None, "transform_quantity": None, "billing_period": None},
        GOOD | {"metadata": {"a": "b"}, "display_name": "Ümlaut", "entity_type": "PLAN", "entity_id": "pro"},
        GOOD | {"start_date": "2026-01-01T00:00:00Z", "min_quantity": "1.50", "trial_period_days": 0},
        GOOD | {"price_unit_tiers": [{"up_to": None, "unit_amount": "1.50"}], "price_unit_amount": 2},
        GOOD | {"billing_model": "flat_fee", "type": "Usage", "currency": "usd", "billing_period": "weekly"},
        TIERED | {"billing_model": "Tiered", "tier_mode": "volume", "tiers": [TIER]},
        PACKAGE | {"transform_quantity": {"divide_by": 2, "round": "DOWN"}},
        GOOD | {"status": "PUBLISHED", "entity_type": "plan", "billing_cadence": "recurring"},
        GOOD | {"invoice_cadence": "arrear", "price_unit_type": "fiat"},
    ],
    ids=["flat", "package", "tiered", "own period", "nulls", "described", "dated", "price unit", *OTHER_CASE],
)
def test_a_good_price_is_the_catalogue_s(price: Any, tmp_path: Path) -> None:
    faults: dict[str, str] = {}
    raw = json.loads(json.dumps(price), parse_int=read_number, parse_float=read_number)
    found = read_price(Fields(raw, "", faults), with_currency=True)
    assert faults == {}
    assert in_a_catalogue(price, tmp_path) == {}
    catalogue, _ = read_catalogue(tmp_path)
    assert found == catalogue.prices[0]


def test_a_request_knows_every_field_of_a_catalogue_s_price() -> None:
    own = {name for name in Price.__struct_fields__ if name != "details"}
    assert own | _DESCRIPTIVE.keys() | {"metadata", "price_unit_tiers"} == PriceRecord.model_fields.keys()


def test_a_price_may_leave_its_id_currency_and_meter_to_the_line_item() -> None:
    faults: dict[str, str] = {}
    fields = Fields(
        {"billing_model": "TIERED", "tier_mode": "VOLUME", "tiers": [{"up_to": None, "unit_amount": "1"}]},
        "",
        faults,
    )
    price = read_price(fields, with_currency=False)
    assert faults == {}
    assert (price.id, price.currency, price.meter_id, price.tier_mode) == ("", "", "", TierMode.VOLUME)


@pytest.mark.parametrize("price", [None, 5, "price", [GOOD], True])
def test_a_price_is_an_object(price: Any) -> None:
    assert in_a_request(price) == {"": "must be a mapping"}
