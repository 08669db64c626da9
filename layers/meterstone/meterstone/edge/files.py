"""Text files over HTTP, for a function that carries them: without a key, and without a table.

A file is answered with its entity tag, so that whoever has it asks only whether it has changed. Wrong methods and
unknown paths get the body that the gateway's own errors have, since no contract is spoken.
"""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Final

from aws_lambda_powertools.logging import Logger

from meterstone.contracts.message import Request

_SERVICE: Final = "meterstone"
_METHODS: Final = ("GET", "HEAD")
_NOT_FOUND: Final = (404, "Not Found", "not_found", "There is no such route.")
_WRONG_METHOD: Final = (405, "Method Not Allowed", "method_not_allowed", "The method is not allowed here.")


@dataclass(frozen=True, slots=True)
class File:
    """A text, its media type, and the headers that it is sent with. ``tag`` is its entity tag."""

    text: str
    media_type: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """The strong entity tag: a digest of the text."""
        return f'"{hashlib.sha256(self.text.encode()).hexdigest()[:32]}"'


class Files:
    """Answers GET and HEAD of files, each under the path that the gateway's route and its parts make.

    The path of the event is not used for this: behind a custom domain it begins with the domain's base path. It
    only says whether an address ends in a slash. `pages` are paths that refer to files below them by relative
    addresses, which mean something else after a slash: with one, such a path is answered with a redirection.
    """

    def __init__(self, files: Mapping[str, File], pages: Collection[str] = ()) -> None:
        self._files = {path: (file, file.tag) for path, file in files.items()}
        self._pages = pages
        self._logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", _SERVICE), location=None)
        self._cold = True

    def handler(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """Answer a REST proxy event (payload 1.0). One log line a request."""
        started = perf_counter()
        reply = self._answer(event)
        self._logger.info(
            "request",
            extra={
                "route": f"{event.get('httpMethod')} {event.get('resource')}",
                "status": reply["statusCode"],
                "milliseconds": round((perf_counter() - started) * 1000, 3),
                "request_id": (event.get("requestContext") or {}).get("requestId"),
                "function_request_id": getattr(context, "aws_request_id", None),
                "cold_start": self._cold,
            },
        )
        self._cold = False
        return reply

    def _answer(self, event: Mapping[str, Any]) -> dict[str, Any]:
        path = event.get("resource") or event["path"]
        for name, value in (event.get("pathParameters") or {}).items():
            path = path.replace(f"{{{name}}}", value)
        found = self._files.get(path)
        if found is None:
            return _refusal(*_NOT_FOUND)
        request = Request.of(event)
        if request.method.upper() not in _METHODS:
            return _refusal(*_WRONG_METHOD, {"Allow": ", ".join(_METHODS)})
        if path in self._pages and event["path"].endswith("/"):
            return _reply(
                308, "", {"Location": f"../{path.rpartition('/')[2]}", "Content-Type": "text/plain"}
            )
        file, tag = found
        headers = {"ETag": tag, "X-Content-Type-Options": "nosniff", **file.headers}
        if tag in {
            each.strip().removeprefix("W/") for each in (request.header("if-none-match") or "").split(",")
        }:
            return _reply(304, "", headers)
        body = "" if request.method.upper() == "HEAD" else file.text
        return _reply(200, body, {"Content-Type": file.media_type, **headers})


def _refusal(
    status: int, error: str, code: str, message: str, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    body = {"status": status, "error": error, "code": code, "message": message, "http_status_code": status}
    return _reply(
        status,
        json.dumps(body, separators=(",", ":")),
        {"Content-Type": "application/json", **(headers or {})},
    )


def _reply(status: int, body: str, headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "statusCode": status,
        "body": body,
        "isBase64Encoded": False,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
    }
