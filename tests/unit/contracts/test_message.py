"""Requests as both contracts see them, out of API Gateway's events."""

import base64
from decimal import Decimal
from typing import Any

import pytest

from meterstone.contracts.message import Reply, Request, number, possible_key


def request(**fields: Any) -> Request:
    return Request.of({"httpMethod": "GET", "path": "/v1"} | fields)


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param(
            {"queryStringParameters": None, "multiValueQueryStringParameters": None}, {}, id="nulls"
        ),
        pytest.param({"queryStringParameters": {"a": "1"}}, {"a": ("1",)}, id="single-valued"),
        pytest.param({"queryStringParameters": {"a": None}}, {"a": ("",)}, id="without a value"),
        pytest.param(
            {"multiValueQueryStringParameters": {"a": ["1", "2"]}}, {"a": ("1", "2")}, id="several values"
        ),
        pytest.param(
            {
                "queryStringParameters": {"a": "2", "b": "3"},
                "multiValueQueryStringParameters": {"a": ["1", "2"]},
            },
            {"a": ("1", "2"), "b": ("3",)},
            id="several values come before a single one",
        ),
        pytest.param(
            {"queryStringParameters": {"a": "2"}, "multiValueQueryStringParameters": {"a": []}},
            {"a": ("2",)},
            id="an empty list of values says nothing",
        ),
        pytest.param({"multiValueQueryStringParameters": {"a": []}}, {}, id="nor does it alone"),
    ],
)
def test_request_of_an_event_has_every_value_of_a_parameter(
    fields: dict[str, Any], parameters: dict[str, tuple[str, ...]]
) -> None:
    assert request(**fields).parameters == parameters


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        pytest.param({}, None, id="absent"),
        pytest.param({"headers": {"X-Name": "a"}}, "a", id="another case"),
        pytest.param({"headers": {"x-name": " a "}}, "a", id="spaces around"),
        pytest.param({"headers": {"x-name": None}}, "", id="without a value"),
        pytest.param({"multiValueHeaders": {"x-name": ["a"]}}, "a", id="a list of one"),
        pytest.param({"multiValueHeaders": {"x-name": ["a", "b"]}}, None, id="two values"),
        pytest.param({"multiValueHeaders": {"x-name": []}}, None, id="an empty list"),
        pytest.param(
            {"headers": {"x-name": "a"}, "multiValueHeaders": {"x-name": []}},
            "a",
            id="an empty list beside it",
        ),
        pytest.param({"headers": {"x-name": "a", "X-NAME": "a"}}, "a", id="one value in two spellings"),
        pytest.param({"headers": {"x-name": "a", "X-NAME": "b"}}, None, id="two values in two spellings"),
        pytest.param({"headers": {"x-other": "a"}}, None, id="another header"),
    ],
)
def test_header_is_the_one_value(fields: dict[str, Any], value: str | None) -> None:
    assert request(**fields).header("x-name") == value


@pytest.mark.parametrize(
    ("context", "request_id"),
    [(None, ""), ({}, ""), ({"requestId": None}, ""), ({"requestId": "r-1"}, "r-1")],
)
def test_request_of_an_event_has_its_id(context: dict[str, Any] | None, request_id: str) -> None:
    assert request(requestContext=context).id == request_id


@pytest.mark.parametrize(
    ("body", "is_base64", "text"),
    [
        (None, None, ""),
        ("", False, ""),
        ("äbc", False, "äbc"),
        ("YWJj", False, "YWJj"),
        ("YWJj", True, "abc"),
        (base64.b64encode("ä".encode()).decode(), True, "ä"),
    ],
)
def test_body_is_text(body: str | None, is_base64: bool | None, text: str) -> None:  # noqa: FBT001
    assert request(body=body, isBase64Encoded=is_base64).body() == text


@pytest.mark.parametrize(
    ("body", "is_base64"),
    [
        pytest.param("\ud800", False, id="half of a surrogate pair"),
        pytest.param("YWJ", True, id="base64 cut off"),
        pytest.param("YW*Jj", True, id="no base64"),
        pytest.param(base64.b64encode(b"\xff").decode(), True, id="no UTF-8"),
    ],
)
def test_body_that_is_no_text(body: str, is_base64: bool) -> None:  # noqa: FBT001
    with pytest.raises(ValueError, match=r"surrogates|base64|padding|can't decode"):
        request(body=body, isBase64Encoded=is_base64).body()


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        pytest.param("k", True, id="one character"),
        pytest.param("!~k-1_", True, id="visible ASCII"),
        pytest.param("k" * 512, True, id="512 characters"),
        pytest.param("k" * 513, False, id="513 characters"),
        pytest.param("", False, id="empty"),
        pytest.param("k 1", False, id="a space"),
        pytest.param("k\t1", False, id="a tab"),
        pytest.param("k\x7f", False, id="a control character"),
        pytest.param("ké", False, id="not ASCII"),
    ],
)
def test_possible_key(text: str, possible: bool) -> None:  # noqa: FBT001
    assert possible_key(text) == (text if possible else None)


@pytest.mark.parametrize(
    ("value", "text"), [("1E-7", "0.0000001"), ("1E+3", "1000"), ("2.50", "2.5"), ("-0.0", "0")]
)
def test_number_is_exact_and_has_no_exponent(value: str, text: str) -> None:
    assert Reply.of(200, [number(Decimal(value))]).body == f"[{text}]"
