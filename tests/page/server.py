"""Serves `world` with the functions as they ship, in front of an embedded DynamoDB, until its standard input ends.

It runs in the development environment, the tests beside it in one of their own. What they need to know is printed
as one line of JSON: addresses and keys. The same API stands behind three addresses: without a prefix, under a
stage as `execute-api` has it, and under the base path of a custom domain.
"""

import json
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from copy import replace
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / each) for each in ("cli", "layers/meterstone", "tests")]

from meterstone import clock  # noqa: E402 - the paths come first
from meterstone.scope import Scope  # noqa: E402
from meterstone.store.catalogue.api_keys import create_key, revoke_key  # noqa: E402
from meterstone.store.operations.load import create_table  # noqa: E402
from meterstone_cli.devserver.demo_key import with_demo_key  # noqa: E402
from meterstone_cli.devserver.follower import following  # noqa: E402
from meterstone_cli.devserver.gateway import (  # noqa: E402
    Gateway,
    HttpRequest,
    Invocable,
    Response,
    gateway_response,
    load,
)
from meterstone_cli.devserver.server import running  # noqa: E402
from page import world  # noqa: E402
from support.stack import database  # noqa: E402

STAGE, BASE_PATH = "/prod", "/billing/usage"


class Stage(Gateway):
    """The address of a stage: its functions do not see it, and without it there is nothing."""

    prefix = STAGE

    def handle(self, request: HttpRequest) -> Response:
        """Answer what is below the prefix alone."""
        if not request.target.startswith(f"{self.prefix}/"):
            return gateway_response(404)
        return super().handle(replace(request, target=request.target.removeprefix(self.prefix)))


class Domain(Stage):
    """A custom domain with a base path, which stands in each event's path."""

    prefix = BASE_PATH

    def __init__(self, functions: dict[str, Invocable]) -> None:
        super().__init__({path: Below(each, self.prefix) for path, each in functions.items()})


class Below:
    """A function whose events' paths begin with a prefix."""

    def __init__(self, function: Invocable, prefix: str) -> None:
        self._function, self._prefix = function, prefix

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        """Call the function."""
        return self._function.invoke(event | {"path": self._prefix + event["path"]}, request_id)


def main() -> None:
    """Fill a table, serve it, and say so."""
    with ExitStack() as cleanup:
        table = cleanup.enter_context(database())
        create_table(table)
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        for name in ("northwind", "strange", "wide"):
            world.store(table, folder / name, *getattr(world, name)())
        keys = {
            name: create_key(table, organization, name, clock.now())[0]
            for name, organization in (
                ("northwind", world.NORTHWIND),
                ("strange", world.STRANGE),
                ("wide", world.WIDE),
            )
        }
        keys |= {
            f"{scope} alone": create_key(table, world.NORTHWIND, scope, clock.now(), [scope])[0]
            for scope in Scope
        }
        revoked, revoked_id = create_key(table, world.NORTHWIND, "revoked", clock.now())
        revoke_key(table, revoked_id, clock.now())
        cleanup.enter_context(mock.patch.object(clock, "now", return_value=world.NOW))
        cleanup.enter_context(following(ROOT / "functions"))
        functions: dict[str, Invocable] = dict(load(ROOT / "template.yaml"))
        told: dict[str, Any] = {
            "keys": keys | {"revoked": revoked},
            "now": world.NOW // 1000,
            "odd": world.ODD,
            "plain": cleanup.enter_context(running(Gateway(functions))),
            "demo": cleanup.enter_context(running(Gateway(with_demo_key(functions, keys["northwind"])))),
            "stage": cleanup.enter_context(running(Stage(functions))) + STAGE,
            "domain": cleanup.enter_context(running(Domain(functions))) + BASE_PATH,
        }
        post_events(told["plain"], keys["northwind"])
        print(json.dumps(told), flush=True)  # noqa: T201 - it is what the tests wait for
        sys.stdin.read()


def post_events(base: str, key: str) -> None:
    """Send what comes over HTTP: an event that counts, and some that do not; wait until the first has counted."""
    at = world.NOW // 1_000_000
    sent: list[dict[str, Any]] = [
        {"transaction_id": "late-export", "external_subscription_id": "acme-main", "code": "exports"},
        {"transaction_id": "no-number", "external_subscription_id": "acme-main", "code": "tokens"},
        {"transaction_id": "typo", "external_subscription_id": "acme-main", "code": "tokns"},
        {"transaction_id": "stranger", "external_subscription_id": "nobody", "code": "tokens"},
        {
            "transaction_id": "ancient",
            "external_subscription_id": "acme-main",
            "code": "tokens",
            "timestamp": 1e9,
        },
    ]
    for each in sent:
        body = {"event": {"timestamp": at, "properties": {"note": world.ODD["markup"]}, **each}}
        ask(f"{base}/api/v1/events", key, json.dumps(body).encode())
    usage = f"{base}/api/v1/analytics/usage?external_subscription_id=acme-main"
    give_up = time.monotonic() + 30
    while "X-Meterstone-Counted-Until" not in ask(usage, key):
        if time.monotonic() > give_up:
            raise TimeoutError("the events that were posted were not counted in 30 s")
        time.sleep(0.1)


def ask(url: str, key: str, body: bytes | None = None) -> Any:
    """Make a request, and return the headers of the answer."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:  # noqa: S310 - our own
        return answer.headers


if __name__ == "__main__":
    main()
