"""What stays of an event once its customer is purged, and what does not."""

from decimal import Decimal

import pytest

from meterstone.usage.aggregation import observe
from meterstone.usage.meter import Aggregation, Event, Filter, Meter, Property
from meterstone.usage.pseudonyms import Pseudonyms

SUM = Meter("tokens", "tokens", "", Aggregation.SUM, "call", field="tokens")
UNIQUE = Meter("users", "users", "", Aggregation.COUNT_UNIQUE, "call", field="user")
BY_MODEL = Meter("large", "large", "", Aggregation.COUNT, "call", filters=(Filter("model", ("large", "5")),))
OF_ONE = Meter("admin", "admin", "", Aggregation.COUNT, "login", filters=(Filter("user", ("root",)),))
BOTH = Meter("top", "top", "", Aggregation.MAX, "call", field="user")
METERS = [SUM, UNIQUE, BY_MODEL, OF_ONE]
PSEUDONYM = object()


def kept(meters: list[Meter], name: str, key: str, value: Property) -> Property:
    event = Pseudonyms(b"secret", meters).event(Event("t", name, 0, {key: value}), "new")
    assert (event.id, event.at) == ("new", 0)
    return event.properties.get(key, "dropped")


@pytest.mark.parametrize(
    ("meters", "key", "value", "stays"),
    [
        pytest.param(METERS, "tokens", 7, 7, id="a number that is added up"),
        pytest.param(METERS, "tokens", Decimal("0.50"), Decimal("0.50"), id="a fraction"),
        pytest.param(METERS, "tokens", "1.5e3", "1.5e3", id="a number as text"),
        pytest.param(METERS, "tokens", "Erika", PSEUDONYM, id="text where a number is read"),
        pytest.param(METERS, "tokens", None, None, id="nothing"),
        pytest.param(METERS, "tokens", ["Erika"], [], id="a list"),
        pytest.param(METERS, "tokens", {"name": "Erika"}, {}, id="an object"),
        pytest.param(METERS, "user", "erika", PSEUDONYM, id="a value that is counted once"),
        pytest.param(METERS, "user", 49123456, PSEUDONYM, id="a number that is counted once"),
        pytest.param(METERS, "user", True, True, id="a truth value"),
        pytest.param(METERS, "user", "root", "root", id="a value that a filter of other events asks for"),
        pytest.param(METERS, "model", "large", "large", id="a value that a filter asks for"),
        pytest.param(METERS, "model", 5, 5, id="a number that a filter asks for"),
        pytest.param(METERS, "model", "erika's", PSEUDONYM, id="a value that no filter asks for"),
        pytest.param([*METERS, BOTH], "user", 49123456, 49123456, id="a number that another meter reads"),
        pytest.param(METERS, "name", "Erika", "dropped", id="a property that no meter reads"),
    ],
)
def test_a_property_stays_as_far_as_it_decides_a_count(
    meters: list[Meter], key: str, value: Property, stays: object
) -> None:
    found = kept(meters, "call", key, value)
    if stays is PSEUDONYM:
        assert isinstance(found, str)
        assert len(found) == 32
        assert str(value) not in found
    else:
        assert found == stays
        assert type(found) is type(stays)


@pytest.mark.parametrize("name", ["call", "tokens"])
def test_an_event_s_name_stays_if_a_meter_has_it(name: str) -> None:
    assert Pseudonyms(b"secret", METERS).event(Event("t", name, 0, {}), "new").name == name


def test_a_name_that_no_meter_has_goes_with_all_that_the_event_says() -> None:
    event = Pseudonyms(b"secret", METERS).event(Event("t", "Erika logs in", 0, {"tokens": 7}), "new")
    assert event.name != "Erika logs in"
    assert event.properties == {}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        pytest.param(5, "5", True, id="a number and its text"),
        pytest.param(5, Decimal("5.0"), True, id="two ways to write a number"),
        pytest.param(True, "true", True, id="a truth value and its text"),
        pytest.param("ana", "ben", False, id="two names"),
        pytest.param("root", "ana", False, id="one that a filter asks for, and one that none does"),
    ],
)
@pytest.mark.parametrize("meters", [METERS, [*METERS, BOTH]], ids=["counted once", "read as a number, too"])
def test_values_are_counted_as_one_afterwards_if_they_were_before(
    meters: list[Meter], one: Property, other: Property, *, equal: bool
) -> None:
    texts = [
        observe(UNIQUE, Pseudonyms(b"secret", meters).event(Event("t", "call", 0, {"user": value}), "new"))
        for value in (one, other)
    ]
    assert (texts[0] == texts[1]) is equal


def test_of_a_withdrawn_event_nothing_stays_but_its_name_and_time() -> None:
    event = Event("t", "call", 3, {"tokens": 7})
    found = Pseudonyms(b"secret", METERS).event(event, "new", withdrawn=True)
    assert found == Event("new", "call", 3, {})
