"""Requests as Lago's contract reads them, and its refusals; `support.lago_client` has the official client's."""

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from meterstone.contracts.message import Reply, Request, RequestRefusedError

#: What no id of Lago's can be, and the code of the refusal.
BAD_IDS: Final = [
    pytest.param(None, "value_is_mandatory", id="null"),
    pytest.param("", "value_is_mandatory", id="empty"),
    pytest.param(" \t", "value_is_mandatory", id="blank"),
    pytest.param("x" * 256, "value_is_too_long", id="long"),
    pytest.param("a\0", "value_is_invalid", id="NUL"),
    pytest.param("a ", "value_is_invalid", id="white space at the end"),
    pytest.param("\ud800", "value_is_invalid", id="half a pair"),
    pytest.param(5, "value_is_invalid", id="number"),
    pytest.param(True, "value_is_invalid", id="boolean"),
    pytest.param(["a"], "value_is_invalid", id="list"),
    pytest.param({"a": 1}, "value_is_invalid", id="object"),
]


def request(
    body: object = None, path: str = "", parameters: dict[str, list[str]] | None = None, *, raw: str = ""
) -> Request:
    """Make a request with a body, or with the text of one, the id in its path, and query parameters."""
    return Request.of(
        {
            "httpMethod": "POST",
            "path": "/",
            "body": raw or json.dumps(body),
            "pathParameters": {"external_id": path, "external_customer_id": path},
            "multiValueQueryStringParameters": parameters,
        }
    )


def refused(parse: Callable[[], object]) -> tuple[int, dict[str, Any]]:
    """Return the status and the body with which a request is refused."""
    with pytest.raises(RequestRefusedError) as caught:
        parse()
    return caught.value.reply.status, json.loads(caught.value.reply.body)


def details(parse: Callable[[], object]) -> Any:
    """Return the codes of what is wrong, by field. Each has a reason."""
    status, body = refused(parse)
    assert status == 422
    assert body["error_details"].keys() == body["reasons"].keys()
    return body["error_details"]


def body_of(reply: Reply) -> Any:
    """Return the body of an answer."""
    assert reply.status == 200
    return json.loads(reply.body)
