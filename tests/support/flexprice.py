"""Requests as Flexprice's contract reads them, and its refusals; `support.flexprice_client` has the client's."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from meterstone.contracts.message import Reply, Request, RequestRefusedError


def request(body: object, **parameters: str) -> Request:
    """Make a request with a body and query parameters."""
    text = json.dumps(body)
    return Request.of({"httpMethod": "POST", "path": "/", "body": text, "queryStringParameters": parameters})


def post(**fields: Any) -> Request:
    """Make a request whose body has some fields."""
    return request(fields)


def body_of(reply: Reply, status: int = 200) -> dict[str, Any]:
    """Return the body of an answer."""
    assert reply.status == status
    found: dict[str, Any] = json.loads(reply.body)
    return found


def reasons(reply: Reply) -> dict[str, str]:
    """Return the reasons of a refusal, by field; none if the whole body is none. It is in Flexprice's shape."""
    body = body_of(reply, 400)
    assert (body["code"], body["http_status_code"]) == ("validation_error", 400)
    return {name: detail["reason"] for name, detail in body.get("details", {}).items()}


def refused(parse: Callable[[], object]) -> dict[str, str]:
    """Return what is wrong with a request that is refused: the reasons, by field."""
    with pytest.raises(RequestRefusedError) as caught:
        parse()
    return reasons(caught.value.reply)
