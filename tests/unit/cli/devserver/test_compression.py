"""What a client accepts decides whether its answer is compressed."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from meterstone_cli.devserver.compression import MINIMUM, compress, wants_gzip
from meterstone_cli.devserver.gateway import Gateway, HttpRequest, Response

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        pytest.param([], False, id="no-header"),
        pytest.param([""], False, id="nothing"),
        pytest.param(["gzip"], True, id="gzip"),
        pytest.param(["GZip"], True, id="upper-case"),
        pytest.param(["x-gzip"], True, id="its-old-name"),
        pytest.param(["deflate, gzip, br"], True, id="one-of-several"),
        pytest.param(["br", "gzip"], True, id="in-two-headers"),
        pytest.param(["deflate, br"], False, id="others-alone"),
        pytest.param(["gzipped"], False, id="another-word"),
        pytest.param(["gzip;q=1"], True, id="q-1"),
        pytest.param(["gzip;q=0.001"], True, id="q-low"),
        pytest.param(["gzip;q=0"], False, id="q-0"),
        pytest.param(["gzip; q=0.000"], False, id="q-0-long"),
        pytest.param(["gzip ; Q = 0"], False, id="q-0-with-spaces"),
        pytest.param(["gzip;q=2"], False, id="q-over-1"),
        pytest.param(["gzip;q=nan"], False, id="q-no-number"),
        pytest.param(["gzip;q="], False, id="q-empty"),
        pytest.param(["gzip;level=9;q=0"], False, id="q-after-another-parameter"),
        pytest.param(["*"], True, id="any"),
        pytest.param(["*;q=0"], False, id="none-but-named"),
        pytest.param(["*;q=0, gzip"], True, id="gzip-named-beside-none"),
        pytest.param(["gzip;q=0, *"], False, id="any-but-gzip"),
        pytest.param(["identity"], False, id="as-it-is"),
        pytest.param(["identity, gzip"], True, id="as-it-is-no-better"),
        pytest.param(["identity;q=1, gzip;q=0.5"], False, id="as-it-is-rather"),
        pytest.param(["identity;q=0.5, gzip;q=0.9"], True, id="as-it-is-less"),
        pytest.param(["identity;q=0, gzip;q=0.1"], True, id="not-as-it-is"),
        pytest.param(["identity;q=0.5, *;q=0.1"], False, id="as-it-is-rather-than-any"),
    ],
)
def test_accept_encoding(accepted: list[str], *, wanted: bool) -> None:
    assert wants_gzip(accepted) is wanted


class Answering:
    """A function with one answer."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        return self.answer


def asked(answer: dict[str, Any], accepted: str | None = "gzip", method: str = "GET") -> Response:
    headers = [] if accepted is None else [("accept-encoding", accepted)]
    gateway = Gateway({"/things": Answering({"statusCode": 200, **answer})})
    return gateway.handle(HttpRequest(method, "/things", headers))


def values(response: Response, wanted: str) -> Sequence[str]:
    return [value for name, value in response.headers if name.lower() == wanted]


LONG = "x" * MINIMUM


@pytest.mark.parametrize(
    ("accepted", "size", "coding", "vary"),
    [
        pytest.param("gzip", MINIMUM, ["gzip"], ["Accept-Encoding"], id="long-and-accepted"),
        pytest.param("gzip", MINIMUM - 1, [], [], id="short"),
        pytest.param("gzip;q=0", MINIMUM, [], ["Accept-Encoding"], id="long-and-refused"),
        pytest.param(None, MINIMUM, [], ["Accept-Encoding"], id="long-and-not-asked-for"),
        pytest.param("gzip", 0, [], [], id="empty"),
    ],
)
@pytest.mark.parametrize("status", [200, 207, 400, 404, 503])
def test_answers_of_any_status(
    accepted: str | None, size: int, coding: list[str], vary: list[str], status: int
) -> None:
    response = asked({"statusCode": status, "body": "x" * size}, accepted)
    assert (values(response, "content-encoding"), values(response, "vary")) == (coding, vary)
    assert (gzip.decompress(response.body) if coding else response.body) == b"x" * size
    assert values(response, "content-type") == ["application/json"]


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_is_not_compressed(status: int) -> None:
    response = asked({"statusCode": status, "body": LONG})
    assert (response.body, values(response, "content-encoding")) == (b"", [])


def test_bytes_are_counted_not_characters() -> None:
    assert values(asked({"body": "é" * (MINIMUM // 2)}), "content-encoding") == ["gzip"]
    assert values(asked({"body": "é" * (MINIMUM // 2 - 1)}), "content-encoding") == []


def test_what_a_function_coded_stays_so() -> None:
    response = asked({"body": LONG, "headers": {"content-encoding": "br"}})
    assert (values(response, "content-encoding"), response.body) == (["br"], LONG.encode())


def test_what_an_answer_varies_by_already_stays() -> None:
    response = asked({"body": LONG, "headers": {"Vary": "Authorization"}})
    assert values(response, "vary") == ["Authorization", "Accept-Encoding"]


@pytest.mark.parametrize(
    ("tag", "accepted", "sent"),
    [
        pytest.param('"a"', "gzip", 'W/"a"', id="strong-compressed"),
        pytest.param('W/"a"', "gzip", 'W/"a"', id="weak-compressed"),
        pytest.param('"a"', None, '"a"', id="strong-as-it-is"),
    ],
)
def test_a_tag_of_bytes_is_weak_once_they_are_compressed(tag: str, accepted: str | None, sent: str) -> None:
    response = asked({"body": LONG, "headers": {"ETag": tag}}, accepted)
    assert values(response, "etag") == [sent]


def test_the_same_body_is_the_same_bytes() -> None:
    text = json.dumps(list(range(1_000))).encode()
    assert compress(text) == compress(text)
    # Where gzip writes the time, RFC 1952 says.
    assert compress(text)[4:8] == bytes(4)
    assert len(compress(text)) < len(text) / 2


def test_the_least_size_is_the_templates() -> None:
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    yaml = YAML(typ="rt")
    assert yaml.load(text)["Resources"]["Api"]["Properties"]["MinimumCompressionSize"] == MINIMUM
