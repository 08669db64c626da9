"""`GET /catalogue/v1/…` on the wire: records of the catalogue in the form of its files, page by page.

The routes are our own. A key comes as either API's clients send it. Errors have Flexprice's shape, but for bad
parameters: 422 `{"errors": [{"path", "message"}]}`. A cursor is opaque to clients, as that of
`flexprice_uncounted` is: it holds a place, and no organization.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from meterstone.contracts import flexprice, lago
from meterstone.contracts.message import Problem, Reply, Request, RequestRefusedError
from meterstone.pricing.money import plain
from meterstone.scope import Scope
from meterstone.usage.instant import format_instant, parse_instant
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Customer, Dated, LineItem, Organization, Subscription

DEFAULT_LIMIT: Final = 100
MOST_RECORDS: Final = 500
"""How many records a page has at most."""

#: A page ends with the record by which it has so many characters, far below what a function may answer.
_LONGEST_PAGE: Final = 1_000_000
_LONGEST_CURSOR: Final = 2000
_LONGEST_ID: Final = 255
_CHECK: Final = 8


class Asked(NamedTuple):
    """A request: which list, after which place of it (empty: from the beginning), how many, and its filters."""

    kind: str
    after: str
    limit: int
    filters: Mapping[str, str]
    at: int | None


def api_key(request: Request) -> str | None:
    """Return the key of `x-api-key` or `Authorization: Bearer KEY`."""
    return flexprice.api_key(request) or lago.api_key(request)


def refuse(problem: Problem) -> Reply:
    """Write the reply to a problem in Flexprice's shape."""
    return flexprice.refuse(problem)


def forbid(scope: Scope) -> Reply:
    """Refuse a key that lacks a scope, in Flexprice's shape."""
    return flexprice.forbid(scope)


def parse(request: Request, kind: str, filters: Sequence[str] = ()) -> Asked:
    """Read the query parameters of a list of a kind. Unknown ones are ignored.

    Raises `RequestRefusedError`: 422 with all bad parameters at once.
    """
    faults: dict[str, str] = {}
    names = ("cursor", "limit", *filters)
    given = {name: value for name in names if (value := _once(request, name, faults)) is not None}
    limit = DEFAULT_LIMIT
    if "limit" in given and "limit" not in faults:
        text = given["limit"]
        if (
            text.isascii()
            and text.isdigit()
            and len(text) <= len(str(MOST_RECORDS))
            and int(text) in range(1, MOST_RECORDS + 1)
        ):
            limit = int(text)
        else:
            faults["limit"] = f"must be a whole number from 1 to {MOST_RECORDS}"
    at = None
    if "at" in given:
        try:
            at = parse_instant(given["at"])
        except ValueError:
            faults["at"] = "must be an instant as in RFC 3339"
    chosen = {name: given[name] for name in filters if name in given}
    faults |= {
        name: f"must have 1 to {_LONGEST_ID} characters"
        for name, value in chosen.items()
        if not 0 < len(value) <= _LONGEST_ID
    }
    after = ""
    if "cursor" in given and not faults:
        found = _place(given["cursor"], kind, chosen)
        if found is None:
            faults["cursor"] = "must be a next_cursor of this list, with the same filters"
        else:
            after = found
    if faults:
        errors = [{"path": name, "message": fault} for name, fault in faults.items()]
        raise RequestRefusedError(Reply.of(422, {"errors": errors}))
    return Asked(kind, after, limit, chosen, at)


def answer[T](
    asked: Asked, records: Sequence[tuple[str, T]], after: str | None, written: Callable[[T], dict[str, Any]]
) -> Reply:
    """Write a page of records, each with its place. A page that would be too long ends early."""
    shown: list[dict[str, Any]] = []
    length = 0
    for place, record in records:
        shown.append(written(record))
        length += len(json.dumps(shown[-1]))
        if length > _LONGEST_PAGE and place != records[-1][0]:
            after = place
            break
    cursor = None if after is None else _cursor(asked.kind, asked.filters, after)
    return Reply.of(200, {f"{asked.kind}s": shown, "next_cursor": cursor})


def organization_record(organization: Organization) -> dict[str, Any]:
    """Write an organization."""
    return {"id": organization.id, "name": organization.name, "timezone": organization.timezone}


def customer_record(customer: Customer) -> dict[str, Any]:
    """Write a customer. ``id`` is the external id; country and type are lists of ``{value, since}``."""
    return {
        "id": customer.id,
        "name": customer.name,
        "timezone": customer.timezone,
        "country": _dated(customer.country),
        "customer_type": _dated(customer.customer_type),
    }


def plan_record(plan: Mapping[str, str]) -> dict[str, Any]:
    """Write a plan."""
    return {"code": plan["code"], "name": plan.get("name", ""), "description": plan.get("description", "")}


def meter_record(meter: Meter) -> dict[str, Any]:
    """Write a meter."""
    return {
        "id": meter.id,
        "code": meter.code,
        "name": meter.name,
        "aggregation": meter.aggregation,
        "event_name": meter.event_name,
        "field": meter.field,
        "multiplier": plain(meter.multiplier),
        "filters": {each.key: list(each.values) for each in meter.filters},
        "recurring": meter.recurring,
        "bucket_size": meter.bucket_size,
        "deleted_at": _instant(meter.deleted_at),
    }


def subscription_record(subscription: Subscription) -> dict[str, Any]:
    """Write a subscription, and beside the fields of the files the time zone that decides its days."""
    commitment = subscription.commitment
    return {
        "id": subscription.id,
        "external_id": subscription.external_id,
        "customer": subscription.customer_id,
        "plan": _dated(subscription.plan),
        "currency": subscription.currency,
        "timezone": subscription.timezone,
        "start": format_instant(subscription.start),
        "end": _instant(subscription.end),
        "billing_period": subscription.billing_period,
        "billing_period_count": subscription.billing_period_count,
        "billing_cycle": subscription.billing_cycle,
        "anchor": format_instant(subscription.anchor),
        "commitment": None
        if commitment is None
        else {
            "amount": plain(commitment.amount),
            "overage_factor": plain(commitment.overage_factor),
            "split": commitment.split,
        },
        "line_items": [_line_item(each) for each in subscription.line_items],
    }


def _line_item(item: LineItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "price": item.price.id,
        "start": format_instant(item.start),
        "end": _instant(item.end),
    }


def _dated(facts: Sequence[Dated]) -> list[dict[str, Any]]:
    return [{"value": fact.value, "since": _instant(fact.since)} for fact in facts]


def _instant(at: int | None) -> str | None:
    return None if at is None else format_instant(at)


def _once(request: Request, name: str, faults: dict[str, str]) -> str | None:
    values = request.parameters.get(name, ())
    if len(values) > 1:
        faults[name] = "must be given once"
        return None
    return values[0] if values else None


def _cursor(kind: str, filters: Mapping[str, str], after: str) -> str:
    place = json.dumps([kind, _digest(filters), after]).encode()
    return base64.urlsafe_b64encode(sha256(place).digest()[:_CHECK] + place).rstrip(b"=").decode()


def _place(cursor: str, kind: str, filters: Mapping[str, str]) -> str | None:
    """Read a cursor; None if it is none, or that of another list."""
    if len(cursor) > _LONGEST_CURSOR:
        return None
    try:
        given = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        check, place = given[:_CHECK], given[_CHECK:]
        if check != sha256(place).digest()[:_CHECK]:
            return None
        match json.loads(place):
            case [str(of), str(digest), str(after)] if (of, digest) == (kind, _digest(filters)):
                after.encode()
                return after or None
    except (ValueError, RecursionError):
        pass  # No base64, no UTF-8, no JSON, or half of a surrogate pair in it.
    return None


def _digest(filters: Mapping[str, str]) -> str:
    return sha256(json.dumps(sorted(filters.items())).encode()).hexdigest()[:_CHECK]
