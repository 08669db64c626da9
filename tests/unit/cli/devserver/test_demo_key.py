"""The demo's key stands in the page for a browser of this machine, and for nobody else."""

from collections.abc import Mapping
from typing import Any

import pytest

from meterstone_cli.devserver.demo_key import PAGE, with_demo_key

KEY = "mst_demo"
HTML = "<html>\n<head>\n</head></html>"


class Page:
    """Answers the page, or 304 to whoever has it."""

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        del request_id
        known = "if-none-match" in {name.lower() for name in event["headers"]}
        headers = {
            "ETag": ['"1"'],
            "Cache-Control": ["no-cache"],
            "Content-Security-Policy": ["default-src 'none'"],
        }
        return {
            "statusCode": 304 if known else 200,
            "body": "" if known else HTML,
            "multiValueHeaders": headers,
        }


def asked(host: str, address: str = "127.0.0.1", **headers: str) -> Mapping[str, Any]:
    event = {
        "headers": {"Host": host, **headers},
        "multiValueHeaders": {"Host": [host], **{name: [value] for name, value in headers.items()}},
        "requestContext": {"identity": {"sourceIp": address}},
    }
    answer: Any = with_demo_key({PAGE: Page()}, KEY)[PAGE].invoke(event, "r")
    return dict(answer)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:8000", "127.0.0.2"])
def test_a_loopback_name_gets_the_key(host: str) -> None:
    answer = asked(host)
    assert f'<head>\n    <meta name="demo-key" content="{KEY}">' in answer["body"]
    assert answer["multiValueHeaders"]["Cache-Control"] == ["no-store"]
    assert "ETag" not in answer["multiValueHeaders"]
    assert answer["multiValueHeaders"]["Content-Security-Policy"] == ["default-src 'none'"]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("evil.example", "127.0.0.1"),
        ("evil.example:8000", "127.0.0.1"),
        ("localhost.evil.example", "127.0.0.1"),
        ("127.0.0.1.evil.example", "127.0.0.1"),
        ("192.168.1.5:8000", "192.168.1.5"),
        ("localhost:8000", "192.168.1.5"),
        ("", "127.0.0.1"),
    ],
    ids=[
        "rebound name",
        "with a port",
        "localhost in front",
        "address in front",
        "another",
        "from another",
        "none",
    ],
)
def test_any_other_gets_the_page_alone(host: str, address: str) -> None:
    answer = asked(host, address)
    assert answer["body"] == HTML
    assert answer["multiValueHeaders"]["ETag"] == ['"1"']


def test_a_page_without_the_key_is_never_taken_for_the_one_with_it() -> None:
    assert KEY in asked("localhost", **{"If-None-Match": '"1"'})["body"]
