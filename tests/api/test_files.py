"""Files that a function carries: `GET /openapi.yaml`."""

import json
from pathlib import Path
from typing import Any

import pytest

from meterstone.edge.files import File, Files
from support import functions

DOCUMENT = (Path(__file__).parents[2] / "openapi.yaml").read_text(encoding="utf-8")
KEYS = {"status", "error", "code", "message", "http_status_code"}


def event(method: str = "GET", resource: str = "/openapi.yaml", **others: Any) -> dict[str, Any]:
    return {"httpMethod": method, "resource": resource, "path": f"/base{resource}", **others}


@pytest.fixture(scope="module")
def described() -> Any:
    return functions.load("describe_api")


def header(reply: dict[str, Any], name: str) -> str:
    (value,) = reply["multiValueHeaders"][name]
    return str(value)


def test_the_description_is_served_without_a_key_and_behind_any_base_path(described: Any) -> None:
    reply = described.handler(event(), None)
    assert (reply["statusCode"], reply["body"]) == (200, DOCUMENT)
    assert header(reply, "Content-Type") == "application/yaml; charset=utf-8"


def test_head_has_the_headers_alone(described: Any) -> None:
    whole, head = described.handler(event(), None), described.handler(event("HEAD"), None)
    assert (head["statusCode"], head["body"]) == (200, "")
    assert head["multiValueHeaders"] == whole["multiValueHeaders"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        pytest.param("{tag}", 304, id="the-same"),
        pytest.param("W/{tag}", 304, id="weak-as-a-compressing-gateway-makes-it"),
        pytest.param('"other", {tag}', 304, id="one-of-several"),
        pytest.param('"other"', 200, id="another"),
        pytest.param("", 200, id="none"),
    ],
)
def test_whoever_has_the_document_is_told_so(described: Any, asked: str, status: int) -> None:
    tag = header(described.handler(event(), None), "ETag")
    reply = described.handler(event(headers={"If-None-Match": asked.format(tag=tag)}), None)
    assert reply["statusCode"] == status
    assert (reply["body"] == "") is (status == 304)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_another_method_is_405_with_those_that_are(described: Any, method: str) -> None:
    reply = described.handler(event(method), None)
    assert (reply["statusCode"], header(reply, "Allow")) == (405, "GET, HEAD")
    assert json.loads(reply["body"]).keys() == KEYS


def test_a_part_of_the_path_names_the_file() -> None:
    files = Files({"/page/a.css": File("a {}", "text/css")})
    found = files.handler(event(resource="/page/{name}", pathParameters={"name": "a.css"}), None)
    missing = files.handler(event(resource="/page/{name}", pathParameters={"name": "b.css"}), None)
    assert (found["statusCode"], found["body"]) == (200, "a {}")
    assert missing["statusCode"] == 404
    assert json.loads(missing["body"]).keys() == KEYS


def test_a_request_is_one_log_line(described: Any, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    functions.forget_logger("meterstone")
    functions.load("describe_api").handler(event(headers={"Authorization": "Bearer secret"}), None)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) | {"route": "GET /openapi.yaml", "status": 200} == json.loads(line)
    assert "secret" not in line
