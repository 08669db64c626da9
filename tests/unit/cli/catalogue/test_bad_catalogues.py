"""What is wrong with a catalogue's records: everything, in all files, at once."""

from pathlib import Path

import pytest

from support.catalogue_folder import S, problems, write


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
