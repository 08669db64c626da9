"""Flexprice's `POST /v1/subscriptions/usage` on the wire: the request's body, the answer, and errors.

The API's description leaves some questions open. The answers here:

- `null` is the same as an absent field, also for `lifetime_usage`: clients write either.
- A repeated key in an object, `NaN`, an unpaired surrogate in the id, and a body over 64 KiB are 400
  `validation_error`. So are reversed bounds, also beside `lifetime_usage`, since the request contradicts itself.
- An id over 255 characters is 404 `not_found`, like any other id of no subscription (Flexprice has no 422).
- A wrong method is 405 `invalid_operation`, the nearest code that Flexprice has.
"""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, Never, assert_never

import msgspec
from msgspec import UNSET, Raw, UnsetType

from meterstone.contracts.message import (
    RETRY_AFTER,
    Problem,
    Reply,
    Request,
    RequestRefusedError,
    number,
    possible_key,
)
from meterstone.pricing.commitment import ChargeRow
from meterstone.pricing.money import display_amount, plain, price_display_amount
from meterstone.pricing.price import Price
from meterstone.scope import Scope
from meterstone.usage.identifier import LONGEST_ID, is_text, quoted, repeated_key
from meterstone.usage.instant import ZERO_TIME, InvalidInstantError, format_instant, parse_instant
from meterstone.usage.statement import Statement
from meterstone.usage.subscription import LineItem, Subscription

LONGEST_BODY: Final = 65_536
"""Characters of a body. A request has four short fields; reading more would only take time."""


class UsageRequest(msgspec.Struct, frozen=True):
    """A request: the subscription, and the bounds of the window.

    Bounds are instants in microseconds since the epoch, None for the default. `lifetime` overrides both bounds.
    """

    subscription_id: str
    start: int | None = None
    end: int | None = None
    lifetime: bool = False


class UsageCharge(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the answer: Flexprice's `SubscriptionUsageByMetersResponse`."""

    subscription_line_item_id: str
    meter_id: str
    meter_display_name: str
    currency: str
    quantity: Raw
    amount: Raw
    display_amount: str
    filter_values: dict[str, list[str]]
    price: dict[str, Any]
    is_overage: bool
    overage_factor: Raw | UnsetType = UNSET


class UsageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: Flexprice's `GetUsageBySubscriptionResponse`."""

    amount: Raw
    display_amount: str
    currency: str
    start_time: str
    end_time: str
    charges: list[UsageCharge]
    has_overage: bool
    commitment_amount: Raw | UnsetType = UNSET
    commitment_utilized: Raw | UnsetType = UNSET
    overage_amount: Raw | UnsetType = UNSET
    overage_factor: Raw | UnsetType = UNSET


def api_key(request: Request) -> str | None:
    """Return the key of the header `x-api-key`."""
    return possible_key(request.header("x-api-key") or "")


def parse(request: Request) -> UsageRequest:
    """Read the body. Fields that the contract does not have are ignored.

    Raises `RequestRefusedError`: 400 with all bad fields at once, or 404 for an id that no subscription can have.
    """
    faults: dict[str, str] = {}
    asked = read_request(read_object(request, _Number), faults)
    if faults:
        refuse_fields(faults)
    return asked


def read_request(fields: Mapping[str, Any], faults: dict[str, str]) -> UsageRequest:
    """Read the fields of a body, and add what is wrong with them to ``faults``, by their names.

    The request is of no use if there are faults. Raises `RequestRefusedError`, 404, for an id that no subscription
    can have.
    """
    subscription_id = _subscription_id(fields.get("subscription_id"), faults)
    start = _instant("start_time", fields, faults)
    end = _instant("end_time", fields, faults)
    lifetime = fields.get("lifetime_usage")
    if not isinstance(lifetime, bool | None):
        faults["lifetime_usage"] = "must be true or false"
    if start is not None and end is not None and end < start:
        faults["end_time"] = "must not be before start_time"
    if not faults and len(subscription_id) > LONGEST_ID:
        raise RequestRefusedError(refuse(Problem.NOT_FOUND))
    return UsageRequest(subscription_id, start, end, lifetime is True)


def answer(statement: Statement) -> Reply:
    """Write a subscription's statement as the reply."""
    return Reply.of(200, usage(statement), counted_until=statement.counted_until)


def usage(statement: Statement) -> UsageAnswer:
    """Write a subscription's statement as the body of the answer."""
    subscription, settlement, window = statement.subscription, statement.settlement, statement.window
    currency = subscription.currency
    reply = UsageAnswer(
        amount=number(settlement.amount),
        display_amount=display_amount(settlement.amount, currency),
        currency=currency,
        start_time=format_instant(window.start),
        end_time=format_instant(window.end),
        charges=[charge(row, subscription) for row in settlement.rows],
        has_overage=settlement.has_overage,
    )
    commitment = subscription.commitment
    if commitment is not None:
        # A commitment without effect is shown, but without amounts of commitment and overage.
        reply = msgspec.structs.replace(
            reply,
            commitment_amount=number(commitment.amount) if commitment.amount else UNSET,
            overage_factor=number(commitment.overage_factor) if commitment.overage_factor else UNSET,
            commitment_utilized=_optional(settlement.commitment_utilized),
            overage_amount=_optional(settlement.overage_amount),
        )
    return reply


def refuse(problem: Problem) -> Reply:
    """Write the reply to a problem: `{"code", "message", "http_status_code"}`, or `{"error"}` for a bad key."""
    match problem:
        case Problem.UNAUTHORIZED:
            return Reply.of(401, {"error": "Unauthorized"})
        case Problem.TOO_MANY_REQUESTS:
            return error(429, "too_many_requests", "This key asks too often. Try again.")
        case Problem.NOT_FOUND:
            return error(404, "not_found", "There is no such subscription.")
        case Problem.UNKNOWN_ROUTE:
            return error(404, "not_found", "There is nothing at this path.")
        case Problem.WRONG_METHOD:
            return error(405, "invalid_operation", "This path does not take that method.")
        case Problem.NOT_BUILT:
            # Flexprice answers so to a request that the present state does not allow.
            return error(400, "invalid_operation", "This cannot be answered before the usage is rebuilt.")
        case Problem.UNAVAILABLE:
            return error(
                503,
                "service_unavailable",
                "The usage cannot be read right now. Try again.",
                headers=RETRY_AFTER,
            )
        case Problem.INTERNAL:
            return error(500, "internal_error", "Something went wrong on our side.")
        case _:
            assert_never(problem)


def forbid(scope: Scope) -> Reply:
    """Refuse a key that lacks a scope, and say which one."""
    message = f"This key does not have the scope '{scope}', which this route needs."
    return error(403, "permission_denied", message, {"scope": {"missing": scope}})


def error(
    status: int,
    code: str,
    message: str,
    details: Mapping[str, Mapping[str, str] | str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Write an error as Flexprice does. `details` says of each bad field what is wrong with it."""
    body: dict[str, object] = {"code": code, "message": message, "http_status_code": status}
    if details:
        body["details"] = details
    return Reply.of(status, body, headers)


def refuse_fields(faults: Mapping[str, str]) -> Never:
    """Refuse a request, 400 with what is wrong with each field. Raises `RequestRefusedError`."""
    message = "; ".join(f"{name} {reason}" for name, reason in faults.items())
    details = {name: {"reason": reason} for name, reason in faults.items()}
    raise RequestRefusedError(error(400, "validation_error", f"Invalid request: {message}.", details))


def _refuse_body(reason: str) -> Never:
    raise RequestRefusedError(error(400, "validation_error", f"Invalid request: the body {reason}."))


def read_object(
    request: Request, read_number: Callable[[str], object], longest: int = LONGEST_BODY
) -> dict[str, Any]:
    """Decode the body, a JSON object of at most ``longest`` characters.

    ``read_number`` reads its numbers, and may raise `ValueError` for one. Raises `RequestRefusedError`.
    """
    if len(request.raw_body) > longest:
        _refuse_body(f"is longer than {longest} characters")
    try:
        text = request.body()
        decoded = json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_int=read_number,
            parse_float=read_number,
            parse_constant=_no_constant,
        )
    except _RepeatedKeyError as error:
        _refuse_body(f"repeats the key {error}")
    except (ValueError, RecursionError):
        _refuse_body("is not valid JSON")
    if not isinstance(decoded, dict):
        _refuse_body("is not a JSON object")
    return decoded


class _Number:
    """A JSON number of any value. No field of a request is a number."""

    def __init__(self, text: str) -> None:
        """Keep nothing of the text: reading a number of 60,000 digits would take long."""


class _RepeatedKeyError(Exception):
    """A key, in quotes, stands twice in an object."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs) and (repeated := repeated_key(key for key, _ in pairs)) is not None:
        raise _RepeatedKeyError(quoted(repeated))
    return found


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _subscription_id(value: object, faults: dict[str, str]) -> str:
    if value is None or value == "":
        faults["subscription_id"] = "is required"
    elif not isinstance(value, str):
        faults["subscription_id"] = "must be a string"
    elif not is_text(value):
        faults["subscription_id"] = "must be text without control characters"
    else:
        return value
    return ""


def _instant(name: str, fields: Mapping[str, Any], faults: dict[str, str]) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        try:
            instant = parse_instant(value)
        except InvalidInstantError:
            pass
        else:
            return None if instant == ZERO_TIME else instant
    faults[name] = "must be an RFC 3339 date and time"
    return None


def charge(row: ChargeRow[LineItem], subscription: Subscription) -> UsageCharge:
    """Write a row of the answer."""
    item = row.source.key
    meter, cadence = item.meter, subscription.cadence(item)
    return UsageCharge(
        subscription_line_item_id=item.id,
        meter_id=meter.id if meter else item.price.meter_id,
        meter_display_name=meter.name if meter else "",
        currency=subscription.currency,
        quantity=number(row.quantity),
        amount=number(row.amount),
        display_amount=display_amount(row.amount, subscription.currency),
        filter_values={each.key: list(each.values) for each in meter.filters} if meter else {},
        price=price_object(item.price, cadence.period, cadence.count),
        is_overage=row.is_overage,
        overage_factor=_optional(row.overage_factor),
    )


def price_object(price: Price, billing_period: str | None, billing_period_count: int) -> dict[str, Any]:
    """Write the whole price object, with the billing period in which it is charged. Its amounts are text.

    Without a ``billing_period``, a price is charged in that of any subscription, and the object has none.
    """
    written: dict[str, Any] = {
        # Fields that have the same value for all prices, unless the catalogue says otherwise.
        "billing_cadence": "RECURRING",
        "invoice_cadence": "ARREAR",
        "price_unit_type": "FIAT",
        "status": "published",
        # The only descriptive field that may be null in the contract is min_quantity.
        **{
            name: value
            for name, value in price.details.items()
            if value is not None or name == "min_quantity"
        },
        "id": price.id,
        "type": price.type,
        "amount": plain(price.amount),
        "display_amount": price_display_amount(price.amount, price.currency),
        "currency": price.currency,
        "billing_model": price.billing_model,
        "billing_period": billing_period,
        "billing_period_count": billing_period_count,
        "meter_id": price.meter_id,
    }
    if billing_period is None:
        del written["billing_period"], written["billing_period_count"]
    if price.tier_mode is not None:
        written["tier_mode"] = price.tier_mode
    if price.tiers:
        written["tiers"] = [
            {
                "up_to": tier.up_to,
                "unit_amount": plain(tier.unit_amount),
                "flat_amount": plain(tier.flat_amount),
            }
            for tier in price.tiers
        ]
    if price.transform_quantity is not None:
        written["transform_quantity"] = {
            "divide_by": price.transform_quantity.divide_by,
            "round": price.transform_quantity.round,
        }
    return written


def _optional(value: Decimal | None) -> Raw | UnsetType:
    return UNSET if value is None else number(value)
