"""A catalogue's folder: which files it is made of, and what they become."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from meterstone.pricing.commitment import Commitment, CommitmentSplit
from meterstone.usage.aggregation import observe
from meterstone.usage.calendar import BucketSize
from meterstone.usage.meter import Filter, Observation
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import Dated
from meterstone_cli.catalogue import read_catalogue
from meterstone_cli.files.usage_files import UsageEvent, read_usage
from support.catalogue_folder import S, problems, write

SECOND = 1_000_000
SMALL = Path(__file__).parents[4] / "examples" / "small"
JANUARY = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z


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


def test_a_folder_without_an_organization(tmp_path: Path) -> None:
    assert problems(tmp_path) == ["organization.yaml: is missing: a catalogue belongs to one organization"]
    (tmp_path / "catalogue").mkdir()
    hint = f"is it the folder {tmp_path}/catalogue that you mean?"
    assert problems(tmp_path) == [
        f"organization.yaml: is missing: a catalogue belongs to one organization; {hint}"
    ]
    assert problems(tmp_path / "none")[0] == f"{tmp_path}/none: is not a folder"


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
