"""What an event must be to be let in."""

import json
from decimal import Decimal
from typing import Any

import pytest

from meterstone.pricing.errors import NotANumberError
from meterstone.usage.arrival import (
    AHEAD,
    DEEPEST,
    LARGEST_EVENT,
    Arrival,
    InadmissibleError,
    Subject,
    TooFarAheadError,
    checked_properties,
    content,
    decode,
    escapes,
    instant_of_seconds,
)
from meterstone.usage.instant import END_OF_TIME, ZERO_TIME
from meterstone.usage.meter import Event

CUSTOMER = Subject.customer("c")


def properties_of(text: str) -> dict[str, Any]:
    return checked_properties(decode(text), escaped=escapes(text))


def nested(depth: int) -> str:
    return '{"a": ' + "[" * depth + "]" * depth + "}"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        pytest.param("null", {}, id="null"),
        pytest.param("{}", {}, id="empty"),
        pytest.param('{"n": 12.50}', {"n": Decimal("12.50")}, id="decimal"),
        pytest.param('{"n": -0}', {"n": 0}, id="minus zero"),
        pytest.param('{"n": -0.0}', {"n": Decimal(0)}, id="minus zero point zero"),
        pytest.param('{"n": 1E3}', {"n": Decimal(1000)}, id="exponent"),
        pytest.param('{"n": 999999999999999}', {"n": 10**15 - 1}, id="15 digits"),
        pytest.param('{"n": -999999999999999}', {"n": 1 - 10**15}, id="15 digits below zero"),
        pytest.param('{"n": "1e400"}', {"n": "1e400"}, id="text is text"),
        pytest.param(r'{"n": "😀"}', {"n": "😀"}, id="both halves"),
        pytest.param('{"": "\\u0000"}', {"": "\0"}, id="control characters"),
        pytest.param(nested(DEEPEST), None, id="as deep as may be"),
    ],
)
def test_properties(text: str, read: dict[str, Any] | None) -> None:
    found = properties_of(text)
    assert found == (json.loads(text) if read is None else read)
    assert [str(value) for value in found.values()] == [str(value) for value in (read or found).values()]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("[]", "properties must be an object", id="list"),
        pytest.param('"x"', "properties must be an object", id="text"),
        pytest.param('{"n": 1e400}', "the number 1e400: ", id="1e400"),
        pytest.param('{"n": 1e99999999999999999999}', "the number 1e999999", id="endless exponent"),
        pytest.param('{"n": 1234567890123456}', "a number has 16 digits", id="16 digits"),
        pytest.param('{"n": -1234567890123456}', "a number has 16 digits", id="16 digits below zero"),
        pytest.param('{"n": 0.1234567890123456}', "the number 0.1234567890123456: ", id="16 decimals"),
        pytest.param('{"a": [{"n": 1e16}]}', "the number 1e16: ", id="inside"),
        pytest.param('{"n": NaN}', "NaN is not a number", id="NaN"),
        pytest.param('{"n": Infinity}', "Infinity is not a number", id="Infinity"),
        pytest.param('{"n": 1, "n": 1}', "the key 'n' is repeated", id="repeated key"),
        pytest.param(
            '{"a": 1, "n": 1, "n": 2}', "the key 'n' is repeated", id="a repeated key behind another"
        ),
        pytest.param('{"a": {"n": 1, "n": 1}}', "the key 'n' is repeated", id="repeated key inside"),
        pytest.param(r'{"n": "\ud83d"}', "holds half of a surrogate pair", id="half"),
        pytest.param(r'{"a": [{"\ude00": 1}]}', "holds half of a surrogate pair", id="half in a key"),
        pytest.param(nested(DEEPEST + 1), "properties are nested too deeply", id="too deep"),
        pytest.param("[" * 100_000, "is nested too deeply", id="brackets"),
        pytest.param("{", "is not JSON: ", id="cut off"),
        pytest.param('{\n"a":\n}', "is not JSON: Expecting value (line 3, column 1)", id="lines"),
    ],
)
def test_what_is_not_let_in(text: str, reason: str) -> None:
    with pytest.raises(InadmissibleError) as refused:
        properties_of(text)
    assert str(refused.value).startswith(reason)


def test_a_number_of_a_million_digits_is_not_read() -> None:
    with pytest.raises(InadmissibleError, match="1000000 digits"):
        properties_of('{"n": ' + "9" * 1_000_000 + "}")


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        pytest.param(0, 0, id="epoch"),
        pytest.param(1_700_000_000, 1_700_000_000_000_000, id="integer"),
        pytest.param(Decimal("1.0000019"), 1_000_001, id="cut to the microsecond"),
        pytest.param(Decimal("-0.0000001"), -1, id="cut downwards"),
        pytest.param("1700000000.5", 1_700_000_000_500_000, id="text"),
        pytest.param(-62_135_596_800, ZERO_TIME, id="year 1"),
        pytest.param("253402300799.999999", END_OF_TIME - 1, id="year 9999"),
    ],
)
def test_seconds(value: object, instant: int) -> None:
    assert instant_of_seconds(value) == instant


@pytest.mark.parametrize(
    "value", ["", "1e9", " 1", "0x10", "٣", "2024-01-01", True, None, [], {}, 1.5, 253_402_300_800, -(10**14)]
)
def test_what_is_no_seconds(value: object) -> None:
    with pytest.raises((InadmissibleError, NotANumberError)):
        instant_of_seconds(value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, True, id="order of keys"),
        pytest.param({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}, True, id="order of keys inside"),
        pytest.param({"a": [1, 2]}, {"a": [2, 1]}, False, id="order of a list"),
        pytest.param({"a": 1}, {"a": "1"}, False, id="number and text"),
        pytest.param({"a": None}, {}, False, id="null and absent"),
    ],
)
def test_content(one: dict[str, Any], other: dict[str, Any], same: object) -> None:
    assert (content(Event("i", "n", 5, one)) == content(Event("j", "n", 5, other))) is same


@pytest.mark.parametrize("letter", ["x", "é", "😀", "\n"])
def test_the_largest_event(letter: str) -> None:
    around = len(content(Event("i", "n", 0, {"a": ""})))
    size = len(json.dumps(letter)) - 2 if letter == "\n" else len(letter.encode())
    most = (LARGEST_EVENT - around) // size
    fits = Arrival.of(CUSTOMER, Event("i", "n", 0, {"a": letter * most}), 0, {}, dated=True)
    assert len(fits.content.encode()) <= LARGEST_EVENT
    with pytest.raises(InadmissibleError, match="65536 bytes"):
        Arrival.of(CUSTOMER, Event("i", "n", 0, {"a": letter * (most + 1)}), 0, {}, dated=True)


def test_how_far_ahead_an_event_may_lie() -> None:
    event = Event("i", "n", AHEAD, {})
    assert Arrival.of(CUSTOMER, event, 0, {}, dated=True).event is event
    with pytest.raises(TooFarAheadError):
        Arrival.of(CUSTOMER, event, -1, {}, dated=True)


def test_a_late_event_of_any_age_is_let_in() -> None:
    late = Event("i", "n", ZERO_TIME, {})
    assert Arrival.of(CUSTOMER, late, END_OF_TIME - 1, {}, dated=True).event is late
