"""Lago's `/api/v1/subscriptions` on the wire: requests to subscribe, to change, to end, to find and to list.

`lago_subscription_answers` has the answers. What Lago's API description leaves open, or has not, is settled so:

- `plan_overrides` can name the currency (`amount_currency`), in which the plan must have prices. Other overrides,
  payment methods and all that concerns invoices are not supported: see `UNSUPPORTED`.
- `subscription_at` may be in the past or in the future, and with another plan it is when the plan is changed.
- A termination makes no invoice and no credit note: to ask for one is refused.
"""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from meterstone.contracts import lago
from meterstone.contracts.lago_catalogue import path_id, read_root, refuse_filters
from meterstone.contracts.lago_fields import (
    ALREADY_EXISTS,
    LONGEST_TEXT,
    Reader,
    currency,
    identifier,
    instant,
    one_of,
    text_of,
    unsupported,
)
from meterstone.contracts.lago_pages import PageAsked, parse_page
from meterstone.contracts.lago_subscription_answers import (
    ON_TERMINATION,
    ORDER_NUMBER,
    Status,
    plan_of,
    status_of,
)
from meterstone.contracts.message import Reply, Request
from meterstone.pricing.price import Scalar
from meterstone.usage.instant import format_instant
from meterstone.usage.period import BillingCycle
from meterstone.usage.terms import Terms

_NO_INVOICES: Final = "Meterstone makes no invoices"
UNSUPPORTED: Final = {
    "payment_method": "there are no payments",
    "invoice_custom_section": _NO_INVOICES,
    "consolidate_invoice": _NO_INVOICES,
    "billing_entity_code": "an organization is one billing entity",
    "activation_rules": "a subscription begins at its start",
    "usage_thresholds": "there is no progressive billing",
    "progressive_billing_disabled": "there is no progressive billing",
}
"""The fields of a subscription that cannot be honoured, each with the reason."""

CURRENCIES_DIFFER: Final = "currencies_does_not_match"

_OVERRIDES: Final = "plan_overrides"
_OVERRIDE_REASON: Final = "make a plan of its own, and subscribe to that"
_UNSUPPORTED_FILTERS: Final = frozenset({"billing_entity_codes", "overridden", "search_term"})


class SubscriptionAsked(NamedTuple):
    """A subscription that is to be made, or whose plan is to be changed."""

    external_id: str
    customer_id: str
    plan_code: str
    #: From when on; None: now.
    at: int | None
    #: The other fields, in the form of the catalogue's files.
    fields: Mapping[str, object]

    @property
    def currency(self) -> str | None:
        """The currency that was asked for."""
        found = self.fields.get("currency")
        return found if isinstance(found, str) else None

    def record(
        self, subscription_id: str, kept: Mapping[str, object], details: Mapping[str, Scalar]
    ) -> dict[str, object]:
        """Return the record of a subscription, in the form of the catalogue's files.

        ``kept`` is what it has if the request does not say otherwise. A record without a start begins now.
        """
        given = self.fields.get("details")
        both = {**details, **(given if isinstance(given, dict) else {})}
        return {
            **kept,
            "id": subscription_id,
            "external_id": self.external_id,
            "customer": self.customer_id,
            "plan": self.plan_code,
            **({} if self.at is None else {"start": format_instant(self.at)}),
            **self.fields,
            **({"details": both} if both else {}),
        }


class UpdateAsked(NamedTuple):
    """A change of the subscription that has an external id and a status, in the form of the catalogue's files."""

    external_id: str
    status: Status
    fields: Mapping[str, object]
    #: Kept and given back; None is forgotten.
    details: Mapping[str, Scalar]


class OneAsked(NamedTuple):
    """A subscription that is asked for by its external id; without a status, the active one."""

    external_id: str
    status: Status | None


class ListAsked(NamedTuple):
    """A list of subscriptions: which page, and the filters, of which None leaves one out."""

    page: PageAsked
    statuses: frozenset[Status]
    external_id: str | None = None
    customer_id: str | None = None
    plan_code: str | None = None
    currency: str | None = None

    def holds(self, terms: Terms, now: int) -> bool:
        """Return whether a subscription passes every filter."""
        return (
            status_of(terms, now) in self.statuses
            and self.external_id in (None, terms.events_by)
            and self.customer_id in (None, terms.customer_id)
            and self.plan_code in (None, plan_of(terms, now))
            and self.currency in (None, terms.currency)
        )

    @property
    def filters(self) -> bool:
        """Whether there is a subscription that the list may leave out."""
        chosen = (self.external_id, self.customer_id, self.plan_code, self.currency)
        return self.statuses != frozenset(Status) or any(each is not None for each in chosen)


def parse(request: Request) -> SubscriptionAsked:
    """Read the body of a new subscription, or of a change of plans.

    Raises `RequestRefusedError`: 400 for a body that cannot be read, 422 with all bad fields at once.
    """
    reader, body = read_root(request, "subscription")
    if body.get("authorization"):
        reader.faults["authorization"] = unsupported("there are no payments")
    external_id, customer_id, plan_code = (
        reader.require(name, identifier) for name in ("external_id", "external_customer_id", "plan_code")
    )
    at = reader.get("subscription_at", instant)
    fields = _read_fields(reader)
    cycle = reader.get("billing_time", one_of(*BillingCycle))
    if cycle is not None:
        fields["billing_cycle"] = cycle
    overrides = reader.inner(_OVERRIDES)
    if overrides is not None and (code := overrides.get("amount_currency", currency)) is not None:
        fields["currency"] = code
    number = reader.get(ORDER_NUMBER, text_of(LONGEST_TEXT))
    if number is not None:
        fields["details"] = {ORDER_NUMBER: number}
    reader.check()
    return SubscriptionAsked(external_id, customer_id, plan_code, at, fields)


def parse_update(request: Request) -> UpdateAsked:
    """Read a change: `name`, `ending_at`, and of a subscription that is pending `subscription_at`.

    Raises `RequestRefusedError`: 400, 404 or 422, as `parse` does.
    """
    external_id = path_id(request, "external_id", "subscription")
    reader, body = read_root(request, "subscription")
    status = Reader(body, faults=reader.faults).get("status", one_of(Status.ACTIVE, Status.PENDING))
    fields = _read_fields(reader, keep_null=True)
    if reader.has("subscription_at"):
        at = reader.get("subscription_at", instant)
        if at is None:
            reader.faults.setdefault(
                "subscription_at", lago.Fault(lago.INVALID_DATE, "must be a date and time")
            )
        elif status is None or Status(status) is not Status.PENDING:
            reader.faults["subscription_at"] = unsupported(
                "it has begun; of one that is pending, say so in `status`"
            )
        else:
            fields["start"] = format_instant(at)
    details = reader.given({ORDER_NUMBER: text_of(LONGEST_TEXT)})
    reader.check()
    return UpdateAsked(external_id, Status(status or Status.ACTIVE), fields, details)


def parse_one(request: Request) -> OneAsked:
    """Read the path and `status`. Raises `RequestRefusedError`: 404 or 422."""
    external_id = path_id(request, "external_id", "subscription")
    faults: dict[str, lago.Fault] = lago.repeated(request.parameters, ON_TERMINATION)
    statuses = _statuses(request, faults)
    if len(statuses) > 1:
        faults["status"] = lago.Fault(lago.INVALID, "is given more than once")
    for name, asked in ((ON_TERMINATION[0], "credit"), (ON_TERMINATION[1], "generate")):
        # To skip it asks for nothing that is not so anyway.
        if request.parameters.get(name, ("",))[0] == asked:
            faults[name] = unsupported(_NO_INVOICES)
    refuse_filters(request, (), faults)
    return OneAsked(external_id, next(iter(statuses), None))


def parse_list(request: Request) -> ListAsked:
    """Read the parameters of a list. Raises `RequestRefusedError` (422) with all bad ones at once."""
    faults: dict[str, lago.Fault] = {}
    page = parse_page(request.parameters, faults)
    readers: dict[str, Callable[[str], str]] = {
        "external_id": lago.identifier,
        "external_customer_id": lago.identifier,
        "plan_code": lago.identifier,
        "currency": currency,
    }
    faults |= lago.repeated(request.parameters, readers)
    found: dict[str, str] = {}
    for name, read in readers.items():
        if name in request.parameters and name not in faults:
            try:
                found[name] = read(request.parameters[name][0])
            except lago.ValueFaultError as error:
                faults[name] = error.fault
    statuses = _statuses(request, faults)
    refuse_filters(request, _UNSUPPORTED_FILTERS, faults)
    return ListAsked(
        page,
        frozenset(statuses) or frozenset({Status.ACTIVE}),
        found.get("external_id"),
        found.get("external_customer_id"),
        found.get("plan_code"),
        found.get("currency"),
    )


def refuse_taken(reason: str) -> Reply:
    """Say that an external id is that of a subscription which stands in the way."""
    return lago.unprocessable({"external_id": lago.Fault(ALREADY_EXISTS, reason)})


def refuse_currency(reason: str) -> Reply:
    """Say that a plan cannot be had in the customer's currency, or in which one is not known."""
    return lago.unprocessable({"currency": lago.Fault(lago.INVALID, reason, CURRENCIES_DIFFER)})


def refuse_early(start: int) -> Reply:
    """Say that a plan cannot be changed before the subscription begins, which is at ``start``."""
    reason = f"must be after the start of the subscription that runs, {format_instant(start)}"
    return lago.unprocessable({"subscription_at": lago.Fault(lago.INVALID_DATE, reason)})


def refuse_too_many(most: int) -> Reply:
    """Say that a list has more subscriptions than can be filtered at once, and what can be done."""
    reason = (
        f"there are more than {most} subscriptions, and each would be read for its status: name a customer or an "
        "external id, or list all four statuses without a filter"
    )
    return lago.unprocessable({"status": lago.Fault(lago.OUT_OF_RANGE, reason)})


def _read_fields(reader: Reader, *, keep_null: bool = False) -> dict[str, object]:
    """Read what a new subscription and a change of one have in common, and refuse what cannot be honoured."""
    found: dict[str, object] = {}
    for name, meant, read in (("name", "name", text_of(LONGEST_TEXT)), ("ending_at", "end", instant)):
        if reader.has(name):
            value = reader.get(name, read)
            if value is not None:
                found[meant] = format_instant(value) if isinstance(value, int) else value
            elif keep_null:
                found[meant] = "" if name == "name" else None
    reader.refuse(UNSUPPORTED)
    reader.refuse_all(_OVERRIDES, _OVERRIDE_REASON, but=() if keep_null else ("amount_currency",))
    return found


def _statuses(request: Request, faults: dict[str, lago.Fault]) -> set[Status]:
    found: set[Status] = set()
    for name in ("status", "status[]"):
        for value in request.parameters.get(name, ()):
            if value in Status:
                found.add(Status(value))
            else:
                faults["status"] = lago.Fault(lago.INVALID, f"must be one of {', '.join(Status)}")
    return found
