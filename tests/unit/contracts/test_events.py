"""How the body of a request with events is read, and the headers of events that nothing counts."""

import pytest

from meterstone.contracts.events import UNMATCHED, UNMATCHED_COUNT, read_object, unmatched_headers
from meterstone.contracts.message import Reply, Request, RequestRefusedError
from meterstone.usage.arrival import Outcome, Receipt


def request(body: str | None, *, is_base64: bool = False) -> Request:
    return Request.of({"httpMethod": "POST", "path": "/", "body": body, "isBase64Encoded": is_base64})


def receipt(unmatched: dict[int, str]) -> Receipt:
    return Receipt(dict.fromkeys(unmatched, Outcome.NEW), unmatched)


@pytest.mark.parametrize(
    ("unmatched", "listed"),
    [
        pytest.param({0: "subscription"}, "0=subscription", id="one"),
        pytest.param({3: "subscription", 5: "code"}, "3=subscription, 5=code", id="two"),
        pytest.param({10: "code", 9: "customer"}, "9=customer, 10=code", id="by place"),
    ],
)
def test_unmatched_headers(unmatched: dict[int, str], listed: str) -> None:
    assert unmatched_headers(receipt(unmatched)) == {UNMATCHED: listed, UNMATCHED_COUNT: str(len(unmatched))}


def test_unmatched_headers_of_none_are_none() -> None:
    assert unmatched_headers(receipt({})) == {}


@pytest.mark.parametrize(("events", "listed"), [(49, 49), (50, 50), (51, 50), (1000, 50)])
def test_unmatched_headers_list_fifty_and_count_all(events: int, listed: int) -> None:
    headers = unmatched_headers(receipt(dict.fromkeys(reversed(range(events)), "code")))

    assert headers[UNMATCHED].split(", ") == [f"{place}=code" for place in range(listed)]
    assert headers[UNMATCHED_COUNT] == str(events)


@pytest.mark.parametrize(
    ("body", "escaped"),
    [
        pytest.param('{"a": 1}', False, id="plain"),
        pytest.param('{"a": "ä"}', True, id="beyond ASCII"),
        pytest.param(r'{"a": "\u00e4"}', True, id="an escape"),
        pytest.param(r'{"a": "\n"}', False, id="another escape"),
    ],
)
def test_read_object_tells_whether_text_needs_a_look(body: str, escaped: bool) -> None:  # noqa: FBT001
    found, told = read_object(request(body), lambda reason: Reply.of(400, reason))

    assert list(found) == ["a"]
    assert told is escaped


@pytest.mark.parametrize(
    ("body", "is_base64", "reason"),
    [
        pytest.param("", False, "the body is not JSON: Expecting value (column 1)", id="empty"),
        pytest.param('{"a": 1,\n}', False, "the body is not JSON: ", id="no JSON"),
        pytest.param("[]", False, "the body is not a JSON object", id="a list"),
        pytest.param("null", False, "the body is not a JSON object", id="null"),
        pytest.param("*", True, "the body is not text", id="no base64"),
        pytest.param("/w==", True, "the body is not text", id="no UTF-8"),
        pytest.param('{"n": 1, "a": 2, "n": 3}', False, "the body repeats the key 'n'", id="a repeated key"),
        pytest.param(
            '{"a": 1, "n": 2, "n": 3}', False, "the body repeats the key 'n'", id="not the first key"
        ),
        pytest.param(
            '{"a": 1, "b": 2, "b": 3, "a": 4}', False, "the body repeats the key 'a'", id="two of them"
        ),
        pytest.param('{"x": {"b": 1, "c": 2, "c": 3}}', False, "the body repeats the key 'c'", id="inside"),
    ],
)
def test_read_object_says_what_is_wrong(body: str, is_base64: bool, reason: str) -> None:  # noqa: FBT001
    with pytest.raises(RequestRefusedError) as refused:
        read_object(request(body, is_base64=is_base64), lambda why: Reply.of(400, why))

    assert refused.value.reply.status == 400
    assert refused.value.reply.body.strip('"').startswith(reason)
