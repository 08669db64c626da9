"""A catalogue's folder: what it becomes, and everything that is wrong with it at once."""

import json
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
import yaml
from ruamel.yaml import YAML

from meterstone.pricing.commitment import Commitment, CommitmentSplit
from meterstone.usage.aggregation import observe
from meterstone.usage.calendar import BucketSize
from meterstone.usage.meter import Filter, Observation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import Dated
from meterstone_cli.catalogue import document, read_catalogue
from meterstone_cli.files.usage_files import UsageEvent, read_usage
from meterstone_cli.problem import InputRefusedError
from support.problems import without_line_and_id

SECOND = 1_000_000
SMALL = Path(__file__).parents[3] / "examples" / "small"
JANUARY = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z

GOOD = {
    "organization.yaml": "{id: 6f9e0e0e-0000-4000-8000-000000000001, name: Fjord, timezone: Europe/Oslo}",
    "customers.yaml": """
- {id: c1, name: Ola, country: NO, customer_type: individual}
- id: c2
  timezone: Asia/Tokyo
  country: [{value: JP}, {value: US, since: 2026-02-01T00:00:00+09:00}]
""",
    "plans.yaml": "- {code: basic, name: Basic}\n",
    "meters.yaml": """
- {id: calls, code: api_calls, aggregation: COUNT, filters: {size: [5.0, big, true]}}
- {id: tokens, code: tokens, name: Tokens, aggregation: SUM, field: n, event_name: request, recurring: true}
- {id: level, code: level, aggregation: WEIGHTED_SUM, field: n}
- {id: peak, code: peak, aggregation: MAX, field: n, bucket_size: 15MIN}
""",
    "prices.yaml": """
- {id: call, currency: NOK, billing_model: FLAT_FEE, amount: 0.1, meter_id: calls, display_name: A call}
- {id: token, currency: nok, billing_model: FLAT_FEE, amount: "0.000001", meter_id: tokens}
- {id: fee, currency: nok, billing_model: FLAT_FEE, amount: 49, type: FIXED}
- {id: levelled, currency: nok, billing_model: FLAT_FEE, amount: 1, meter_id: level}
""",
    "subscriptions.yaml": """
- id: s1
  customer: c1
  plan: basic
  currency: NOK
  start: 2026-01-01T00:00:00Z
  commitment: {amount: 100, overage_factor: 1.5, split: whole_units}
  line_items: [{price: call}, {price: fee, id: the-fee, end: 2026-02-01T00:00:00Z}]
- {id: s2, customer: c2, plan: basic, currency: nok, start: 2026-01-01T00:00:00Z, external_id: shared}
""",
}


def write(folder: Path, **files: str) -> Path:
    """Write the good catalogue with some of its files replaced (`prices="…"`) or added (`prices__more="…"`)."""
    contents = GOOD | {name.replace("__", "/") + ".yaml": text for name, text in files.items()}
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def problems(folder: Path) -> list[str]:
    with pytest.raises(InputRefusedError) as refused:
        read_catalogue(folder)
    return [without_line_and_id(problem) for problem in refused.value.problems]


def test_a_good_folder_becomes_a_catalogue(tmp_path: Path) -> None:
    catalogue, _ = read_catalogue(write(tmp_path))
    assert catalogue.organization.timezone == "Europe/Oslo"
    assert [customer.id for customer in catalogue.customers] == ["c1", "c2"]
    assert catalogue.customers[0].country == (Dated("NO"),)
    calls, _, peak, tokens = catalogue.meters
    assert (calls.name, calls.event_name) == ("api_calls", "api_calls")
    assert calls.filters == (Filter("size", ("5", "big", "true")),)
    assert (tokens.event_name, tokens.recurring) == ("request", True)
    assert peak.bucket_size is BucketSize.FIFTEEN_MINUTES
    first, second = catalogue.subscriptions
    assert (first.timezone, second.timezone) == ("Europe/Oslo", "Asia/Tokyo")
    assert second.country[1].since == JANUARY + 30 * 86_400 * SECOND + 15 * 3600 * SECOND
    assert first.commitment == Commitment(Decimal(100), Decimal("1.5"), CommitmentSplit.WHOLE_UNITS)
    call, fee = first.line_items
    assert (call.id, call.start, call.end, call.meter) == ("s1.call", JANUARY, None, calls)
    assert (fee.id, fee.meter) == ("the-fee", None)
    assert second.external_id == "shared"


def test_numbers_are_exact_and_what_describes_a_price_is_carried(tmp_path: Path) -> None:
    catalogue, _ = read_catalogue(write(tmp_path))
    call = next(price for price in catalogue.prices if price.id == "call")
    assert call.amount == Decimal("0.1")
    assert call.currency == "nok"
    assert call.details == {"display_name": "A call"}


def test_a_kind_may_be_a_folder_of_yaml_and_json(tmp_path: Path) -> None:
    folder = write(tmp_path, plans__more="- {code: more}")
    (folder / "plans" / "json.json").write_text(json.dumps([{"code": "from-json"}]))
    (folder / "README.md").write_text("left alone")
    catalogue, _ = read_catalogue(folder)
    assert [plan.code for plan in catalogue.plans] == ["basic", "from-json", "more"]


def test_every_error_of_every_file_is_reported_at_once(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        organization="{id: 5, timezone: Mars/Olympus}",
        customers="- {id: c1, country: XX, colour: red}\n- {id: c1}\n- {id: c2, country: []}",
        meters="""
- {id: calls, code: api_calls, aggregation: COUNT, field: n}
- {id: tokens, code: tokens, aggregation: MAX, recurring: true, group_by: [n]}
- {id: level, code: level, aggregation: WEIGHTED_SUM, field: n, bucket_size: DAY}
""",
        prices="""
- {id: call, currency: NOK, billing_model: FLAT_FEE, amount: 1e400, meter_id: calls}
- id: token
  currency: nok
  billing_model: TIERED
  tier_mode: SLAB
  tiers: [{up_to: 5, unit_amount: -1}]
  meter_id: no
- {id: fee, currency: EUR, billing_model: FLAT_FEE, amount: 49, type: FIXED}
""",
        subscriptions="""
- {id: s1, customer: nobody, plan: none, currency: NOK, start: 2026-02-29T00:00:00Z}
- id: s2
  customer: c1
  plan: basic
  currency: NOK
  start: 2026-01-01T00:00:00Z
  line_items: [{price: call}, {price: fee}, {price: gone}]
""",
    )
    assert problems(folder) == [
        "organization.yaml: organization.id: must be text; a number or a boolean is text in quotes",
        "organization.yaml: organization.timezone: no time zone is called Mars/Olympus",
        "customers.yaml: customers[0].country: is not an ISO 3166-1 alpha-2 country, such as NO",
        "customers.yaml: customers[0].colour: is not a known field",
        "customers.yaml: customers[1].id: 'c1' is the id of customers[0] already",
        "customers.yaml: customers[2].country: must not be an empty list",
        "meters.yaml: meters[0].field: COUNT has no field",
        "meters.yaml: meters[1].group_by: is not supported: make a meter with filters for each group",
        "meters.yaml: meters[1].field: MAX needs a field",
        "meters.yaml: meters[1].recurring: MAX cannot be recurring: only COUNT_UNIQUE, SUM and WEIGHTED_SUM can",
        "meters.yaml: meters[2].bucket_size: WEIGHTED_SUM cannot have a bucket_size: only MAX and SUM can",
        "prices.yaml: prices[0].amount: a number has at most 12 integer and 18 decimal digits",
        "prices.yaml: prices[1].tiers[0].unit_amount: must not be negative",
        "prices.yaml: prices[1].tiers[0].up_to: must be null: the last tier is unbounded",
        "prices.yaml: prices[1].meter_id: there is no meter 'no'",
        "subscriptions.yaml: subscriptions[0].start: no such day",
        "subscriptions.yaml: subscriptions[0].customer: there is no customer 'nobody'",
        "subscriptions.yaml: subscriptions[0].plan: there is no plan 'none'",
        "subscriptions.yaml: subscriptions[1].line_items[1].price: 'fee' is in EUR, the subscription in NOK",
        "subscriptions.yaml: subscriptions[1].line_items[2].price: there is no price 'gone'",
    ]


START = "start: 2026-01-01T00:00:00Z"
S = "- {id: s, customer: c1, plan: basic, currency: NOK, " + START


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("plans", "- {code: ''}", "plans.yaml: plans[0].code: must not be empty"),
        (
            "plans",
            f"- {{code: {'x' * 256}}}",
            "plans.yaml: plans[0].code: has 256 characters, 255 are allowed",
        ),
        (
            "plans",
            r'- {code: "a\x07b"}',
            "plans.yaml: plans[0].code: must not hold the control character U+0007",
        ),
        ("plans", "{code: a}", "plans.yaml: plans: must be a list"),
        ("plans", "- 7", "plans.yaml: plans[0]: must be a mapping"),
        ("plans", "- {code: a, code: b}", "plans.yaml: line 1, column 13: the key 'code' is repeated"),
        ("plans", "- {1: a}", "plans.yaml: line 1, column 4: the key '1' is not text: quote it"),
        ("plans", "- !!python/object:os.system {}", "plans.yaml: line 1, column 3: tags are not supported"),
        ("plans", "- {<<: {}}", "plans.yaml: line 1, column 4: merge keys are not part of YAML 1.2"),
        ("plans", "- [", "plans.yaml: line 1, column 4: expected the node content, but found '<stream end>'"),
        ("plans", "[" * 30 + "]" * 30, "plans.yaml: line 1, column 25: is nested more than 24 levels deep"),
        ("plans", "a: 1\n---\nb: 2", "plans.yaml: line 2, column 1: a file holds one document"),
        (
            "plans",
            "- {code: a, name: .nan}",
            "plans.yaml: line 1, column 19: '.nan' is not a number of the form -12.5",
        ),
        ("plans", "- {code: a, name: -0}", "plans.yaml: line 1, column 19: -0 is a negative zero: write 0"),
        (
            "prices__x",
            "- {id: x, currency: nok, billing_model: FLAT_FEE, amount: NaN, meter_id: calls}",
            "prices/x.yaml: prices[0].amount: not a number of the form -12.5",
        ),
        (
            "prices__x",
            f"- {{id: x, currency: nok, billing_model: FLAT_FEE, amount: {'9' * 39}, meter_id: calls}}",
            "prices/x.yaml: prices[0].amount: a number has at most 12 integer and 18 decimal digits",
        ),
        (
            "prices__x",
            "- {id: x, currency: zzz, billing_model: FLAT, amount: 1, meter_id: calls}",
            (
                "prices/x.yaml: prices[0].currency: is not an ISO 4217 currency\n"
                "prices/x.yaml: prices[0].billing_model: should be 'FLAT_FEE', 'PACKAGE' or 'TIERED'"
            ),
        ),
        (
            "prices__x",
            "- {id: x, currency: nok, billing_model: PACKAGE, amount: 1, billing_period_count: 2}",
            (
                "prices/x.yaml: prices[0].meter_id: a USAGE price needs a meter_id\n"
                "prices/x.yaml: prices[0].billing_period_count: needs a billing_period\n"
                "prices/x.yaml: prices[0].transform_quantity: is required for a PACKAGE price"
            ),
        ),
        (
            "prices__x",
            "- {id: x, currency: nok, billing_model: PACKAGE, amount: 1, meter_id: calls}",
            "prices/x.yaml: prices[0].transform_quantity: is required for a PACKAGE price",
        ),
        (
            "prices__x",
            "- {id: call, currency: nok, billing_model: FLAT_FEE, amount: 1, meter_id: calls}",
            "prices.yaml: prices[0].id: 'call' is the id of prices[0] of prices/x.yaml already",
        ),
        (
            "meters__x",
            "- {id: x, code: x, aggregation: SUM, field: n, multiplier: 2, recurring: true, bucket_size: DAY}",
            (
                "meters/x.yaml: meters[0].multiplier: SUM has no multiplier\n"
                "meters/x.yaml: meters[0].bucket_size: a recurring meter cannot have a bucket_size"
            ),
        ),
        (
            "meters__x",
            "- {id: x, code: request, aggregation: COUNT, event_name: x}",
            "meters/x.yaml: meters[0].code: 'request' is the event_name of meter 'tokens', but not of this one",
        ),
        (
            "meters__x",
            "- {id: x, code: api_calls, aggregation: COUNT, event_name: x}",
            "meters/x.yaml: meters[0].code: 'api_calls' is the event_name of meter 'calls', but not of this one",
        ),
        (
            "meters__x",
            "- {id: x, code: x, aggregation: COUNT, filters: {a: [1e100, 1e101]}}",
            "meters/x.yaml: meters[0].filters.a[1]: the exponent of a number is at most 100",
        ),
        (
            "meters__x",
            "- {id: x, code: x, aggregation: SUM_WITH_MULTIPLIER, field: n, multiplier: 1e18}",
            "meters/x.yaml: meters[0].multiplier: a number has at most 18 integer and 18 decimal digits",
        ),
        (
            "meters__x",
            "- {id: x, code: x, aggregation: SUM_WITH_MULTIPLIER, filters: {a: []}}",
            (
                "meters/x.yaml: meters[0].field: SUM_WITH_MULTIPLIER needs a field\n"
                "meters/x.yaml: meters[0].multiplier: SUM_WITH_MULTIPLIER needs a multiplier\n"
                "meters/x.yaml: meters[0].filters.a: has no values, so that nothing passes"
            ),
        ),
        (
            "subscriptions",
            S + ", end: 2026-01-01T00:00:00Z}",
            "subscriptions.yaml: subscriptions[0].end: must be after the start",
        ),
        (
            "subscriptions",
            S + ", commitment: {amount: -1, overage_factor: -1, split: x}}",
            (
                "subscriptions.yaml: subscriptions[0].commitment.amount: must not be negative\n"
                "subscriptions.yaml: subscriptions[0].commitment.overage_factor: must not be negative\n"
                "subscriptions.yaml: subscriptions[0].commitment.split: should be 'amount' or 'whole_units'"
            ),
        ),
        (
            "subscriptions",
            S + ", anchor: 2026-01-01, billing_cycle: lunar}",
            (
                "subscriptions.yaml: subscriptions[0].billing_cycle: should be 'calendar' or 'anniversary'\n"
                "subscriptions.yaml: subscriptions[0].anchor: not an RFC 3339 date and time"
            ),
        ),
        (
            "subscriptions",
            S + ", line_items: [{price: call}, {price: call, id: b}]}",
            "subscriptions.yaml: subscriptions[0].line_items[1]: overlaps line_items[0] on the meter 'calls'",
        ),
        (
            "subscriptions",
            S + ", line_items: [{price: call, end: 2026-02-01T00:00:00Z}, {price: call, "
            "start: 2026-02-01T00:00:00Z}]}",
            (
                "subscriptions.yaml: subscriptions[0].line_items[1].id: "
                "'s.call' is the id of subscriptions[0].line_items[0] already"
            ),
        ),
        (
            "subscriptions",
            S + ", line_items: [{price: call, end: 2026-01-01T00:00:00Z}]}",
            "subscriptions.yaml: subscriptions[0].line_items[0]: must end after it starts",
        ),
        (
            "subscriptions",
            S
            + ", external_id: x, end: 2026-03-01T00:00:00Z}\n"
            + S.replace("id: s", "id: t")
            + ", external_id: x}",
            (
                "subscriptions.yaml: subscriptions[1].external_id: "
                "'x' is that of subscriptions[0] ('s') at the same time"
            ),
        ),
        (
            "subscriptions",
            S.replace("basic", "[{value: basic}, {value: no, since: 2026-02-01T00:00:00Z}]") + "}",
            "subscriptions.yaml: subscriptions[0].plan[1].value: there is no plan 'no'",
        ),
        (
            "customers__x",
            "- {id: x, country: [{value: NO, since: 2026-02-01T00:00:00Z}, {value: SE}]}",
            "customers/x.yaml: customers[0].country: only the first entry may leave `since` out",
        ),
        (
            "customers__x",
            (
                "- {id: x, country: [{value: NO, since: 2026-02-01T00:00:00Z}, "
                "{value: SE, since: 2026-01-01T00:00:00Z}]}"
            ),
            (
                "customers/x.yaml: customers[0].country: "
                "must be in the order of `since`, each later than the one before"
            ),
        ),
        (
            "customers__x",
            "- {id: x, timezone: ../../etc/passwd, customer_type: robot}",
            (
                "customers/x.yaml: customers[0].timezone: not the name of a time zone\n"
                "customers/x.yaml: customers[0].customer_type: should be 'individual' or 'company'"
            ),
        ),
        (
            "coupons",
            "[]",
            (
                "coupons.yaml: is none of a catalogue's files: "
                "organization, customers, plans, meters, prices, subscriptions"
            ),
        ),
    ],
)
def test_bad_catalogues(tmp_path: Path, kind: str, text: str, expected: str) -> None:
    folder = write(tmp_path, **{kind: text})
    missing = ("there is no plan 'basic'", "references to plans were not checked")
    found = [each for each in problems(folder) if not any(text in each for text in missing)]
    assert "\n".join(found) == expected


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


def test_a_file_of_another_name_may_hold_the_records_of_a_kind_that_has_none(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "customers.yaml").rename(folder / "customer.yaml")
    assert problems(folder) == [
        (
            "customer.yaml: is none of a catalogue's files: "
            "organization, customers, plans, meters, prices, subscriptions"
        ),
        "customer.yaml: 2 references to customers were not checked: not all ids in this file could be read",
    ]


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("x.yaml", "\n\n- code: a\n  name: 5", 4),
        ("x.yaml", "# first\n- code: a\n\n  name:\n\n    - 5", 4),
        ("x.yaml", "- {code: a,\n   name: 5}", 2),
        ("x.yaml", "- code: &a b\n- code: c\n  # why\n  name: {deep: *a}", 4),
        ("x.yml", "-\n  code: a\n  ? name\n  : 5", 3),
        ("x.json", '[{"code": "a", "name": 5}]', 1),
        ("x.json", '[\n {},\n {"code": "a\\n\\"",\n "description": "b",\n\n "name"\n: 5}\n]', 6),
        ("x.json", '\ufeff[\r\n{"code": "a", "description": "]}",\r\n"name": [1, {"a": null}]}]', 3),
        ("x.json", '[{"code": "a"}, {"code": "b"},\n\n{"code": "\\u00e9", "name": true}]', 3),
    ],
)
def test_the_line_of_a_field(tmp_path: Path, name: str, text: str, line: int) -> None:
    folder = write(tmp_path)
    (folder / "plans").mkdir()
    (folder / "plans" / name).write_text(text)
    with pytest.raises(InputRefusedError) as refused:
        read_catalogue(folder)
    named = [problem.line for problem in refused.value.problems if problem.path.endswith(".name")]
    assert named == [line]


def test_the_line_of_what_is_absent_is_that_of_its_record(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError) as refused:
        read_catalogue(write(tmp_path, plans__x="- code: a\n-\n  name: b\n"))
    assert [problem.line for problem in refused.value.problems] == [3]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{code: request}", id="another's event_name, and its own"),
        pytest.param("{code: x, event_name: request}", id="the same event_name under another code"),
        pytest.param("{code: api_calls}", id="another's code"),
        pytest.param("{code: tokens, event_name: request}", id="another's code and event_name"),
        pytest.param("{code: tokens, event_name: other}", id="the code of one that has another event_name"),
    ],
)
def test_meters_may_share_names(tmp_path: Path, text: str) -> None:
    meter = f"- {{id: x, aggregation: COUNT, {text.strip('{}')}}}"
    catalogue, _ = read_catalogue(write(tmp_path, meters__x=meter))
    assert [each.id for each in catalogue.meters] == ["calls", "level", "peak", "tokens", "x"]


def test_a_weighted_sum_may_have_a_onetime_period(tmp_path: Path) -> None:
    text = S + ", billing_period: ONETIME, line_items: [{price: levelled}]}"
    catalogue, _ = read_catalogue(write(tmp_path, subscriptions=text))
    assert catalogue.subscriptions[0].billing_period is BillingPeriod.ONETIME


def test_an_external_id_may_be_used_again_later(tmp_path: Path) -> None:
    later = S.replace("id: s", "id: t").replace("2026-01", "2026-03")
    text = S + ", external_id: x, end: 2026-03-01T00:00:00Z}\n" + later + ", external_id: x}"
    catalogue, _ = read_catalogue(write(tmp_path, subscriptions=text))
    assert [each.external_id for each in catalogue.subscriptions] == ["x", "x"]


def test_aliases_that_would_expand_without_bound_are_refused(tmp_path: Path) -> None:
    bomb = "- &a [0,0,0,0,0,0,0,0,0,0]\n" + "\n".join(
        f"- &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]" for i in range(7)
    )
    assert problems(write(tmp_path, plans__x=bomb)) == [
        "plans/x.yaml: line 7, column 7: holds more than 2000000 values, aliases expanded"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"code": "a", "code": "b"}]', "line 1: the key 'code' is repeated"),
        ('[{"code": "a"},\n\n{"code": "code",\n "code": "b"}]', "line 4: the key 'code' is repeated"),
        ('[{"code": "NaN"},\n{"code": NaN}]', "line 2: NaN is not a number of the form -12.5"),
        ('[{"name": 0,\n"code": -0}]', "line 2: -0 is a negative zero: write 0"),
        # Which of two is told, that of the inner value, is told with its own line.
        (
            '[{"code": "a",\n"code": "b",\n"name": -Infinity}]',
            "line 3: -Infinity is not a number of the form -12.5",
        ),
        ("[", "line 1, column 2: Expecting value"),
        ("[" * 100_000, "is nested too deeply"),
        (f"[{'9' * 5000}]", f"line 1: the number '{'9' * 40}…' has too many digits"),
        (r'["\ud800"]', "plans[0]: must be a mapping"),
        (r'[{"code": "\ud800"}]', "plans[0].code: must not hold the control character U+D800"),
    ],
)
def test_bad_json(tmp_path: Path, text: str, expected: str) -> None:
    folder = write(tmp_path)
    (folder / "plans").mkdir()
    (folder / "plans" / "x.json").write_text(text)
    assert problems(folder) == [f"plans/x.json: {expected}"]


def test_a_folder_without_an_organization(tmp_path: Path) -> None:
    assert problems(tmp_path) == ["organization.yaml: is missing: a catalogue belongs to one organization"]
    (tmp_path / "catalogue").mkdir()
    hint = f"is it the folder {tmp_path}/catalogue that you mean?"
    assert problems(tmp_path) == [
        f"organization.yaml: is missing: a catalogue belongs to one organization; {hint}"
    ]
    assert problems(tmp_path / "none")[0] == f"{tmp_path}/none: is not a folder"


def test_what_is_not_utf_8(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "plans.yaml").write_bytes(b"- {code: \xff}")
    assert problems(folder)[0] == "plans.yaml: is not UTF-8 (byte 9)"


def test_the_small_example_has_an_event_for_each_of_its_meters() -> None:
    catalogue, _ = read_catalogue(SMALL / "catalogue")
    (subscription,) = catalogue.subscriptions
    assert {item.meter for item in subscription.line_items} == set(catalogue.meters)
    rows = [row for path in sorted(SMALL.glob("usage.*")) for _, row in read_usage(path, JANUARY * 2)]
    events = [row for row in rows if isinstance(row, UsageEvent)]
    assert len(events) == len(rows) == 4
    for each in events:
        assert (each.subscription or each.customer) in (subscription.external_id, subscription.customer_id)
        assert subscription.span.holds(each.event.at)
        for meter in catalogue.meters:
            assert isinstance(observe(meter, each.event), Observation)


_PIECES = (
    *(
        "a",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "\n- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ",",
        ":",
        ": ",
        "#",
        " #",
        "'",
        '"',
        " ",
    ),
    *(
        "12",
        "1.5",
        "true",
        "~",
        "null",
        "x:y",
        "http://a/b",
        "NO",
        "---",
        "...",
        "\n---\n",
        "\n...\n",
        "é",
        "😀",
    ),
    *("--", "a-b", "?a", "\r", "\r\n", "=", "<<", "<<: ", "0x1f", "''", "\x07", "\x7f", "\xa0", "%a", "a&b"),
    *("1_000", "1:30", "+1", "&", "*", "|", ">", "!", "@", "`", "\t", "\\", "\x85", "2020-01-01"),
    *("%", "& ", "| ", " > b"),
)


def test_both_parsers_of_yaml_read_the_same() -> None:
    """What the fast one reads, the exact one reads, and as the same; the fast one reads many texts."""
    random = Random(7)  # noqa: S311 - nothing secret
    fast = 0
    for _ in range(6000):
        text = "".join(random.choice(_PIECES) for _ in range(random.randrange(1, 14)))
        if document._UNUSUAL.search(text):
            continue
        try:
            found = document._Composer(yaml.parse(text, Loader=yaml.CSafeLoader)).document()
        except (yaml.YAMLError, ValueError):
            continue
        fast += 1
        assert repr(document._Composer(YAML(typ="safe", pure=True).parse(text)).document()) == repr(found), (
            text
        )
    assert fast > 500


def test_usual_yaml_is_read_by_the_fast_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "YAML", None)
    text = "- {id: a, name: B & C, start: 2026-01-01T00:00:00Z}\n- id: b | c\n  amount: -1.50 # less\n"
    assert document.parse_yaml(text) == [
        {"id": "a", "name": "B & C", "start": "2026-01-01T00:00:00Z"},
        {"id": "b | c", "amount": Decimal("-1.50")},
    ]
