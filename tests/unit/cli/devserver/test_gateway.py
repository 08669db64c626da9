"""Requests become proxy events, and a handler's answers responses, as API Gateway makes them."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from meterstone_cli.devserver.function import FunctionBusyError, FunctionFailedError
from meterstone_cli.devserver.gateway import (
    BODY_LIMIT,
    HEADER_LIMIT,
    PAYLOAD_LIMIT,
    Gateway,
    HttpRequest,
    MalformedResponseError,
    gateway_response,
    http_response,
    proxy_event,
)

ROOT = Path(__file__).parents[4]
NOW = datetime(2024, 2, 29, 12, 30, 45, 678_000, tzinfo=UTC)


class Recorder:
    """A function that answers what it is told to, and keeps its events."""

    def __init__(self, answer: object = None) -> None:
        self.answer = {"statusCode": 200, "body": "{}"} if answer is None else answer
        self.events: list[dict[str, Any]] = []

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        self.events.append(event)
        assert event["requestContext"]["requestId"] == request_id
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def event_of(target: str = "/things", **request: Any) -> dict[str, Any]:
    return proxy_event(HttpRequest(request.pop("method", "GET"), target, **request), "/things", "r-1", NOW)


def answered(answer: object) -> int:
    return Gateway({"/things": Recorder(answer)}).handle(HttpRequest("GET", "/things")).status


@pytest.mark.parametrize(
    ("query", "single", "multiple"),
    [
        pytest.param("", None, None, id="none"),
        pytest.param("?", None, None, id="empty"),
        pytest.param("?a=1&b=2", {"a": "1", "b": "2"}, {"a": ["1"], "b": ["2"]}, id="two"),
        pytest.param("?a=1&a=2", {"a": "2"}, {"a": ["1", "2"]}, id="repeated"),
        pytest.param("?a", {"a": ""}, {"a": [""]}, id="no-value"),
        pytest.param("?a=&b=1", {"a": "", "b": "1"}, {"a": [""], "b": ["1"]}, id="empty-value"),
        pytest.param("?a=x+y%20z", {"a": "x y z"}, {"a": ["x y z"]}, id="spaces"),
        pytest.param("?a=x%2By", {"a": "x+y"}, {"a": ["x+y"]}, id="plus"),
        pytest.param("?a=%2541", {"a": "%41"}, {"a": ["%41"]}, id="decoded-once"),
        pytest.param("?a=%C3%A9", {"a": "é"}, {"a": ["é"]}, id="utf-8"),
        pytest.param("?a=%FF", {"a": "�"}, {"a": ["�"]}, id="not-utf-8"),
        pytest.param("?a=100%", {"a": "100%"}, {"a": ["100%"]}, id="no-escape"),
        pytest.param("?a%5B%5D=1", {"a[]": "1"}, {"a[]": ["1"]}, id="name"),
        pytest.param("?a=%00%0A", {"a": "\x00\n"}, {"a": ["\x00\n"]}, id="control"),
        pytest.param("?a=b=c;d", {"a": "b=c;d"}, {"a": ["b=c;d"]}, id="delimiters-in-value"),
        pytest.param("?a=/x?y", {"a": "/x?y"}, {"a": ["/x?y"]}, id="question-mark"),
    ],
)
def test_query(query: str, single: dict[str, str] | None, multiple: dict[str, list[str]] | None) -> None:
    event = event_of(f"/things{query}")
    assert event["queryStringParameters"] == single
    assert event["multiValueQueryStringParameters"] == multiple


def test_headers() -> None:
    event = event_of(headers=[("Host", "127.0.0.1:8000"), ("X-Tag", "a"), ("x-api-key", "k"), ("X-Tag", "b")])
    assert event["headers"]["X-Tag"] == "b"
    assert event["multiValueHeaders"]["X-Tag"] == ["a", "b"]
    assert event["headers"]["x-api-key"] == "k"
    assert event["headers"]["X-Forwarded-Port"] == "8000"
    assert event["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert event["headers"].keys() == event["multiValueHeaders"].keys()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", None, id="none"),
        pytest.param(b'{"a": 1}', '{"a": 1}', id="text"),
        pytest.param("é".encode(), "é", id="utf-8"),
        pytest.param(b"\xff{", "�{", id="not-utf-8"),
    ],
)
def test_body(body: bytes, expected: str | None) -> None:
    event = event_of(method="POST", body=body)
    assert event["body"] == expected
    assert event["isBase64Encoded"] is False


def test_context() -> None:
    context = event_of(headers=[("User-Agent", "curl/8")], source_ip="127.0.0.2")["requestContext"]
    assert context["requestId"] == "r-1"
    assert context["stage"] == "local"
    assert context["path"] == "/local/things"
    assert context["resourcePath"] == "/things"
    assert context["httpMethod"] == "GET"
    assert context["requestTime"] == "29/Feb/2024:12:30:45 +0000"
    assert context["requestTimeEpoch"] == 1_709_209_845_678
    assert context["identity"]["sourceIp"] == "127.0.0.2"
    assert context["identity"]["userAgent"] == "curl/8"


def test_event_is_json_and_has_the_keys_of_payload_1_0() -> None:
    event = event_of("/things?a=1")
    assert json.loads(json.dumps(event)) == event
    assert sorted(event) == [
        "body",
        "headers",
        "httpMethod",
        "isBase64Encoded",
        "multiValueHeaders",
        "multiValueQueryStringParameters",
        "path",
        "pathParameters",
        "queryStringParameters",
        "requestContext",
        "resource",
        "stageVariables",
    ]


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        pytest.param("GET", "/things", 200, id="known"),
        pytest.param("DELETE", "/things?a=1", 200, id="any-method"),
        pytest.param("GET", "/things/", 200, id="slash-at-the-end"),
        pytest.param("GET", "/th%69ngs", 200, id="encoded"),
        pytest.param("GET", "/Things", 404, id="case"),
        pytest.param("GET", "/things/1", 404, id="below"),
        pytest.param("GET", "/things//", 404, id="two-slashes"),
        pytest.param("GET", "/", 404, id="root"),
        pytest.param("OPTIONS", "*", 404, id="asterisk"),
    ],
)
def test_routes(method: str, target: str, status: int) -> None:
    things = Recorder()
    assert Gateway({"/things": things}).handle(HttpRequest(method, target)).status == status
    assert len(things.events) == (status == 200)


@pytest.mark.parametrize(
    ("target", "resource", "parameters"),
    [
        pytest.param("/things/7", "/things/{id}", {"id": "7"}, id="a part that is named"),
        pytest.param("/things/7/", "/things/{id}", {"id": "7"}, id="a slash at the end"),
        pytest.param("/things/a%2Fb%20%C3%A9?x=1", "/things/{id}", {"id": "a%2Fb%20%C3%A9"}, id="encoded"),
        pytest.param("/things/all", "/things/all", None, id="a route of its own goes first"),
        pytest.param("/things", "/things", None, id="no part"),
    ],
)
def test_a_route_may_name_a_part_of_the_path(
    target: str, resource: str, parameters: dict[str, str] | None
) -> None:
    things = Recorder()
    Gateway(dict.fromkeys(("/things/{id}", "/things", "/things/all"), things)).handle(
        HttpRequest("GET", target)
    )
    (event,) = things.events
    assert (event["resource"], event["pathParameters"]) == (resource, parameters)


@pytest.mark.parametrize("target", ["/things/7/8", "/other/7", "/things//"])
def test_a_path_of_other_parts_is_no_route(target: str) -> None:
    things = Recorder()
    assert Gateway({"/things/{id}": things}).handle(HttpRequest("GET", target)).status == 404


def test_a_slash_at_the_end_stays_in_the_path() -> None:
    things = Recorder()
    Gateway({"/things": things}).handle(HttpRequest("GET", "/things/"))
    assert (things.events[0]["resource"], things.events[0]["path"]) == ("/things", "/things/")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(HttpRequest("POST", "/things", body=b"x" * 1_000_000), 200, id="1-MB"),
        pytest.param(HttpRequest("POST", "/things", body=b"x" * PAYLOAD_LIMIT), 413, id="lambda-payload"),
        pytest.param(
            HttpRequest("POST", "/things", body=b"\0" * (PAYLOAD_LIMIT // 6 + 1)), 413, id="escaped"
        ),
        pytest.param(HttpRequest("POST", "/things", body=b"x" * (BODY_LIMIT + 1)), 413, id="gateway-payload"),
        pytest.param(HttpRequest("GET", "/things?a=" + "x" * (HEADER_LIMIT - 13)), 200, id="long-line"),
        pytest.param(HttpRequest("GET", "/things?a=" + "x" * (HEADER_LIMIT - 12)), 413, id="longer-line"),
        pytest.param(HttpRequest("GET", "/things", [("A", "x" * HEADER_LIMIT)]), 413, id="long-header"),
        pytest.param(HttpRequest("GET", "/things", [("A", "x")] * HEADER_LIMIT), 413, id="many-headers"),
    ],
)
def test_limits(request_: HttpRequest, status: int) -> None:
    assert Gateway({"/things": Recorder()}).handle(request_).status == status


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param({"statusCode": 204}, 204, id="no-body"),
        pytest.param(FunctionFailedError("it raised"), 502, id="failed"),
        pytest.param(FunctionBusyError("all the time"), 504, id="busy"),
        pytest.param("text", 502, id="text"),
        pytest.param([], 502, id="list"),
        pytest.param({"statusCode": "200"}, 502, id="status-text"),
        pytest.param({"statusCode": 99}, 502, id="status-low"),
        pytest.param({"statusCode": 600}, 502, id="status-high"),
        pytest.param({"body": "{}"}, 502, id="no-status"),
        pytest.param({"statusCode": 200, "body": {}}, 502, id="body-object"),
        pytest.param({"statusCode": 200, "headers": []}, 502, id="headers-list"),
        pytest.param({"statusCode": 200, "headers": {"A": ["b"]}}, 502, id="header-list"),
        pytest.param({"statusCode": 200, "headers": {"A": "b\r\nC: d"}}, 502, id="header-injection"),
        pytest.param({"statusCode": 200, "headers": {"A": "é"}}, 502, id="header-not-ascii"),
        pytest.param({"statusCode": 200, "headers": {"A b": "c"}}, 502, id="header-name-of-two-words"),
        pytest.param({"statusCode": 200, "headers": {"": "c"}}, 502, id="header-without-a-name"),
        pytest.param({"statusCode": 200, "multiValueHeaders": {"A": "b"}}, 502, id="header-no-list"),
        pytest.param({"statusCode": 200, "body": "?", "isBase64Encoded": True}, 502, id="no-base64"),
        pytest.param({"statusCode": 200, "body": "x" * PAYLOAD_LIMIT}, 502, id="over-6-MB"),
    ],
)
def test_answers(answer: object, status: int) -> None:
    assert answered(answer) == status


@pytest.mark.parametrize(
    ("answer", "headers"),
    [
        pytest.param({}, [("Content-Type", "application/json")], id="json-by-default"),
        pytest.param(
            {"headers": {"content-type": "text/plain"}}, [("content-type", "text/plain")], id="said"
        ),
        pytest.param(
            {"multiValueHeaders": {"Content-Type": ["a/b"], "Set-Cookie": ["a", "b"]}},
            [("Content-Type", "a/b"), ("Set-Cookie", "a"), ("Set-Cookie", "b")],
            id="several",
        ),
        pytest.param(
            {"headers": {"Content-Type": "a/b", "X": "2"}, "multiValueHeaders": {"X": ["1", "2"]}},
            [("X", "1"), ("X", "2"), ("Content-Type", "a/b")],
            id="both",
        ),
        pytest.param(
            {"headers": {"Content-Type": "a/b", "Retry-After": 5, "X": True}},
            [("Content-Type", "a/b"), ("Retry-After", "5"), ("X", "true")],
            id="scalars",
        ),
        pytest.param(
            {"headers": {"Content-Type": "a/b", "X": " y z "}},
            [("Content-Type", "a/b"), ("X", "y z")],
            id="spaces",
        ),
        pytest.param(
            {"headers": {"Content-Type": "a/b", "Content-Length": "9", "Transfer-Encoding": "chunked"}},
            [("Content-Type", "a/b")],
            id="framing",
        ),
    ],
)
def test_answered_headers(answer: Mapping[str, object], headers: list[tuple[str, str]]) -> None:
    assert list(http_response({"statusCode": 200, **answer}).headers) == headers


def test_answered_body() -> None:
    assert http_response({"statusCode": 200, "body": "é"}).body == "é".encode()
    encoded = base64.b64encode(b"\xff").decode()
    assert http_response({"statusCode": 200, "body": encoded, "isBase64Encoded": True}).body == b"\xff"


def test_what_is_wrong_with_an_answer_is_said() -> None:
    with pytest.raises(MalformedResponseError, match="body is a dict"):
        http_response({"statusCode": 200, "body": {}})


def test_every_response_has_its_request_id() -> None:
    things = Recorder()
    gateway = Gateway({"/things": things})
    sent = [
        dict(gateway.handle(HttpRequest("GET", path)).headers)["x-amzn-RequestId"]
        for path in ("/things", "/")
    ]
    assert sent[0] == things.events[0]["requestContext"]["requestId"]
    assert sent[0] != sent[1]


class TemplateLoader(yaml.SafeLoader):
    """CloudFormation's short tags, as nothing."""


TemplateLoader.add_multi_constructor("!", lambda loader, tag, node: None)
TEMPLATE = yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), TemplateLoader)["Resources"]  # noqa: S506


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("DEFAULT_4XX", 400),
        ("MISSING_AUTHENTICATION_TOKEN", 404),
        ("REQUEST_TOO_LARGE", 413),
        ("INTEGRATION_FAILURE", 502),
        ("INTEGRATION_TIMEOUT", 504),
    ],
)
def test_the_gateways_own_bodies_are_the_templates(kind: str, status: int) -> None:
    stated = TEMPLATE["Api"]["Properties"]["GatewayResponses"][kind]
    response = gateway_response(status)
    assert response.status == stated["StatusCode"]
    assert json.loads(response.body) == json.loads(stated["ResponseTemplates"]["application/json"])
    stated_headers = stated.get("ResponseParameters", {}).get("Headers", {})
    assert dict(response.headers) == {"Content-Type": "application/json"} | {
        name: value.strip("'") for name, value in stated_headers.items()
    }
