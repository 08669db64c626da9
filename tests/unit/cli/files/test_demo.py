"""The demo: a catalogue that shows everything, and traces that become events by the stated rule."""

from collections import Counter, defaultdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from meterstone.pricing.commitment import CommitmentSplit
from meterstone.pricing.cost import cost
from meterstone.pricing.money import number
from meterstone.pricing.price import BillingModel, PriceType, RoundType, TierMode
from meterstone.usage.aggregation import observe
from meterstone.usage.calendar import zone
from meterstone.usage.instant import DAY, HOUR, format_instant, parse_instant
from meterstone.usage.meter import Aggregation, Observation, Uncounted
from meterstone_cli.catalogue import Catalogue, read_catalogue
from meterstone_cli.files.demo import CUSTOMERS, SHIFTED, Source, sources
from meterstone_cli.files.usage_files import UsageEvent

DEMO = Path(__file__).resolve().parents[4] / "examples" / "demo"
CHICAGO = zone("America/Chicago")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(DEMO / "catalogue")[0]


def read(ends: str, only: str = "") -> dict[str, list[UsageEvent]]:
    found = sources(DEMO / "usage", parse_instant(ends))
    return {each.name: [event for _, event in each.events()] for each in found if only in each.name}


@pytest.fixture(scope="module")
def usage() -> dict[str, list[UsageEvent]]:
    return read("2026-11-21T10:30:00Z")


def test_the_catalogue_shows_every_way_of_pricing(catalogue: Catalogue) -> None:
    items = [item for each in catalogue.subscriptions for item in each.line_items]
    used = {item.price.id for item in items}
    prices = [price for price in catalogue.prices if price.id in used]
    assert {price.billing_model for price in prices} == set(BillingModel)
    assert {price.tier_mode for price in prices} == {None, *TierMode}
    assert {price.type for price in prices} == set(PriceType)
    assert {price.transform_quantity.round for price in prices if price.transform_quantity} == set(RoundType)
    assert {price.currency for price in prices} == {"usd", "eur", "gbp", "inr", "jpy", "kwd"}
    meters = {item.meter.id: item.meter for item in items if item.meter}
    assert set(meters) == {meter.id for meter in catalogue.meters}
    assert {meter.aggregation for meter in catalogue.meters} == set(Aggregation)
    assert {meter.id for meter in catalogue.meters if meter.deleted_at} == {"legacy-requests"}
    assert any(meter.recurring for meter in catalogue.meters)
    assert any(meter.bucket_size for meter in catalogue.meters)
    assert any(meter.filters for meter in catalogue.meters)
    splits = {each.commitment.split for each in catalogue.subscriptions if each.commitment}
    assert splits == set(CommitmentSplit)
    assert any(len(customer.country) > 1 for customer in catalogue.customers)
    assert any(len(each.plan) > 1 for each in catalogue.subscriptions)
    changed = [
        each.id
        for each in catalogue.subscriptions
        if max(Counter(item.meter.id for item in each.line_items if item.meter).values()) > 1
    ]
    assert changed == ["sub_dunlin", "sub_home_electricity", "sub_home_electricity_shifted"]


def test_all_usage_falls_on_a_subscription(catalogue: Catalogue, usage: dict[str, list[UsageEvent]]) -> None:
    spans = {each.external_id: each.span for each in catalogue.subscriptions}
    events = [event for found in usage.values() for event in found]
    assert len(events) == 134_038
    assert len({(each.subscription, each.event.id) for each in events}) == len(events)
    assert {each.subscription for each in events} == set(spans)
    assert all(spans[each.subscription or ""].holds(each.event.at) for each in events)


def test_every_event_counts_for_every_meter_that_it_concerns(
    catalogue: Catalogue, usage: dict[str, list[UsageEvent]]
) -> None:
    counted: Counter[str] = Counter()
    for events in usage.values():
        for each in events[::100]:
            for meter in catalogue.meters:
                match observe(meter, each.event):
                    case Observation():
                        counted[meter.id] += 1
                    case Uncounted(reason):
                        pytest.fail(f"{meter.id}: {reason}")
                    case None:
                        pass
    assert set(counted) == {meter.id for meter in catalogue.meters}


def test_every_commitment_is_exceeded(catalogue: Catalogue, usage: dict[str, list[UsageEvent]]) -> None:
    committed = {each.external_id: each for each in catalogue.subscriptions if each.commitment}
    quantities: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for each in (event for found in usage.values() for event in found):
        if each.subscription in committed:
            for name in ("prompt_tokens", "generated_tokens"):
                quantities[each.subscription, name] += number(each.event.properties[name])
    assert len(committed) == 10
    for external_id, subscription in committed.items():
        spent = sum(
            cost(item.price, quantities[external_id, item.meter.field or ""] * item.meter.multiplier).amount
            for item in subscription.line_items
            if item.meter and item.meter.aggregation in {Aggregation.SUM, Aggregation.SUM_WITH_MULTIPLIER}
        )
        assert subscription.commitment
        assert spent > subscription.commitment.amount, external_id


def test_rows_go_to_customers_in_turn(usage: dict[str, list[UsageEvent]]) -> None:
    events = usage["azure_llm_code_2023-11-16.csv.gz"]
    assert [each.subscription for each in events[:41]] == [*CUSTOMERS, CUSTOMERS[0]]
    first = events[0].event
    assert (first.id, format_instant(first.at)) == ("code-0", "2023-11-16T18:17:03.97996Z")
    assert first.properties == {"prompt_tokens": 4808, "generated_tokens": 10, "model": "code"}


def test_a_home_has_one_event_an_hour_through_changes_of_clocks(usage: dict[str, list[UsageEvent]]) -> None:
    events = [each.event for each in usage["il-electricity-cdd-hdd-hourly.csv.gz"]]
    assert {after.at - before.at for before, after in pairwise(events)} == {HOUR}
    assert events[1].properties == {"kwh": Decimal("1.47")}


@pytest.mark.parametrize(
    ("ends", "models", "homes"),
    [
        ("2026-11-21T10:30:00Z", "2026-11-21T10:14:19.928016Z", "2026-11-21T06:00:00Z"),
        ("2026-11-21T05:59:59Z", "2026-11-21T05:14:19.928016Z", "2026-11-20T06:00:00Z"),
        ("2026-07-01T23:10:00Z", "2026-07-01T22:14:19.928016Z", "2026-07-01T05:00:00Z"),
    ],
)
def test_shifted_traces_end_just_before(ends: str, models: str, homes: str) -> None:
    found = read(ends, "(shifted)")
    last = {name: format_instant(max(each.event.at for each in events)) for name, events in found.items()}
    assert last["azure_llm_code_2023-11-16.csv.gz (shifted)"] == models
    assert last["il-gas-hdd-only-hourly.csv.gz (shifted)"] == homes


def test_shifted_events_are_labelled_and_keep_their_hour(usage: dict[str, list[UsageEvent]]) -> None:
    name = "il-electricity-cdd-hdd-hourly.csv.gz"
    gaps = 0
    for recorded, shifted in zip(usage[name], usage[f"{name} (shifted)"], strict=True):
        assert shifted.subscription == f"{recorded.subscription}{SHIFTED}"
        assert shifted.event.id == recorded.event.id + SHIFTED
        assert shifted.event.properties == {**recorded.event.properties, "trace": "shifted"}
        same = CHICAGO.wall(shifted.event.at) % DAY == CHICAGO.wall(recorded.event.at) % DAY
        gaps += not same
    # The hour that a change of clocks skips, on 9 March 2025 and 8 March 2026, has moved into the next.
    assert gaps == 2


def test_ids_do_not_depend_on_the_shift() -> None:
    ids: dict[str, set[str]] = defaultdict(set)
    for ends in ("2026-11-21T10:30:00Z", "2026-12-24T00:00:00Z"):
        for name, events in read(ends, "(shifted)").items():
            ids[name].add(events[0].event.id)
    assert len(ids) == 4
    assert all(len(found) == 1 for found in ids.values())


def test_a_source_is_known_by_its_content_and_its_shift() -> None:
    def identities(ends: str) -> dict[str, str]:
        found: list[Source] = sources(DEMO / "usage", parse_instant(ends))
        return {each.name: each.sha256 for each in found}

    first, same, later = map(
        identities, ("2026-11-21T10:30:00Z", "2026-11-21T10:31:00Z", "2026-11-22T10:30:00Z")
    )
    assert first == same
    assert len(set(first.values())) == 8
    assert {name for name in first if first[name] != later[name]} == {
        name for name in first if "shifted" in name
    }
