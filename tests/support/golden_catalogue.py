"""The catalogue of the golden run: every aggregation, billing period, price model and split.

It is written down as the catalogue's files have it, not as values of Python, so that it stays what it is
whatever the classes are called.
"""

import json
from pathlib import Path
from typing import Any

ORGANIZATION = "0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a01"
AGGREGATIONS = ("COUNT", "SUM", "SUM_WITH_MULTIPLIER", "MAX", "LATEST", "AVG", "COUNT_UNIQUE", "WEIGHTED_SUM")
RECURRING = ("SUM", "COUNT_UNIQUE", "WEIGHTED_SUM")
BUCKETS = ("MINUTE", "15MIN", "30MIN", "HOUR", "3HOUR", "6HOUR", "12HOUR", "DAY", "WEEK", "MONTH")
PERIODS = ("DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "HALF_YEARLY", "ANNUAL", "ONETIME")

type Record = dict[str, Any]


def meters() -> list[Record]:
    """List the meters: events are called `request`, those of recurring meters `seat`, of buckets `peak`."""
    found: list[Record] = []
    for aggregation in AGGREGATIONS:
        meter = {"id": f"m_{aggregation}", "code": aggregation.lower(), "name": f"The {aggregation}"}
        found.append(meter | _counted(aggregation, "request"))
    for aggregation in RECURRING:
        name = f"kept_{aggregation}"
        found.append(
            {"id": f"m_{name}", "code": name.lower(), "recurring": True} | _counted(aggregation, "seat")
        )
    for number, size in enumerate(BUCKETS):
        aggregation = ("MAX", "SUM")[number % 2]
        name = f"peak_{size}"
        found.append({"id": f"m_{name}", "code": name, "bucket_size": size} | _counted(aggregation, "peak"))
    found.append(
        {"id": "m_large", "code": "large"}
        | _counted("COUNT", "request")
        | {"filters": {"model": ["large", "#1"], "tokens": [12.5, 3, True]}}
    )
    found.append(
        {"id": "m_gone", "code": "gone", "deleted_at": "2023-11-20T12:00:00Z"} | _counted("COUNT", "request")
    )
    return found


def write(folder: Path, *added: str) -> Path:
    """Write the catalogue's files; `added` names subscriptions that come later."""
    folder.mkdir()
    prices = [_price(number, meter["id"], "usd") for number, meter in enumerate(meters())]
    prices += [_price(0, "m_COUNT", currency) for currency in ("jpy", "kwd", "eur")]
    prices += [
        {"id": f"{period}_{meter}", "currency": "eur", "billing_model": "FLAT_FEE", "amount": "0.35"}
        | {"meter_id": meter, "billing_period": period, "billing_period_count": 2}
        for period, meter in (
            ("DAILY", "m_SUM"),
            ("WEEKLY", "m_kept_SUM"),
            ("MONTHLY", "m_kept_WEIGHTED_SUM"),
        )
    ]
    prices.append(
        {"id": "fixed", "currency": "usd", "billing_model": "FLAT_FEE", "type": "FIXED", "amount": "99"}
    )
    prices[0] |= _described()
    files: dict[str, Any] = {
        "organization": {"id": ORGANIZATION, "name": "Golden", "timezone": "Europe/Berlin"},
        "customers": _CUSTOMERS,
        "plans": [{"code": "basic", "name": "Basic", "description": "For a beginning"}, {"code": "pro"}],
        "meters": meters(),
        "prices": prices,
        "subscriptions": [*_subscriptions(), *(_added(name) for name in added)],
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


_CUSTOMERS: list[Record] = [
    {
        "id": "dunlin",
        "name": "Dunlin",
        "timezone": "America/Chicago",
        "country": [{"value": "DE"}, {"value": "NO", "since": "2023-11-10T00:00:00Z"}],
        "customer_type": "company",
    },
    {"id": "many", "country": "JP", "customer_type": "individual"},
    {"id": "plain"},
    {"id": "late", "timezone": "Asia/Kolkata"},
    {"id": "after", "timezone": "Asia/Kolkata"},
]


def _counted(aggregation: str, event_name: str) -> Record:
    field = {"COUNT": None, "COUNT_UNIQUE": "model"}.get(aggregation, "tokens")
    found = {"aggregation": aggregation, "event_name": event_name}
    found |= {} if field is None else {"field": field}
    return found | ({"multiplier": "1.5"} if aggregation == "SUM_WITH_MULTIPLIER" else {})


def _price(number: int, meter: str, currency: str) -> Record:
    price = {"id": f"{currency}_{meter}", "currency": currency, "meter_id": meter}
    tiers = [
        {"up_to": 3, "unit_amount": "2"},
        {"up_to": 40, "unit_amount": "0.333", "flat_amount": "1"},
        {"up_to": None, "unit_amount": "0.1"},
    ]
    return (
        price
        | (
            {"billing_model": "FLAT_FEE", "amount": "0.25"},
            {"billing_model": "PACKAGE", "amount": "1.1", "transform_quantity": {"divide_by": 4}},
            {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": tiers},
            {
                "billing_model": "PACKAGE",
                "amount": "1",
                "transform_quantity": {"divide_by": 3, "round": "down"},
            },
            {"billing_model": "TIERED", "tier_mode": "VOLUME", "tiers": tiers},
        )[number % 5]
    )


def _described() -> Record:
    return {
        "display_name": "Calls",
        "description": "Each call",
        "lookup_key": "calls",
        "metadata": {"team": "growth"},
        "billing_cadence": "RECURRING",
        "invoice_cadence": "ARREAR",
        "entity_type": "PLAN",
        "entity_id": "e",
        "environment_id": "env",
        "tenant_id": "t",
        "group_id": "g",
        "parent_price_id": "p",
        "status": "published",
        "min_quantity": "0",
        "trial_period_days": 3,
        "price_unit": "BTC",
        "price_unit_id": "u",
        "price_unit_type": "CUSTOM",
        "price_unit_amount": "0.1",
        "price_unit_tiers": [{"up_to": 5, "unit_amount": "0.1", "flat_amount": "1"}],
        "conversion_rate": "2.5",
        "display_price_unit_amount": "0.1",
        "start_date": "2023-01-01T00:00:00Z",
        "end_date": "2033-01-01T00:00:00Z",
        "created_at": "2023-01-01T00:00:00Z",
        "created_by": "a",
        "updated_at": "2023-01-02T00:00:00Z",
        "updated_by": "b",
    }


def _items(name: str, prices: list[str]) -> list[Record]:
    return [{"id": f"{name}_{price}", "price": price} for price in prices]


def _subscriptions() -> list[Record]:
    everything = _items("li", [*(f"usd_{each['id']}" for each in meters()), "fixed"])
    # One line item follows another on the same meter, with a gap of an hour.
    everything[1]["end"] = "2023-11-12T09:30:00Z"
    everything.append({"id": "li_again", "price": "usd_m_SUM", "start": "2023-11-12T10:30:00Z"})
    found: list[Record] = [
        {
            "id": "sub_dunlin",
            "external_id": "dunlin",
            "customer": "dunlin",
            "plan": [{"value": "basic"}, {"value": "pro", "since": "2023-11-15T00:00:00Z"}],
            "currency": "usd",
            "start": "2023-10-28T09:27:43.123456Z",
            "billing_cycle": "anniversary",
            "anchor": "2023-10-31T00:00:00Z",
            "commitment": {"amount": "20", "overage_factor": "1.5"},
            "line_items": everything,
        },
        {
            "id": "sub_dunlin_shifted",
            "external_id": "shifted #1",
            "customer": "plain",
            "plan": "pro",
            "currency": "jpy",
            "start": "2023-11-01T00:00:00Z",
            "end": "2023-12-24T00:00:00Z",
            "commitment": {"amount": "2", "overage_factor": "3", "split": "whole_units"},
            "line_items": _items("li_s", ["jpy_m_COUNT"]),
        },
    ]
    for number, period in enumerate(PERIODS):
        found.append(
            {
                "id": f"sub_{period}",
                "customer": "many",
                "plan": "basic",
                "currency": "eur",
                "start": "2023-11-03T05:00:00Z",
                "billing_period": period,
                "billing_period_count": 1 if period == "ONETIME" else 1 + number % 2,
                "billing_cycle": ("calendar", "anniversary")[number % 2],
                "line_items": _items(period, ["eur_m_COUNT", *(["WEEKLY_m_kept_SUM"] if number < 2 else [])]),
            }
        )
    found[-1]["line_items"] += _items("ONETIME", ["DAILY_m_SUM", "MONTHLY_m_kept_WEIGHTED_SUM"])
    return found


def _added(name: str) -> Record:
    return {
        "id": f"sub_{name}",
        "external_id": name,
        # One that has no usage yet may have a subscription that began in the past.
        "customer": "after" if name == "after" else "late",
        "plan": "basic",
        "currency": "kwd",
        "start": "2023-11-20T00:00:00Z",
        "line_items": _items(name, ["kwd_m_COUNT"]),
    }
