"""Each error of a catalogue is told once, with its line, and none that only follows from another."""

from pathlib import Path

import pytest

from meterstone_cli.catalogue import read_catalogue
from meterstone_cli.problem import InputRefusedError
from support.catalogue_folder import S, write

SUBSCRIPTIONS = "".join(
    f"- {{id: s{i}, customer: c{i}, plan: basic, currency: NOK, start: 2026-01-01T00:00:00Z}}\n"
    for i in range(6)
)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(
            {"customers": "- {id: c0\n- {id: c1}\n", "subscriptions": SUBSCRIPTIONS},
            [
                "customers.yaml: line 2, column 3: expected ',' or '}', but got '{'",
                (
                    "customers.yaml: 6 references to customers were not checked: "
                    "not all ids in this file could be read"
                ),
            ],
            id="a file that cannot be read",
        ),
        pytest.param(
            {"customers": "id: c0\n", "subscriptions": SUBSCRIPTIONS},
            [
                "customers.yaml:1: customers: must be a list",
                (
                    "customers.yaml: 6 references to customers were not checked: "
                    "not all ids in this file could be read"
                ),
            ],
            id="a file that is no list",
        ),
        pytest.param(
            {
                "customers": "\n".join(f"- id: c{i}\n  country: XX" for i in range(2)),
                "customers__x": "\n".join(f"- {{id: c{i}}}" for i in range(2, 6)),
                "subscriptions": SUBSCRIPTIONS,
            },
            [
                f"customers.yaml:{line}: customers[{i}].country (id 'c{i}'): "
                "is not an ISO 3166-1 alpha-2 country, such as NO"
                for i, line in ((0, 2), (1, 4))
            ],
            id="broken records are there",
        ),
        pytest.param(
            {"customers": "- {id: c1}\n- {Id: c2}"},
            [
                "customers.yaml:2: customers[1].id: is required",
                "customers.yaml:2: customers[1].Id: is not a known field",
                (
                    "customers.yaml: 1 reference to customers was not checked: "
                    "not all ids in this file could be read"
                ),
            ],
            id="an id that is misspelt",
        ),
        pytest.param(
            {"customers": "- {id: c1}"},
            ["subscriptions.yaml:9: subscriptions[1].customer (id 's2'): there is no customer 'c2'"],
            id="a customer that is nowhere",
        ),
        pytest.param(
            {
                "prices": (
                    "- id: call\n  currency: zzz\n  billing_model: TIERED\n  tier_mode: SLAB\n  meter_id: no\n"
                    "  tiers:\n  - {up_to: 0, unit_amount: -1}\n  - {up_to: null, unit_amount: 1}\n"
                    "- {id: fee, currency: nok, billing_model: FLAT_FEE, amount: 49, type: FIXED}\n"
                )
            },
            [
                "prices.yaml:2: prices[0].currency (id 'call'): is not an ISO 4217 currency",
                "prices.yaml:5: prices[0].meter_id (id 'call'): there is no meter 'no'",
                "prices.yaml:7: prices[0].tiers[0].unit_amount (id 'call'): must not be negative",
                "prices.yaml:7: prices[0].tiers[0].up_to (id 'call'): must be at least 1",
            ],
            id="all that is wrong with a price, and nothing of its line item",
        ),
        pytest.param(
            {"prices__x": "- {id: x, currency: nok, billing_model: FLAT, amount: -1, meter_id: calls}"},
            [
                (
                    "prices/x.yaml:1: prices[0].billing_model (id 'x'): "
                    "should be 'FLAT_FEE', 'PACKAGE' or 'TIERED'"
                ),
                "prices/x.yaml:1: prices[0].amount (id 'x'): must not be negative",
            ],
            id="of a price without a model, what holds for all",
        ),
        pytest.param(
            {
                "prices__x": (
                    "- {id: x, currency: nok, billing_model: TIERED, meter_id: calls,\n"
                    "   tier_mode: S, tiers: 5}"
                )
            },
            [
                "prices/x.yaml:2: prices[0].tier_mode (id 'x'): should be 'VOLUME' or 'SLAB'",
                "prices/x.yaml:2: prices[0].tiers (id 'x'): must be a list",
            ],
            id="a broken field is not said to be missing",
        ),
        pytest.param(
            {
                "meters__x": "- {id: x, code: '', aggregation: MAX, recurring: true, multiplier: 1}\n"
                "- {id: y, code: request, aggregation: SUM, event_name: y}"
            },
            [
                "meters/x.yaml:1: meters[0].code (id 'x'): must not be empty",
                "meters/x.yaml:1: meters[0].field (id 'x'): MAX needs a field",
                "meters/x.yaml:1: meters[0].multiplier (id 'x'): MAX has no multiplier",
                (
                    "meters/x.yaml:1: meters[0].recurring (id 'x'): MAX cannot be recurring: "
                    "only COUNT_UNIQUE, SUM and WEIGHTED_SUM can"
                ),
                "meters/x.yaml:2: meters[1].field (id 'y'): SUM needs a field",
                (
                    "meters/x.yaml:2: meters[1].code (id 'y'): "
                    "'request' is the event_name of meter 'tokens', but not of this one"
                ),
            ],
            id="all that is wrong with a meter",
        ),
        pytest.param(
            {"meters__x": "- {id: x, code: x, aggregation: MIDDLE, bucket_size: DAY, recurring: true}"},
            [
                (
                    "meters/x.yaml:1: meters[0].aggregation (id 'x'): "
                    "should be 'COUNT', 'SUM', 'SUM_WITH_MULTIPLIER', 'MAX', 'LATEST', 'AVG', "
                    "'COUNT_UNIQUE' or 'WEIGHTED_SUM'"
                ),
                "meters/x.yaml:1: meters[0].bucket_size (id 'x'): a recurring meter cannot have a bucket_size",
            ],
            id="of a meter without an aggregation, what holds for all",
        ),
        pytest.param(
            {
                "subscriptions": (
                    "- id: s1\n  customer: nobody\n  plan: none\n  currency: EUR\n  start: 2026-02-29T00:00:00Z\n"
                    "  line_items:\n  - {price: gone}\n  - {price: fee, end: never}\n  - price: call\n    id: i\n"
                    "- {id: s2, customer: c1, plan: basic, currency: nok, start: 2026-01-01T00:00:00Z,\n"
                    "   line_items: [{price: call, id: i}]}\n"
                )
            },
            [
                "subscriptions.yaml:2: subscriptions[0].customer (id 's1'): there is no customer 'nobody'",
                "subscriptions.yaml:3: subscriptions[0].plan (id 's1'): there is no plan 'none'",
                "subscriptions.yaml:5: subscriptions[0].start (id 's1'): no such day",
                "subscriptions.yaml:7: subscriptions[0].line_items[0].price (id 's1'): there is no price 'gone'",
                (
                    "subscriptions.yaml:8: subscriptions[0].line_items[1].end (id 's1'): "
                    "not an RFC 3339 date and time"
                ),
                (
                    "subscriptions.yaml:9: subscriptions[0].line_items[2].price (id 's1'): "
                    "'call' is in NOK, the subscription in EUR"
                ),
                (
                    "subscriptions.yaml:12: subscriptions[1].line_items[0].id (id 's2'): "
                    "'i' is the id of subscriptions[0].line_items[2] already"
                ),
            ],
            id="all that is wrong with a subscription",
        ),
        pytest.param(
            {
                "subscriptions": (
                    "- {id: s1, customer: c1, plan: basic, currency: zzz, start: 5,\n"
                    "   line_items: [{price: call}, {price: call, id: again},\n"
                    "   {price: no}]}"
                )
            },
            [
                "subscriptions.yaml:1: subscriptions[0].currency (id 's1'): is not an ISO 4217 currency",
                (
                    "subscriptions.yaml:1: subscriptions[0].start (id 's1'): "
                    "must be an RFC 3339 date and time, such as 2026-01-31T00:00:00Z"
                ),
                (
                    "subscriptions.yaml:2: subscriptions[0].line_items[1] (id 's1'): "
                    "overlaps line_items[0] on the meter 'calls'"
                ),
                (
                    "subscriptions.yaml:3: subscriptions[0].line_items[2].price (id 's1'): "
                    "there is no price 'no'"
                ),
            ],
            id="what does not depend on a currency and a start",
        ),
        pytest.param(
            {"subscriptions": 2 * (S + ", line_items: [{price: call}]}\n")},
            ["subscriptions.yaml:2: subscriptions[1].id (id 's'): 's' is the id of subscriptions[0] already"],
            id="one id twice is one problem",
        ),
        pytest.param(
            {"subscriptions": S + ", end: 2025-01-01T00:00:00Z, line_items: [{price: call}]}"},
            ["subscriptions.yaml:1: subscriptions[0].end (id 's'): must be after the start"],
            id="an end before the start is the subscription's alone",
        ),
        pytest.param(
            {"organization": "{id: 6f9e0e0e-0000-4000-8000-000000000001,\ntimezone: Mars/Olympus}"},
            [
                (
                    "organization.yaml:2: organization.timezone (id '6f9e0e0e-0000-4000-8000-000000000001'): "
                    "no time zone is called Mars/Olympus"
                )
            ],
            id="an organization",
        ),
    ],
)
def test_every_error_once_and_none_that_follows_from_another(
    tmp_path: Path, files: dict[str, str], expected: list[str]
) -> None:
    with pytest.raises(InputRefusedError) as refused:
        read_catalogue(write(tmp_path, **files))
    assert [str(problem) for problem in refused.value.problems] == expected
