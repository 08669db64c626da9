"""What the page's tests look at: three organizations with made up usage, the same on every run.

`northwind` has what a business has: customers in three currencies, tiers, packages, a commitment with overage, a
day that is worth less than nothing, and events that do not count. `strange` has names that are markup, run from
right to left, are pictures, or have 255 characters. `wide` has 400 days of 20 metrics.
The present is always `NOW`.
"""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.imports import Source
from meterstone.usage.instant import microseconds
from meterstone.usage.meter import Event
from meterstone_cli.catalogue.folder import read_catalogue
from meterstone_cli.files.loading import import_events
from meterstone_cli.files.usage_files import UsageEvent
from support.written import write_stored

type Record = dict[str, Any]

PRESENT: Final = datetime(2025, 6, 18, 14, 20, tzinfo=UTC)
NOW: Final = microseconds(PRESENT - datetime(1970, 1, 1, tzinfo=UTC))
BEGIN: Final = "2024-01-01T00:00:00+01:00"
NORTHWIND: Final = "11111111-1111-4111-8111-111111111111"
STRANGE: Final = "22222222-2222-4222-8222-222222222222"
WIDE: Final = "33333333-3333-4333-8333-333333333333"

#: In every place where a text is stored: a name, an id, a code, a property.
ODD: Final = {
    "markup": "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>&amp;",
    "hebrew": "\u202eשלום עולם (חברה) 123",
    "emoji": "👩🏽‍🚀 Café ☕️ Zürich",
    "long": "long-" + "x" * 250,
}

#: Of each customer: name, country, type, currency, plan, and how large.
CUSTOMERS: Final = {
    "acme": ("Acme Robotics", "DE", "company", "EUR", "scale", 9.0),
    "bluebird": ("Bluebird Logistics", "FR", "company", "EUR", "team", 4.0),
    "cobalt": ("Cobalt Analytics", "US", "company", "USD", "scale", 7.0),
    "delphi": ("Delphi Research", "GR", "company", "EUR", "team", 2.2),
    "ember": ("Ember Studio", "US", "individual", "USD", "starter", 1.2),
    "fuji": ("Fuji Kogyo", "JP", "company", "JPY", "team", 3.0),
    "gale": ("Gale Weather", "NL", "company", "EUR", "starter", 1.5),
    "harbor": ("Harbor Health", "US", "company", "USD", "team", 5.0),
}
#: What one unit costs where a price says 1.
RATES: Final = {"EUR": 1.0, "USD": 1.1, "JPY": 160.0}


def northwind() -> tuple[dict[str, Any], list[UsageEvent]]:
    """Return the catalogue and the usage of `northwind`."""
    meters = [
        {"id": "requests", "code": "requests", "name": "API requests", "aggregation": "SUM", "field": "n"},
        {"id": "tokens", "code": "tokens", "name": "Tokens", "aggregation": "SUM", "field": "n"},
        {
            "id": "storage",
            "code": "storage",
            "name": "Storage (GB-hours)",
            "aggregation": "SUM",
            "field": "n",
        },
        {"id": "seats", "code": "seats", "name": "Seats", "aggregation": "LATEST", "field": "n"},
        {"id": "exports", "code": "exports", "name": "Exports", "aggregation": "COUNT"},
    ]
    plans: list[dict[str, Any]] = [
        {"code": "starter", "name": "Starter", "description": "To try it."},
        {"code": "team", "name": "Team", "description": "For a team."},
        {"code": "scale", "name": "Scale", "description": "With a commitment."},
    ]
    prices = [price for plan in plans for currency in RATES for price in prices_of(plan["code"], currency)]
    for plan in plans:
        plan["prices"] = [price["id"] for price in prices if price["entity_id"] == plan["code"]]
    subscriptions = [
        subscription(name, plan, currency, [f"{plan}-{meter['id']}-{currency.lower()}" for meter in meters])
        for name, (_, _, _, currency, plan, _) in CUSTOMERS.items()
    ]
    next(each for each in subscriptions if each["customer"] == "acme")["commitment"] = {
        "amount": 500, "overage_factor": 1.5,
    }  # fmt: skip
    customers = [
        {"id": name, "name": title, "country": country, "customer_type": kind, "timezone": "Europe/Berlin"}
        for name, (title, country, kind, *_) in CUSTOMERS.items()
    ]
    catalogue = {
        "organization": {"id": NORTHWIND, "name": "Northwind Cloud", "timezone": "Europe/Berlin"},
        "customers": customers, "meters": meters, "plans": plans, "prices": prices, "subscriptions": subscriptions,
    }  # fmt: skip
    return catalogue, list(daily_usage())


def prices_of(plan: str, currency: str) -> Iterator[Record]:
    """Yield a plan's prices in a currency."""
    rate = RATES[currency]

    def amount(value: float) -> str:
        return f"{value * rate:.8f}"

    discount = {"starter": 1.0, "team": 0.9, "scale": 0.75}[plan]
    shared = {"currency": currency, "entity_type": "PLAN", "entity_id": plan}

    def price(meter: str, **more: Any) -> Record:
        name = f"{plan}-{meter}-{currency.lower()}"
        return {"id": name, "meter_id": meter, "billing_model": "FLAT_FEE", **shared, **more}

    yield price(
        "requests", billing_model="TIERED", tier_mode="SLAB",
        tiers=[
            {"up_to": 10_000, "unit_amount": amount(0.004 * discount)},
            {"up_to": 100_000, "unit_amount": amount(0.003 * discount)},
            {"up_to": None, "unit_amount": amount(0.002 * discount)},
        ],
    )  # fmt: skip
    # By volume: on the day on which the bound is passed, all that was used before becomes cheaper.
    yield price(
        "tokens", billing_model="TIERED", tier_mode="VOLUME",
        tiers=[
            {"up_to": 1_000_000, "unit_amount": amount(0.00006 * discount)},
            {"up_to": None, "unit_amount": amount(0.00004 * discount)},
        ],
    )  # fmt: skip
    yield price("storage", amount=amount(0.011 * discount))
    yield price("seats", amount=amount(9 * discount))
    yield price(
        "exports",
        billing_model="PACKAGE",
        amount=amount(2),
        transform_quantity={"divide_by": 25, "round": "up"},
    )


def subscription(customer: str, plan: str, currency: str, prices: list[str]) -> Record:
    """Return a subscription by calendar months."""
    return {
        "id": f"sub_{customer}", "external_id": f"{customer}-main", "customer": customer, "plan": plan,
        "currency": currency, "start": BEGIN, "line_items": [{"price": each} for each in prices],
    }  # fmt: skip


def daily_usage() -> Iterator[UsageEvent]:
    """Yield what the customers of `northwind` use a day, for four months."""
    drawn = random.Random(7)  # noqa: S311 - not for secrets
    for customer, (*_, size) in CUSTOMERS.items():
        for back in range(118, -1, -1):
            at = PRESENT - timedelta(days=back, hours=3)
            busy = (
                size
                * (0.45 if at.weekday() >= 5 else 1.0)
                * (1 + (118 - back) / 260)
                * drawn.uniform(0.8, 1.2)
            )
            numbers = {
                "requests": int(900 * busy),
                "tokens": int(14_000 * busy),
                "storage": f"{48 * size * (1 + (118 - back) / 400):.3f}",
            }
            for meter, number in numbers.items():
                yield usage(f"{customer}-{meter}-{back}", f"{customer}-main", meter, at, n=number)
            if at.day in (3, 14):
                yield usage(
                    f"{customer}-seats-{back}",
                    f"{customer}-main",
                    "seats",
                    at,
                    n=int(size * (1 + at.day % 5)),
                )
            if at.weekday() == 0:
                for index in range(int(size * 2)):
                    yield usage(f"{customer}-export-{back}-{index}", f"{customer}-main", "exports", at)


def usage(identity: str, subscription_id: str, name: str, at: datetime, **properties: Any) -> UsageEvent:
    """Return an event of a subscription."""
    instant = microseconds(at - datetime(1970, 1, 1, tzinfo=UTC))
    return UsageEvent(subscription_id, None, Event(identity, name, instant, properties))


def strange() -> tuple[dict[str, Any], list[UsageEvent]]:
    """Return an organization all of whose texts are odd, and its usage."""
    meters = [
        {"id": text, "code": text, "name": text, "aggregation": "SUM", "field": "n"} for text in ODD.values()
    ]
    plans = [{"code": text, "name": text, "description": text} for text in ODD.values()]
    prices = [
        {
            "id": text, "currency": "EUR", "billing_model": "FLAT_FEE", "amount": "0.5", "meter_id": text,
            "display_name": text,
        }
        for text in ODD.values()
    ]  # fmt: skip
    customers = [{"id": text, "name": text, "country": "DE"} for text in ODD.values()]
    subscriptions = [
        {
            "id": text, "external_id": text, "customer": text, "plan": text, "currency": "EUR", "start": BEGIN,
            "line_items": [{"price": each, "id": f"{kind}{index}"} for index, each in enumerate(ODD.values())],
        }
        for kind, text in ODD.items()
    ]  # fmt: skip
    catalogue = {
        "organization": {"id": STRANGE, "name": ODD["markup"], "timezone": "UTC"},
        "customers": customers, "meters": meters, "plans": plans, "prices": prices, "subscriptions": subscriptions,
    }  # fmt: skip
    at = PRESENT - timedelta(days=2)
    events = [
        usage(each, text, name, at, n=index + 1, note=each)
        for text in ODD.values()
        for index, name in enumerate(ODD.values())
        for each in [ODD["markup"][:80] + f"{index}"]
    ]
    return catalogue, events


def wide() -> tuple[dict[str, Any], list[UsageEvent]]:
    """Return an organization with 20 metrics, and an event of each on each of 400 days."""
    names = [f"metric-{index:02}" for index in range(20)]
    catalogue = {
        "organization": {"id": WIDE, "name": "Wide", "timezone": "UTC"},
        "customers": [{"id": "one"}],
        "plans": [{"code": "all"}],
        "meters": [{"id": each, "code": each, "aggregation": "SUM", "field": "n"} for each in names],
        "prices": [
            {"id": each, "currency": "EUR", "billing_model": "FLAT_FEE", "amount": "0.01", "meter_id": each}
            for each in names
        ],
        "subscriptions": [
            {
                "id": "sub_one", "external_id": "one", "customer": "one", "plan": "all", "currency": "EUR",
                "start": BEGIN, "line_items": [{"price": each} for each in names],
            }
        ],
    }  # fmt: skip
    events = [
        usage(
            f"{name}-{day}",
            "one",
            name,
            PRESENT - timedelta(days=day, hours=1),
            n=100 + (day * (index + 3)) % 97,
        )
        for index, name in enumerate(names)
        for day in range(400)
    ]
    return catalogue, events


def store(table: Table, folder: Path, catalogue: dict[str, Any], events: list[UsageEvent]) -> None:
    """Load a catalogue, and count usage of it."""
    folder.mkdir()
    for kind, records in catalogue.items():
        (folder / f"{kind}.json").write_text(json.dumps(records))
    read, _ = read_catalogue(folder)
    write_stored(table, read)
    refused: list[str] = []
    import_events(
        table,
        read.organization.id,
        Source(f"{read.organization.name[:20]}.csv", read.organization.id),
        list(enumerate(events, 1)),
        NOW,
        lambda line, _, reason: refused.append(f"line {line}: {reason}"),
    )
    if refused:
        raise AssertionError(refused[:5])
