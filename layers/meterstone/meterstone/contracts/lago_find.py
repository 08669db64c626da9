"""Lago's `GET /api/v1/events/{transaction_id}` on the wire: an event, and beside its fields what became of it.

What Lago's API description leaves open, or has not, is settled so:

- A transaction id belongs to a subscription or to a customer: `external_subscription_id` or `external_customer_id`
  says whose event is meant. Without either, an id that several have is refused with 422, and so is any id in an
  organization that has too many external ids to look under all; both parameters are `value_is_mandatory` then.
- The event of a customer has `external_customer_id` too, and no subscription: both its fields for one are empty.
- An imported event has no `created_at`: it has the event's own time.
- `meterstone` is an object of our own. Quantities in it are texts.
- The fields of Lago's event are as when it was taken in.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from meterstone.contracts import lago
from meterstone.contracts.lago_events import uuid_of
from meterstone.contracts.message import Problem, Reply, Request, RequestRefusedError
from meterstone.contracts.path_id import read_path_id
from meterstone.pricing.money import multiply, number, plain
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import SECOND, format_instant, key_instant
from meterstone.usage.matching import Match
from meterstone.usage.meter import Aggregation, Event, Observation
from meterstone.usage.receipt import Fault

_SUBSCRIPTION: Final = "external_subscription_id"
_CUSTOMER: Final = "external_customer_id"
_properties = msgspec.json.Encoder(decimal_format="number").encode

api_key = lago.api_key
refuse = lago.refuse
forbid = lago.forbid


class Asked(NamedTuple):
    """What was asked for: an event's id, and whose event it is, if that was said."""

    transaction_id: str
    subject: Subject | None


class FoundEvent(Protocol):
    """An event with what became of it."""

    @property
    def subject(self) -> Subject:
        """Whose it is."""

    @property
    def event(self) -> Event:
        """The event itself."""

    @property
    def accepted(self) -> int:
        """When it came in over HTTP; 0 if it was imported."""

    @property
    def notes(self) -> Mapping[str, str]:
        """What the client said beside it."""

    @property
    def state(self) -> str:
        """Whether it is counted, pending or not counted."""

    @property
    def counts(self) -> Sequence[Match]:
        """Where it counts."""

    @property
    def faults(self) -> Sequence[Fault]:
        """Which meters cannot read it."""

    @property
    def why(self) -> str | None:
        """Why it counts nowhere; None if it counts."""


def parse(request: Request) -> Asked:
    """Read a request. Raises `RequestRefusedError`: 404 for an id that none can be, 422 for a bad parameter."""
    try:
        name = read_path_id(request, "transaction_id")
    except ValueError:
        raise RequestRefusedError(refuse(Problem.NOT_FOUND)) from None
    subscription, customer = (request.parameters.get(name, ()) for name in (_SUBSCRIPTION, _CUSTOMER))
    if len(subscription) + len(customer) > 1:
        raise RequestRefusedError(_whose(lago.INVALID, "give one of the two, and once"))
    if subscription:
        return Asked(name, Subject.subscription(subscription[0]))
    return Asked(name, Subject.customer(customer[0]) if customer else None)


def refuse_unnamed() -> Reply:
    """Say that a parameter is needed that says whose event is meant."""
    return _whose(lago.MISSING, "give one of the two: the id alone does not tell whose event is meant")


def answer(organization_id: str, found: FoundEvent) -> Reply:
    """Answer with an event."""
    event, (kind, external_id) = found.event, found.subject
    is_subscription = kind == "s"
    created = found.accepted or event.at
    fields: dict[str, Any] = {
        "lago_id": uuid_of(organization_id, "event", external_id, event.id),
        "transaction_id": event.id,
        "lago_customer_id": None,
        "code": event.name,
        "timestamp": key_instant(event.at)[:-4] + "Z",
        "precise_total_amount_cents": found.notes.get("precise_total_amount_cents"),
        "properties": msgspec.Raw(_properties(event.properties)),
        "lago_subscription_id": (
            uuid_of(organization_id, "subscription", external_id) if is_subscription else None
        ),
        _SUBSCRIPTION: external_id if is_subscription else "",
        "created_at": key_instant(created - created % SECOND)[:-8] + "Z",
    }
    if not is_subscription:
        fields[_CUSTOMER] = external_id
    fields["meterstone"] = {
        "state": found.state,
        "counts": [_count(each) for each in found.counts],
        "not_counted": _not_counted(found),
    }
    return Reply.of(200, {"event": fields})


def _count(match: Match) -> dict[str, Any]:
    charge, meter = match.charge, match.charge.meter
    seen = match.seen
    found: dict[str, Any] = {
        "subscription_id": charge.subscription.id,
        "line_item_id": charge.item.id,
        "meter": meter.code,
        "billing_period": {
            "start": format_instant(charge.period.start),
            "end": None if charge.period.end is None else format_instant(charge.period.end),
        },
    }
    if isinstance(seen, Observation):
        is_distinct = meter.aggregation is Aggregation.COUNT_UNIQUE
        found["quantity"] = (
            None if is_distinct else _quantity(meter.aggregation, seen.value, meter.multiplier)
        )
        if is_distinct:
            found["distinct_value"] = seen.text
    return found


def _quantity(aggregation: Aggregation, value: Decimal, multiplier: Decimal) -> str:
    is_multiplied = aggregation is Aggregation.SUM_WITH_MULTIPLIER
    return plain(number(multiply(value, multiplier)) if is_multiplied else value)


def _not_counted(found: FoundEvent) -> list[dict[str, str | None]]:
    if found.faults:
        return [
            {"meter": each.meter, "property": each.field, "reason": "value", "detail": each.reason}
            for each in found.faults
        ]
    return [] if found.why is None else [{"reason": found.why}]


def _whose(code: str, reason: str) -> Reply:
    return lago.unprocessable(dict.fromkeys((_SUBSCRIPTION, _CUSTOMER), lago.Fault(code, reason)))
