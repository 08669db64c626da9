"""Lago's `/api/v1/customers` on the wire: customers are made and changed by their external ids, found and listed.

What Lago's API description leaves open, or has not, is settled so:

- `name`, `country`, `timezone`, `currency` and `customer_type` are the customer's own fields, which counting and
  pricing work with. Addresses, names, numbers and metadata are kept and given back.
- `metadata`, if it is there, is the whole of it: a key that is left out is forgotten. Its `lago_id` is a UUID made
  of the customer and the key.
- Payments, taxes, integrations, invoice sections and billing entities are not supported: see `UNSUPPORTED`.
- `country` and `customer_type` of an answer are those in force now.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from meterstone.contracts import lago
from meterstone.contracts.lago_catalogue import read_root, refuse_filters
from meterstone.contracts.lago_events import uuid_of
from meterstone.contracts.lago_fields import (
    ALREADY_EXISTS,
    LONGEST_TEXT,
    Reader,
    boolean,
    country,
    currency,
    identifier,
    one_of,
    text_of,
    timezone,
    whole,
)
from meterstone.contracts.lago_pages import PageAsked, meta, parse_page
from meterstone.contracts.message import Reply, Request
from meterstone.contracts.stored import Stored
from meterstone.pricing.price import Detail, Scalar
from meterstone.usage.charge import CUSTOMER_TYPES
from meterstone.usage.identifier import LONGEST_ID
from meterstone.usage.instant import format_instant
from meterstone.usage.subscription import Customer, in_force

MOST_METADATA: Final = 20
"""How many keys the metadata of a customer has at most."""

_NO_INVOICES: Final = "Meterstone makes no invoices"
UNSUPPORTED: Final = {
    "tax_codes": "amounts have no taxes",
    "integration_customers": "there are no integrations",
    "skip_invoice_custom_sections": _NO_INVOICES,
    "invoice_custom_section_codes": _NO_INVOICES,
    "billing_entity_code": "an organization is one billing entity",
}
"""The fields of a customer that cannot be honoured, each with the reason."""

_BILLING: Final = "billing_configuration"
_UNSUPPORTED_FILTERS: Final = frozenset(
    {
        *(
            "account_type",
            "billing_entity_codes",
            "search_term",
            "countries",
            "states",
            "zipcodes",
            "currencies",
        ),
        *("customer_type", "has_customer_type", "has_tax_identification_number", "metadata"),
    }
)
_METADATA: Final = "metadata"
#: The keys of the metadata that Lago would show on invoices. They stand apart: every contract reads metadata as a
#: text for each key.
_ON_INVOICE: Final = "metadata_in_invoice"
_SHIPPING: Final = "shipping_address"
_LONGEST_TERM: Final = 10_000

_text: Final = text_of(LONGEST_TEXT)
_FIELDS: Final[Mapping[str, Callable[[Any], object]]] = {
    "name": _text,
    "country": country,
    "timezone": timezone,
    "currency": currency,
    "customer_type": one_of(*sorted(CUSTOMER_TYPES)),
}
_TEXTS: Final = (
    *("address_line1", "address_line2", "city", "zipcode", "state"),
    *("email", "firstname", "lastname", "phone", "url", "logo_url"),
    *("legal_name", "legal_number", "tax_identification_number"),
)
_DETAILS: Final[Mapping[str, Callable[[Any], Scalar]]] = {
    **dict.fromkeys(_TEXTS, _text),
    "net_payment_term": whole(_LONGEST_TERM),
    "finalize_zero_amount_invoice": one_of("inherit", "skip", "finalize"),
}
_ADDRESS: Final[Mapping[str, Callable[[Any], Scalar]]] = {
    **dict.fromkeys(("address_line1", "address_line2", "city", "zipcode", "state"), _text),
    "country": country,
}


class CustomerAsked(NamedTuple):
    """A customer as it is to be: what is absent stays as it is, and what is None has no value any more."""

    external_id: str
    #: In the form of the catalogue's files, without ``details``.
    fields: Mapping[str, object]
    details: Mapping[str, Detail]

    def record(self, stored: Mapping[str, Detail]) -> dict[str, object]:
        """Return the fields that are put, with all details: those that are stored, and changed as is asked."""
        if not self.details:
            return dict(self.fields)
        details = dict(stored)
        for name, value in self.details.items():
            changed = _without_null(details.get(name) if name == _SHIPPING else None, value)
            if changed is None or changed == {}:
                details.pop(name, None)
            else:
                details[name] = changed
        return {**self.fields, "details": details}


def parse(request: Request) -> CustomerAsked:
    """Read the body of a customer.

    Raises `RequestRefusedError`: 400 for a body that cannot be read, 422 with all bad fields at once.
    """
    reader, _ = read_root(request, "customer")
    external_id = reader.require("external_id", identifier)
    fields = reader.given(_FIELDS)
    if fields.get("name", "") is None:
        fields["name"] = ""
    details: dict[str, Detail] = {**reader.given(_DETAILS)}
    if reader.has(_SHIPPING):
        address = reader.inner(_SHIPPING)
        details[_SHIPPING] = None if address is None else address.given(_ADDRESS)
    if reader.has(_METADATA):
        details |= _read_metadata(reader)
    reader.refuse(UNSUPPORTED)
    reader.refuse_all(_BILLING, _NO_INVOICES)
    reader.check()
    return CustomerAsked(external_id, fields, details)


def parse_list(request: Request) -> PageAsked:
    """Read the parameters of a list of customers. Raises `RequestRefusedError` (422) with all bad ones at once."""
    faults: dict[str, lago.Fault] = {}
    page = parse_page(request.parameters, faults)
    refuse_filters(request, _UNSUPPORTED_FILTERS, faults)
    return page


def answer(organization_id: str, timezone_: str, stored: Stored[Customer], now: int) -> Reply:
    """Answer with a customer. ``timezone_`` is the organization's."""
    return Reply.of(200, {"customer": customer_object(organization_id, timezone_, stored, now)})


def answer_list(
    organization_id: str,
    timezone_: str,
    asked: PageAsked,
    page: Iterable[Stored[Customer]],
    total: int,
    now: int,
) -> Reply:
    """Answer with a page of customers, of which there are ``total`` on all pages together."""
    found = [customer_object(organization_id, timezone_, each, now) for each in page]
    return Reply.of(200, {"customers": found, "meta": meta(asked.page, asked.per_page, total)})


def customer_object(
    organization_id: str, timezone_: str, stored: Stored[Customer], now: int
) -> dict[str, Any]:
    """Write a customer. No list is null: the official Python client needs that."""
    customer, details = stored.value, stored.value.details
    shipping = details.get(_SHIPPING)
    return {
        "lago_id": str(uuid_of(organization_id, "customer", customer.id)),
        "external_id": customer.id,
        "name": customer.name or None,
        "customer_type": in_force(customer.customer_type, now),
        "country": in_force(customer.country, now),
        "currency": None if customer.currency is None else customer.currency.upper(),
        "timezone": customer.timezone,
        "applicable_timezone": customer.timezone or timezone_,
        **{name: _scalar(details.get(name)) for name in _DETAILS},
        _SHIPPING: {name: shipping.get(name) for name in _ADDRESS} if isinstance(shipping, dict) else None,
        _METADATA: _written_metadata(organization_id, customer),
        _BILLING: None,
        "integration_customers": [],
        "taxes": [],
        "skip_invoice_custom_sections": False,
        "applicable_invoice_custom_sections": [],
        "billing_entity_code": None,
        "error_details": [],
        "created_at": format_instant(stored.stamp.made_at),
        "updated_at": format_instant(stored.stamp.put_at),
    }


def _read_metadata(reader: Reader) -> dict[str, Detail]:
    found: dict[str, Scalar] = {}
    shown: dict[str, Scalar] = {}
    for each in reader.each(_METADATA, MOST_METADATA):
        key = each.require("key", text_of(LONGEST_ID))
        value = each.require("value", _text)
        if key and key in found:
            each.faults[each.at("key")] = lago.Fault(ALREADY_EXISTS, "stands there more than once")
        found[key] = value
        if each.get("display_in_invoice", boolean):
            shown[key] = True
    return {_METADATA: found, _ON_INVOICE: shown}


def _written_metadata(organization_id: str, customer: Customer) -> list[dict[str, Any]]:
    kept, shown = customer.details.get(_METADATA), customer.details.get(_ON_INVOICE)
    if not isinstance(kept, dict):
        return []
    return [
        {
            "lago_id": str(uuid_of(organization_id, _METADATA, customer.id, key)),
            "key": key,
            "value": value if isinstance(value, str) else None,
            "display_in_invoice": isinstance(shown, dict) and shown.get(key) is True,
        }
        for key, value in kept.items()
    ]


def _without_null(before: Detail, value: Detail) -> Detail:
    """Return a value, or the fields of an object over those of before; null ones are left out."""
    if not isinstance(value, dict):
        return value
    both = {**before, **value} if isinstance(before, dict) else value
    return {name: each for name, each in both.items() if each is not None}


def _scalar(value: Detail) -> Scalar:
    return None if isinstance(value, dict | list) else value
