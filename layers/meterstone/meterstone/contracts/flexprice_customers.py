"""Flexprice's `/v1/customers` on the wire: customers are made, changed, found, listed and deleted.

What Flexprice's API description leaves open, or what differs, is settled so:

- A customer's `id` is its `external_id`: one id names a customer in both places.
- `name`, `timezone`, `address_country` and `billing_currency` are the customer's own fields. Without a `timezone`
  the organization's holds. Addresses, contacts and metadata are kept and given back, under the names that Lago's
  calls use too: either client sees the address that the other has written.
- In a change, an empty text takes a value away; what is absent or null stays. `metadata` and `contact_persons` are
  replaced as a whole. An `external_id` never changes.
- `address_country` of an answer is the country in force now.
- A create of a customer that is there already is the same if each field that it gives is as it is stored. Else it
  is 409 `already_exists`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast

from meterstone.contracts.flexprice_fields import (
    Reader,
    boolean,
    country,
    currency,
    identifier,
    short_text,
    timezone,
)
from meterstone.contracts.flexprice_pages import STATUSES, stamped
from meterstone.contracts.message import Request
from meterstone.contracts.stored import Stored
from meterstone.pricing.price import Detail
from meterstone.usage.subscription import Customer, in_force

MOST_CONTACTS: Final = 20
"""How many contact persons a customer has at most."""

UNSUPPORTED: Final = {
    "tax_rate_overrides": "amounts have no taxes",
    "tax_treatment": "amounts have no taxes",
    "integration_entity_mapping": "there are no integrations",
    "onboarding_workflow_name": "there are no workflows",
}
"""The fields of a customer that cannot be honoured, each with the reason."""

#: Flexprice's names of the fields that are the customer's own, as the catalogue's files call them.
_FIELDS: Final[Mapping[str, tuple[str, Callable[[Any], object]]]] = {
    "name": ("name", short_text),
    "timezone": ("timezone", timezone),
    "address_country": ("country", country),
    "billing_currency": ("currency", currency),
}
#: Flexprice's names of what is kept and given back, as it is kept.
_TEXTS: Final = {
    "address_line1": "address_line1",
    "address_line2": "address_line2",
    "address_city": "city",
    "address_state": "state",
    "address_postal_code": "zipcode",
    "email": "email",
    "contact": "phone",
}
_CONTACTS: Final = "contact_persons"
_CONTACT_TEXTS: Final = (
    *("id", "salutation", "first_name", "last_name", "email", "mobile", "designation", "department"),
)

#: By the paths of the catalogue's files, Flexprice's names of fields.
NAMES: Final = {kept: name for name, (kept, _) in _FIELDS.items()} | {"id": "external_id"}


class CustomerAsked(NamedTuple):
    """A customer as it is to be: what is absent stays as it is, and what is None has no value any more."""

    id: str
    #: In the form of the catalogue's files, without ``details``.
    fields: Mapping[str, object]
    details: Mapping[str, Detail]

    def record(self, stored: Mapping[str, Detail]) -> dict[str, object]:
        """Return the fields that are put, with all details: those that are stored, changed as is asked."""
        if not self.details:
            return dict(self.fields)
        changed = {**stored, **self.details}
        return {
            **self.fields,
            "details": {name: value for name, value in changed.items() if value is not None},
        }

    def is_like(self, customer: Customer, now: int) -> bool:
        """Return whether a stored customer has each value that is given."""
        stored: Mapping[str, object] = {
            "name": customer.name,
            "timezone": customer.timezone,
            "country": in_force(customer.country, now),
            "currency": customer.currency,
        }
        return all(stored[name] == value for name, value in self.fields.items()) and all(
            customer.details.get(name) == value for name, value in self.details.items()
        )


def parse_create(request: Request) -> CustomerAsked:
    """Read the body of a new customer. Raises `RequestRefusedError` (400) with all bad fields at once."""
    reader = Reader.of(request)
    external_id = reader.require("external_id", identifier, "")
    reader.require("name", short_text, "")
    fields, details = _read(reader)
    reader.get("skip_onboarding_workflow", boolean)
    reader.check()
    return CustomerAsked(
        external_id,
        {name: value for name, value in fields.items() if value is not None},
        {name: value for name, value in details.items() if value is not None},
    )


def parse_change(request: Request) -> CustomerAsked:
    """Read the body of a change, and from the query parameters whose it is.

    Raises `RequestRefusedError` (400) with all bad fields at once.
    """
    reader = Reader.of(request)
    # Flexprice's clients say `external_customer_id`.
    named = {
        name: values[0]
        for name in ("id", "external_customer_id", "external_id")
        if (values := request.parameters.get(name)) and values[0]
    }
    customer_id = next(iter(named.values()), "")
    if not named:
        reader.fault("id", "or external_customer_id is required, as a query parameter")
    elif len(set(named.values())) > 1:
        reader.fault("id", "names another customer than external_customer_id")
    given = reader.get("external_id", identifier)
    if given is not None and given != customer_id:
        reader.fault("external_id", "never changes: events and subscriptions name the customer by it")
    fields, details = _read(reader)
    reader.check()
    return CustomerAsked(customer_id, fields, details)


def customer_object(stored: Stored[Customer], timezone_: str, now: int) -> dict[str, Any]:
    """Write a customer. ``timezone_`` is the organization's."""
    customer, details = stored.value, stored.value.details
    written: dict[str, Any] = {
        "id": customer.id,
        "external_id": customer.id,
        "name": customer.name,
        "timezone": customer.timezone or timezone_,
        "status": STATUSES[0],
        "metadata": _texts(details.get("metadata")),
        **stamped(stored.stamp),
    }
    land = in_force(customer.country, now)
    if land is not None:
        written["address_country"] = land
    if customer.currency is not None:
        written["billing_currency"] = customer.currency
    written |= {name: text for name, kept in _TEXTS.items() if isinstance(text := details.get(kept), str)}
    contacts = details.get(_CONTACTS)
    if isinstance(contacts, list):
        written[_CONTACTS] = contacts
    return written


def _read(reader: Reader) -> tuple[dict[str, object], dict[str, Detail]]:
    """Read what may be changed: None for an empty text, which takes the value away."""
    fields = {kept: _value(reader, name, read) for name, (kept, read) in _FIELDS.items() if reader.has(name)}
    if "name" in fields and fields["name"] is None:
        fields["name"] = ""
    details: dict[str, Detail] = {
        kept: cast("Detail", _value(reader, name, short_text))
        for name, kept in _TEXTS.items()
        if reader.has(name)
    }
    if (metadata := reader.metadata()) is not None:
        details["metadata"] = dict(metadata) or None
    if reader.has(_CONTACTS):
        details[_CONTACTS] = [_contact(each) for each in reader.each(_CONTACTS, MOST_CONTACTS)] or None
        if sum(each.get("is_primary", False) is True for each in _listed(details[_CONTACTS])) > 1:
            reader.fault(_CONTACTS, "has more than one primary person")
    reader.refuse(UNSUPPORTED)
    return fields, details


def _value(reader: Reader, name: str, read: Callable[[Any], object]) -> object:
    return reader.get(name, read)


def _contact(reader: Reader) -> dict[str, Any]:
    reader.require("first_name", short_text, "")
    found: dict[str, Any] = {name: reader.get(name, short_text) for name in _CONTACT_TEXTS}
    found["is_primary"] = reader.get("is_primary", boolean)
    return {name: value for name, value in found.items() if value is not None}


def _listed(value: Detail) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else []


def _texts(value: Detail | None) -> dict[str, str]:
    """Return metadata as Flexprice has it: texts alone."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {name: text for name, text in pairs if isinstance(text, str)}
