"""Lago's customers, field by field; `tests/clients` has the official client's calls."""

from typing import Any

import pytest

from meterstone.contracts import lago_customers
from meterstone.contracts.lago_events import uuid_of
from meterstone.usage.instant import parse_instant
from meterstone.usage.subscription import Customer, Dated
from support.lago import BAD_IDS, body_of, details, request
from support.stamped import Stored

ORGANIZATION = "5d1f3a52-8f0e-4b8e-9a53-0b7b0a6f1c11"
NOW = parse_instant("2026-03-10T12:00:00Z")


def customer(**fields: Any) -> lago_customers.CustomerAsked:
    return lago_customers.parse(request({"customer": {"external_id": "acme"} | fields}))


def test_fields_of_a_customer_are_those_of_the_files() -> None:
    asked = customer(
        name="Acme", country="de", timezone="Europe/Berlin", currency="EUR", customer_type="company"
    )
    assert asked.external_id == "acme"
    assert asked.record({}) == {
        "name": "Acme",
        "country": "DE",
        "timezone": "Europe/Berlin",
        "currency": "eur",
        "customer_type": "company",
    }


def test_what_is_absent_stays_and_null_takes_away() -> None:
    address = {"city": "Ulm", "state": "BW"}
    stored: dict[str, Any] = {"email": "a@b.example", "city": "Bonn", "shipping_address": address}
    assert customer().record(stored) == {}
    asked = customer(name=None, timezone=None, email=None, phone="1", shipping_address={"city": "Köln"})
    assert asked.record(stored) == {
        "name": "",
        "timezone": None,
        "details": {"city": "Bonn", "phone": "1", "shipping_address": {"city": "Köln", "state": "BW"}},
    }
    assert customer(shipping_address=None, city=None).record(stored) == {"details": {"email": "a@b.example"}}


def test_metadata_is_the_whole_of_it() -> None:
    asked = customer(
        metadata=[{"key": "po", "value": "7", "display_in_invoice": True}, {"key": "x", "value": "y"}]
    )
    stored = asked.record({"metadata": {"old": "1"}, "metadata_in_invoice": {"old": True}})["details"]
    assert stored == {"metadata": {"po": "7", "x": "y"}, "metadata_in_invoice": {"po": True}}
    assert isinstance(stored, dict)
    assert customer(metadata=[]).record(stored) == {"details": {}}


@pytest.mark.parametrize(("value", "code"), BAD_IDS)
def test_ids_of_customers(value: object, code: str) -> None:
    assert details(lambda: customer(external_id=value)) == {"external_id": [code]}


@pytest.mark.parametrize(
    ("name", "value", "codes"),
    [
        pytest.param("name", 5, ["value_is_invalid"], id="name a number"),
        pytest.param("name", "x" * 1001, ["value_is_too_long"], id="name huge"),
        pytest.param("name", "a\x1b", ["value_is_invalid"], id="name with a control character"),
        pytest.param("city", "\ud800", ["value_is_invalid"], id="half a pair"),
        pytest.param("city", ["Bonn"], ["value_is_invalid"], id="city a list"),
        pytest.param("country", "XX", ["not_a_valid_country_code"], id="no country"),
        pytest.param("country", "Germany", ["not_a_valid_country_code"], id="a country's name"),
        pytest.param("country", "\u017fe", ["not_a_valid_country_code"], id="a letter that upper() maps"),
        pytest.param("country", 49, ["not_a_valid_country_code"], id="country a number"),
        pytest.param("currency", "EURO", ["value_is_invalid"], id="no currency"),
        pytest.param("currency", 978, ["value_is_invalid"], id="currency a number"),
        pytest.param("timezone", "Mars/Base", ["value_is_invalid"], id="no zone"),
        pytest.param("timezone", "../etc/passwd", ["value_is_invalid"], id="a path"),
        pytest.param("timezone", 1, ["value_is_invalid"], id="zone a number"),
        pytest.param("customer_type", "robot", ["value_is_invalid"], id="no type"),
        pytest.param("net_payment_term", -1, ["value_is_out_of_range"], id="term below 0"),
        pytest.param("net_payment_term", 10**30, ["value_is_out_of_range"], id="term huge"),
        pytest.param("net_payment_term", 1.5, ["value_is_invalid"], id="term a fraction"),
        pytest.param("net_payment_term", True, ["value_is_invalid"], id="term a boolean"),
        pytest.param("finalize_zero_amount_invoice", "maybe", ["value_is_invalid"], id="finalize"),
        pytest.param("shipping_address", "here", ["value_is_invalid"], id="address a text"),
        pytest.param("metadata", {"po": "7"}, ["value_is_invalid"], id="metadata an object"),
        pytest.param("metadata", [{}] * 21, ["value_is_too_long"], id="metadata huge"),
        pytest.param("tax_codes", ["vat"], ["value_is_invalid", "not_supported"], id="taxes"),
        pytest.param(
            "integration_customers", [{"id": "1"}], ["value_is_invalid", "not_supported"], id="integrations"
        ),
        pytest.param("billing_entity_code", "b", ["value_is_invalid", "not_supported"], id="billing entity"),
        pytest.param(
            "skip_invoice_custom_sections", True, ["value_is_invalid", "not_supported"], id="skipped sections"
        ),
        pytest.param(
            "invoice_custom_section_codes", ["a"], ["value_is_invalid", "not_supported"], id="sections"
        ),
    ],
)
def test_bad_fields_of_a_customer(name: str, value: object, codes: list[str]) -> None:
    assert details(lambda: customer(**{name: value})) == {name: codes}


def test_bad_fields_inside_a_customer_are_named_by_their_paths() -> None:
    found = details(
        lambda: customer(
            shipping_address={"city": 1, "country": "XX"},
            metadata=[{"key": "a", "value": "1"}, "b", {"value": "1"}, {"key": "a", "value": 1}],
            billing_configuration={"payment_provider": "stripe", "sync": False, "document_locale": "fr"},
        )
    )
    assert found == {
        "shipping_address.city": ["value_is_invalid"],
        "shipping_address.country": ["not_a_valid_country_code"],
        "metadata[1]": ["value_is_invalid"],
        "metadata[2].key": ["value_is_mandatory"],
        "metadata[3].key": ["value_already_exist"],
        "metadata[3].value": ["value_is_invalid"],
        "billing_configuration.payment_provider": ["value_is_invalid", "not_supported"],
        "billing_configuration.document_locale": ["value_is_invalid", "not_supported"],
    }


def test_what_asks_for_nothing_and_what_lago_has_not_is_taken() -> None:
    nothing: dict[str, Any] = {
        "tax_codes": [],
        "integration_customers": None,
        "skip_invoice_custom_sections": False,
        "billing_entity_code": "",
        "billing_configuration": {},
        "hair_colour": "red",
    }
    assert customer(**nothing).record({}) == {}


def test_a_customer_in_an_answer() -> None:
    kept: dict[str, Any] = {
        "email": "a@b.example",
        "net_payment_term": 30,
        "metadata": {"po": "7"},
        "metadata_in_invoice": {"po": True},
    }
    stored = Customer(
        "acme",
        country=(Dated("DE"), Dated("FR", NOW)),
        currency="jpy",
        details=kept | {"shipping_address": {"city": "Ulm"}},
    )
    found = body_of(lago_customers.answer(ORGANIZATION, "Asia/Tokyo", Stored(stored), NOW))["customer"]
    expected = {
        "lago_id": str(uuid_of(ORGANIZATION, "customer", "acme")),
        "external_id": "acme",
        "name": None,
        "country": "FR",
        "currency": "JPY",
        "customer_type": None,
        "timezone": None,
        "applicable_timezone": "Asia/Tokyo",
        "email": "a@b.example",
        "net_payment_term": 30,
        "metadata": [
            {
                "lago_id": str(uuid_of(ORGANIZATION, "metadata", "acme", "po")),
                "key": "po",
                "value": "7",
                "display_in_invoice": True,
            }
        ],
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-02-01T00:00:00.5Z",
    }
    assert {name: found[name] for name in expected} == expected
    assert found["shipping_address"]["city"] == "Ulm"
    assert (
        found["integration_customers"] == found["taxes"] == found["applicable_invoice_custom_sections"] == []
    )
