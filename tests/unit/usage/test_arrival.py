"""What an event must be to be let in."""

import json
import time
from copy import replace
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
    InMillisecondsError,
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
        pytest.param('{"n": 1234567890123456789}', {"n": 1234567890123456789}, id="a long id"),
        pytest.param('{"n": 0.028999999999999998}', {"n": Decimal("0.028999999999999998")}, id="a float"),
        pytest.param('{"n": 1.5E-7}', {"n": Decimal("1.5E-7")}, id="a small float"),
        pytest.param(
            '{"n": 0.0000000001396983861923}', {"n": Decimal("0.0000000001396983861923")}, id="22 decimals"
        ),
        pytest.param('{"n": 1e16}', {"n": Decimal("1E+16")}, id="a large exponent stays"),
        pytest.param('{"n": 1.50000000000000000}', {"n": Decimal("1.5")}, id="zeros that say nothing"),
        pytest.param('{"n": 1e100}', {"n": Decimal("1E+100")}, id="the largest exponent"),
        pytest.param('{"n": ' + "1" * 100 + "}", {"n": int("1" * 100)}, id="100 digits"),
        pytest.param('{"n": 0.' + "1" * 98 + "}", {"n": Decimal("0." + "1" * 98)}, id="98 decimals"),
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
        pytest.param('{"n": 1e101}', "the number 1e101: the exponent of a number is at most 100", id="1e101"),
        pytest.param('{"n": 1e-101}', "the number 1e-101: the exponent", id="1e-101"),
        pytest.param(
            '{"n": ' + "1" * 101 + "}", "a number has 101 characters, 100 are allowed", id="101 digits"
        ),
        pytest.param('{"n": -' + "1" * 100 + "}", "a number has 101 characters", id="100 digits below zero"),
        pytest.param('{"n": 0.' + "1" * 99 + "}", "a number has 101 characters", id="99 decimals"),
        pytest.param('{"a": [{"n": 1e101}]}', "the number 1e101: ", id="inside"),
        pytest.param('{"n": NaN}', "holds NaN, which is not a number", id="NaN"),
        pytest.param('{"n": Infinity}', "holds Infinity, which is not a number", id="Infinity"),
        pytest.param('{"n": 1, "n": 1}', "repeats the key 'n'", id="repeated key"),
        pytest.param('{"a": 1, "n": 1, "n": 2}', "repeats the key 'n'", id="a repeated key behind another"),
        pytest.param('{"a": {"n": 1, "n": 1}}', "repeats the key 'n'", id="repeated key inside"),
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
    with pytest.raises(InadmissibleError, match="1000000 characters"):
        properties_of('{"n": ' + "9" * 1_000_000 + "}")


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        pytest.param(0, 0, id="epoch"),
        pytest.param(1_700_000_000, 1_700_000_000_000_000, id="integer"),
        pytest.param(Decimal("1.0000019"), 1_000_001, id="cut to the microsecond"),
        pytest.param(Decimal("-0.0000001"), -1, id="cut downwards"),
        pytest.param("1700000000.5", 1_700_000_000_500_000, id="text"),
        pytest.param("1.7e9", 1_700_000_000_000_000, id="an exponent"),
        pytest.param("1700000000.00000099999999999999999", 1_700_000_000_000_000, id="many decimals are cut"),
        pytest.param(-62_135_596_800, ZERO_TIME, id="year 1"),
        pytest.param("253402300799.999999", END_OF_TIME - 1, id="year 9999"),
    ],
)
def test_seconds(value: object, instant: int) -> None:
    assert instant_of_seconds(value) == instant


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1e101",
        " 1",
        "0x10",
        "٣",
        "2024-01-01",
        True,
        None,
        [],
        {},
        1.5,
        253_402_300_800,
        -(10**14),
        "1e100",
    ],
)
def test_what_is_no_seconds(value: object) -> None:
    with pytest.raises((InadmissibleError, NotANumberError)):
        instant_of_seconds(value)


@pytest.mark.parametrize(
    ("value", "in_milliseconds"),
    [
        pytest.param(1_736_100_000_000, True, id="today"),
        pytest.param("1736100000000.5", True, id="text"),
        pytest.param(Decimal("1.7361E+12"), True, id="an exponent"),
        pytest.param(253_402_300_800, True, id="1978: the first that are no seconds"),
        pytest.param(253_402_300_799_999, True, id="the last millisecond of all"),
        pytest.param(253_402_300_800_000, False, id="beyond all milliseconds"),
        pytest.param(999_999_999_999_999, False, id="before the first microseconds that are told"),
    ],
)
def test_milliseconds_are_told_from_seconds(value: object, *, in_milliseconds: bool) -> None:
    with pytest.raises(InadmissibleError) as refused:
        instant_of_seconds(value)
    assert isinstance(refused.value, InMillisecondsError) is in_milliseconds
    assert str(refused.value) == (
        "is in milliseconds: give seconds" if in_milliseconds else "outside the years 1 to 9999"
    )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(1_736_100_000_000_000, "is in microseconds: give seconds", id="microseconds"),
        pytest.param("1736100000000000", "is in microseconds: give seconds", id="text"),
        pytest.param(10**15, "is in microseconds: give seconds", id="2001, in microseconds"),
        pytest.param(253_402_300_799_999_999, "is in microseconds: give seconds", id="the last microsecond"),
        pytest.param(253_402_300_800_000_000, "outside the years 1 to 9999", id="beyond all microseconds"),
        pytest.param(10**18 - 1, "outside the years 1 to 9999", id="before the nanoseconds"),
        pytest.param(1_736_100_000_000_000_000, "is in nanoseconds: give seconds", id="nanoseconds"),
        pytest.param(Decimal("1e18"), "is in nanoseconds: give seconds", id="2001, in nanoseconds"),
        pytest.param(253_402_300_800 * 10**9, "outside the years 1 to 9999", id="beyond all nanoseconds"),
        pytest.param("1e100", "outside the years 1 to 9999", id="as large as a number may be"),
        pytest.param(-1_736_100_000_000_000, "outside the years 1 to 9999", id="negative"),
    ],
)
def test_finer_units_are_told_from_seconds(value: object, reason: str) -> None:
    with pytest.raises(InadmissibleError) as refused:
        instant_of_seconds(value)
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("written", "logged"),
    [
        pytest.param("12.50", "12.50", id="zeros behind"),
        pytest.param("1E3", "1000", id="an exponent"),
        pytest.param("0E+5", "0", id="zero"),
        pytest.param("-0.0", "0", id="minus zero"),
        pytest.param("0.00000015", "1.5E-7", id="small"),
        pytest.param("1.5000E-7", "1.5E-7", id="small with zeros"),
        pytest.param("0.00000100", "0.00000100", id="small, but plain"),
        pytest.param("1.50000000000000000", "1.5", id="17 decimals of zeros"),
        pytest.param(
            "999999999999999.999999999999999", "999999999999999.999999999999999", id="15 and 15 digits"
        ),
        pytest.param("999999999999999", "999999999999999", id="an integer"),
    ],
)
def test_what_was_logged_of_short_numbers_is_what_is_logged_now(written: str, logged: str) -> None:
    """Every table holds such contents, and an event that comes again is compared with them byte by byte."""
    event = Event("i", "n", 5, properties_of('{"a": ' + written + "}"))
    assert content(event) == '["n",5,{"a":' + logged + "}]"


@pytest.mark.parametrize(
    "written",
    [
        "0.028999999999999998",
        "42259901212262400",
        "1.396983861923E-10",
        "1E+16",
        "1234567890123456.50",
        "-1E-100",
        "0.1000000000000000055511151231257827021181583404541015625",
    ],
)
def test_a_long_number_is_logged_as_it_came(written: str) -> None:
    event = Event("i", "n", 5, properties_of('{"a": ' + written + "}"))
    assert content(event) == '["n",5,{"a":' + written + "}]"
    assert content(replace(event, properties=json.loads(content(event), parse_float=Decimal)[2])) == content(
        event
    )


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


@pytest.mark.parametrize(("dated", "same"), [(True, False), (False, True)], ids=["dated", "not dated"])
def test_an_event_without_an_instant_of_its_own_says_the_same_at_any_time(*, dated: bool, same: bool) -> None:
    first, again = (Arrival.of(CUSTOMER, Event("i", "n", at, {"a": 1}), at, {}, dated=dated) for at in (5, 6))
    assert (first.content == again.content) is same


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


def test_a_repeated_key_is_found_in_time_that_grows_with_the_keys_alone() -> None:
    """The last of 200,000 keys: to look through all for each took minutes."""
    keys = ",".join(f'"{number}":1' for number in range(200_000))
    began = time.process_time()
    with pytest.raises(InadmissibleError, match="repeats the key '199999'"):
        decode(f'{{"x":{{{keys},"199999":1}}}}')
    assert time.process_time() - began < 10


def test_a_long_key_is_not_told_in_full() -> None:
    key = "k" * 1_000_000
    with pytest.raises(InadmissibleError) as refused:
        decode(f'{{"{key}":1,"{key}":1}}')
    assert len(str(refused.value)) < 300
