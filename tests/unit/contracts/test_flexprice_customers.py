"""Flexprice's customers, field by field; `tests/clients` has the official client's calls."""

from typing import Any

import pytest
from flexprice import models

from meterstone.contracts import flexprice_customers
from meterstone.contracts.flexprice_customers import CustomerAsked, customer_object
from meterstone.contracts.message import Request
from meterstone.usage.instant import parse_instant
from meterstone.usage.subscription import Customer, Dated
from support.flexprice import refused, request
from support.stamped import Stored

NOW = parse_instant("2026-03-01T12:00:00Z")
LEAST = {"external_id": "acme", "name": "Acme"}
ADDRESS = {
    "address_line1": "1 Main St",
    "address_line2": "2nd floor",
    "address_city": "Oslo",
    "address_state": "Oslo",
    "address_postal_code": "0150",
    "email": "billing@acme.example",
    "contact": "+47 1",
}


def create(**fields: Any) -> CustomerAsked:
    return flexprice_customers.parse_create(request(LEAST | fields))


def change(**fields: Any) -> CustomerAsked:
    return flexprice_customers.parse_change(request(fields, external_customer_id="acme"))


def test_what_a_customer_is_made_of() -> None:
    asked = create(
        timezone="Europe/Oslo",
        address_country="no",
        billing_currency="NOK",
        metadata={"tier": "gold"},
        contact_persons=[{"first_name": "Ada", "is_primary": True, "department": ""}],
        skip_onboarding_workflow=True,
        colour="red",
        **ADDRESS,
    )
    assert asked.id == "acme"
    assert asked.record({}) == {
        "name": "Acme",
        "timezone": "Europe/Oslo",
        "country": "NO",
        "currency": "nok",
        "details": {
            "address_line1": "1 Main St",
            "address_line2": "2nd floor",
            "city": "Oslo",
            "state": "Oslo",
            "zipcode": "0150",
            "email": "billing@acme.example",
            "phone": "+47 1",
            "metadata": {"tier": "gold"},
            "contact_persons": [{"first_name": "Ada", "is_primary": True}],
        },
    }


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="absent"),
        pytest.param(dict.fromkeys((*ADDRESS, "timezone", "address_country", "metadata")), id="null"),
        pytest.param(dict.fromkeys((*ADDRESS, "timezone", "address_country"), ""), id="empty"),
        pytest.param({"tax_rate_overrides": [], "tax_treatment": "", "metadata": {}}, id="nothing asked for"),
    ],
)
def test_the_least_that_a_customer_is_made_of(fields: dict[str, Any]) -> None:
    assert create(**fields).record({}) == {"name": "Acme"}


@pytest.mark.parametrize(
    ("fields", "faults"),
    [
        pytest.param({"external_id": None}, {"external_id": "is required"}, id="no id"),
        pytest.param({"external_id": ""}, {"external_id": "is required"}, id="an empty id"),
        pytest.param(
            {"external_id": 7},
            {"external_id": "must be text; a number or a boolean is text in quotes"},
            id="an id that is a number",
        ),
        pytest.param(
            {"external_id": "x" * 256}, {"external_id": "has 256 characters, 255 are allowed"}, id="a long id"
        ),
        pytest.param(
            {"external_id": "a\x00"},
            {"external_id": "must not hold the control character U+0000"},
            id="a control character",
        ),
        pytest.param({"name": None}, {"name": "is required"}, id="no name"),
        pytest.param(
            {"name": "x" * 1001}, {"name": "has 1001 characters, 1000 are allowed"}, id="a long name"
        ),
        pytest.param(
            {"timezone": "Mars/Olympus"}, {"timezone": "no time zone is called Mars/Olympus"}, id="no zone"
        ),
        pytest.param(
            {"address_country": "NOR"},
            {"address_country": "is not an ISO 3166-1 alpha-2 country, such as NO"},
            id="no country",
        ),
        pytest.param(
            {"billing_currency": "XYZ"}, {"billing_currency": "is not an ISO 4217 currency"}, id="no currency"
        ),
        pytest.param({"metadata": []}, {"metadata": "must be a mapping"}, id="metadata that is a list"),
        pytest.param(
            {"metadata": {"a": 1}},
            {"metadata": "has a bad entry: must be text; a number or a boolean is text in quotes"},
            id="metadata with a number",
        ),
        pytest.param(
            {"metadata": {str(key): "" for key in range(51)}},
            {"metadata": "has 51 keys, 50 are allowed"},
            id="much metadata",
        ),
        pytest.param(
            {"contact_persons": [{}, "x"]},
            {"contact_persons[0].first_name": "is required", "contact_persons[1]": "must be a mapping"}
            | {"contact_persons[1].first_name": "is required"},
            id="contacts",
        ),
        pytest.param(
            {"contact_persons": [{"first_name": "A", "is_primary": True}] * 2},
            {"contact_persons": "has more than one primary person"},
            id="two primary contacts",
        ),
        pytest.param(
            {"contact_persons": [{"first_name": "A"}] * 21},
            {"contact_persons": "has 21 entries, 20 are allowed"},
            id="many contacts",
        ),
        pytest.param(
            {"skip_onboarding_workflow": "yes"},
            {"skip_onboarding_workflow": "must be true or false"},
            id="no boolean",
        ),
        pytest.param(
            {"name": 1, "timezone": 2, "email": 3},
            dict.fromkeys(
                ("name", "timezone", "email"), "must be text; a number or a boolean is text in quotes"
            ),
            id="all at once",
        ),
    ],
)
def test_what_is_wrong_with_a_customer(fields: dict[str, Any], faults: dict[str, str]) -> None:
    assert refused(lambda: create(**fields)) == faults


@pytest.mark.parametrize("name", sorted(flexprice_customers.UNSUPPORTED))
def test_what_is_not_supported_is_refused_by_name(name: str) -> None:
    reason = flexprice_customers.UNSUPPORTED[name]
    assert refused(lambda: create(**{name: "x"})) == {name: f"is not supported: {reason}"}


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{", '{"name":NaN}', '{"name":"a","name":"b"}', "x" * 1_000_001],
    ids=lambda body: body[:12],
)
def test_a_body_that_is_no_object(body: str) -> None:
    request = Request.of({"httpMethod": "POST", "path": "/", "body": body})
    assert refused(lambda: flexprice_customers.parse_create(request)) == {}


@pytest.mark.parametrize(
    ("fields", "record"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"name": None, "email": None, "metadata": None}, {}, id="null changes nothing"),
        pytest.param({"name": "New"}, {"name": "New"}, id="the name"),
        pytest.param({"name": ""}, {"name": ""}, id="no name"),
        pytest.param(
            {"timezone": "", "billing_currency": "", "address_country": ""},
            {"timezone": None, "currency": None, "country": None},
            id="empty texts take values away",
        ),
        pytest.param(
            {"email": "", "address_city": "Bergen"},
            {"details": {"city": "Bergen", "metadata": {"a": "b"}, "url": "kept"}},
            id="details",
        ),
        pytest.param(
            {"metadata": {"c": "d"}},
            {"details": {"email": "old", "metadata": {"c": "d"}, "url": "kept"}},
            id="metadata as a whole",
        ),
        pytest.param({"metadata": {}}, {"details": {"email": "old", "url": "kept"}}, id="no metadata"),
        pytest.param({"external_id": "acme"}, {}, id="its own id"),
    ],
)
def test_a_change(fields: dict[str, Any], record: dict[str, Any]) -> None:
    asked = change(**fields)
    assert asked.id == "acme"
    assert asked.record({"email": "old", "metadata": {"a": "b"}, "url": "kept"}) == record


@pytest.mark.parametrize(
    ("parameters", "whose"),
    [
        pytest.param({"id": "a"}, "a", id="id"),
        pytest.param({"external_customer_id": "b"}, "b", id="external_customer_id"),
        pytest.param({"external_id": "c"}, "c", id="external_id"),
        pytest.param({"id": "d", "external_customer_id": "d"}, "d", id="both"),
        pytest.param({"id": "", "external_customer_id": "e"}, "e", id="one of them empty"),
    ],
)
def test_whose_a_change_is(parameters: dict[str, str], whose: str) -> None:
    assert flexprice_customers.parse_change(request({"name": "x"}, **parameters)).id == whose


@pytest.mark.parametrize(
    ("parameters", "fields", "faults"),
    [
        pytest.param(
            {"colour": "red"},
            {},
            {"id": "or external_customer_id is required, as a query parameter"},
            id="nobody's",
        ),
        pytest.param(
            {"id": "a", "external_customer_id": "b"},
            {},
            {"id": "names another customer than external_customer_id"},
            id="two customers'",
        ),
        pytest.param(
            {"id": "a"},
            {"external_id": "b"},
            {"external_id": "never changes: events and subscriptions name the customer by it"},
            id="another id",
        ),
    ],
)
def test_what_is_wrong_with_a_change(
    parameters: dict[str, str], fields: dict[str, Any], faults: dict[str, str]
) -> None:
    assert refused(lambda: flexprice_customers.parse_change(request(fields, **parameters))) == faults


def test_a_customer_as_the_client_reads_it() -> None:
    customer = Customer(
        "acme",
        "Acme",
        "Europe/Oslo",
        (Dated("SE"), Dated("NO", NOW)),
        currency="nok",
        details={
            "city": "Oslo",
            "phone": "+47 1",
            "metadata": {"tier": "gold", "shown": True},
            "contact_persons": [{"first_name": "Ada"}],
        },
    )
    written = customer_object(Stored(customer), "UTC", NOW)
    assert written == {
        "id": "acme",
        "external_id": "acme",
        "name": "Acme",
        "timezone": "Europe/Oslo",
        "status": "published",
        "metadata": {"tier": "gold"},
        "address_country": "NO",
        "address_city": "Oslo",
        "billing_currency": "nok",
        "contact": "+47 1",
        "contact_persons": [{"first_name": "Ada"}],
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-02-01T00:00:00.5Z",
    }
    assert models.CustomerResponse.model_validate(written).model_dump()["address_country"] == "NO"


def test_a_customer_without_a_zone_has_the_organizations() -> None:
    written = customer_object(Stored(Customer("acme", country=(Dated("NO", NOW),))), "Asia/Tokyo", NOW - 1)
    assert (written["timezone"], written["metadata"]) == ("Asia/Tokyo", {})
    assert "address_country" not in written


@pytest.mark.parametrize(
    ("fields", "same"),
    [
        pytest.param({}, True, id="what it has"),
        pytest.param({"address_country": "NO", "email": "a"}, True, id="and more of it"),
        pytest.param({"name": "Other"}, False, id="another name"),
        pytest.param({"address_country": "SE"}, False, id="another country"),
        pytest.param({"timezone": "UTC"}, False, id="a zone"),
        pytest.param({"email": "b"}, False, id="another address"),
        pytest.param({"metadata": {"a": "b"}}, False, id="metadata"),
    ],
)
def test_whether_a_create_is_a_repeat(fields: dict[str, Any], same: bool) -> None:  # noqa: FBT001 - a table's column
    stored = Customer("acme", "Acme", country=(Dated("NO"),), details={"email": "a"})
    assert create(**fields).is_like(stored, NOW) is same
