"""An id in a path: read one way alone, as the gateway gives it."""

import pytest

from meterstone.contracts.message import Request
from meterstone.contracts.path_id import read_path_id


def request(part: str) -> Request:
    return Request("GET", "/", "", {}, {}, "", is_base64=False, path_parameters={"id": part})


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("acme", "acme"),
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("str%C3%B6m", "ström"),
        ("ström", "ström"),
        ("a/b", "a/b"),
        ("a b%2Fc", "a b%2Fc"),
        ("100%", "100%"),
        ("a+b", "a+b"),
        ("%F0%9F%90%A6" * 255, "🐦" * 255),
    ],
    ids=[
        *("plain", "a slash", "a percent sign", "sent", "decoded by the gateway", "a decoded slash"),
        *("a decoded text that looks sent", "a decoded percent sign", "a plus", "the longest"),
    ],
)
def test_an_id_is_decoded_once(part: str, name: str) -> None:
    assert read_path_id(request(part), "id") == name


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("", "1 to 255 characters"),
        ("x" * 256, "1 to 255 characters"),
        ("%FF", "UTF-8"),
        ("%C3%28", "UTF-8"),
        ("a%00b", "control characters"),
        ("a%0Ab", "control characters"),
        ("\ud800", "control characters"),
    ],
    ids=["empty", "too long", "no UTF-8", "half a character", "NUL", "two lines", "half a pair"],
)
def test_what_no_id_can_be_is_refused(part: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_path_id(request(part), "id")
