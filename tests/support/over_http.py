"""Requests to an address, with nothing but the standard library between the test and the answer."""

import json
import urllib.error
import urllib.request
from typing import Any


def call(
    url: str, *, method: str = "GET", headers: dict[str, str] | None = None, body: bytes | None = None
) -> tuple[int, Any]:
    """Return the status and the body, decoded if it is JSON. Raises `URLError` if there is no answer."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - http to a local emulator
            return answer.status, _decoded(answer)
    except urllib.error.HTTPError as error:
        return error.code, _decoded(error)


def _decoded(answer: Any) -> Any:
    text = answer.read().decode()
    return json.loads(text) if text and answer.headers.get_content_type() == "application/json" else text
