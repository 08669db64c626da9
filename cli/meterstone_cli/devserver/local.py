"""Meterstone on one machine: the embedded DynamoDB, the demo in it, and both endpoints in front of it."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from meterstone import clock
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.api_keys import create_key, list_keys
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import create_table
from meterstone.usage.instant import DAY, format_instant
from meterstone_cli.catalogue import read_catalogue
from meterstone_cli.devserver import engine
from meterstone_cli.devserver.bookmark import begin
from meterstone_cli.devserver.demo_key import PAGE, with_demo_key
from meterstone_cli.devserver.gateway import Gateway
from meterstone_cli.devserver.gateway import load as functions_of
from meterstone_cli.devserver.server import HOST, serve
from meterstone_cli.files.loading import load_demo
from meterstone_cli.problem import InputRefusedError
from meterstone_cli.progress import say
from meterstone_cli.session import open_table
from meterstone_cli.tree import DEMO, FUNCTIONS, TEMPLATE

_TABLE = "meterstone"
_KEPT = "demo.json"
_STALE = 7 * DAY
_SHOWN_SUBSCRIPTION = "sub_juniper_shifted"


class Ports(NamedTuple):
    """Ports of the loopback address: that of both endpoints, and that of the embedded DynamoDB."""

    http: int
    engine: int


def serve_demo(ports: Ports, environment: Path, state: Path, *, fresh: bool) -> None:
    """Start the engine of a virtual environment, load the demo unless it is there, and serve until told to stop.

    Tables and the key are kept in `state`; `fresh` forgets them first. Raises `EngineError`, `ServerError` and
    `StoreUnavailableError`, and `KeyboardInterrupt` if it is told to end before it serves.
    """
    # Not at the top: no other command needs an AWS client before it opens a table.
    from meterstone_cli.devserver.follower import following  # noqa: PLC0415

    engine.await_state(state, say)
    for port in ports:
        engine.check_port(port)
    if fresh:
        engine.forget(state)
        (state / _KEPT).unlink(missing_ok=True)
    say("Starting the embedded DynamoDB")
    with (
        _interrupted_when_told_to_end(),
        engine.running(environment, state, ports.engine, interrupt=True, tell=say) as url,
    ):
        for name in [each for each in os.environ if each.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(engine.environment_of_clients(url))
        table = open_table(_TABLE)
        if create_table(table):
            begin()
        kept = _Kept(state / _KEPT, table)
        try:
            load(table, kept.ends)
        except InputRefusedError:
            say("What is kept is not this version's demo: `--fresh` loads it anew. In detail:")
            raise
        with following(FUNCTIONS):
            key = kept.key(table)
            gateway = Gateway(with_demo_key(functions_of(TEMPLATE), key))
            serve(gateway, HOST, ports.http, on_ready=lambda base: _show(base, url, key))
        say("Stopping: the tables are written to disk for the next start")


def serve_table(table_name: str, port: int) -> None:
    """Serve both endpoints from a table until told to stop, and count what is posted, if no function does.

    Raises `ServerError`.
    """
    from meterstone_cli.devserver.follower import following  # noqa: PLC0415 - as above

    open_table(table_name)
    engine.check_port(port)
    with following(FUNCTIONS):
        serve(TEMPLATE, HOST, port, on_ready=lambda url: say(f"Serving on {url}; Ctrl-C ends it"))


def load(table: Table, ends: int) -> str:
    """Load the demo, its shifted traces ending at or just before `ends`, and give its organization's id."""
    for name, report in load_demo(table, DEMO, ends, clock.now()):
        said = "loaded already" if report.finished_before else f"{report.counted} events counted"
        say(f"{name}: {said}")
    return read_catalogue(DEMO / "catalogue")[0].organization.id


@contextlib.contextmanager
def _interrupted_when_told_to_end() -> Iterator[None]:
    """End the block as Ctrl-C does on SIGTERM, and on SIGHUP: the terminal was closed."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


class _Kept:
    """What is kept beside the tables: when the demo was loaded, and the key that is shown.

    The tables can be lost without it, as the engine writes them only when it is told to end. So it counts only
    if the demo is stored.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self._path = path
        self._organization_id = read_catalogue(DEMO / "catalogue")[0].organization.id
        self._values: dict[str, Any] = {}
        if path.exists() and read_account(table, self._organization_id, consistent=True):
            self._values = json.loads(path.read_text())
        self.ends: int = self._values.setdefault("ends", clock.now())
        self._write()
        if clock.now() - self.ends > _STALE:
            say(f"The demo's shifted usage ends on {format_instant(self.ends)[:10]}: `--fresh` loads it anew")

    def key(self, table: Table) -> str:
        """Return the key of an earlier start if it is still good, else a new one."""
        good = {key.id for key in list_keys(table) if key.revoked_at is None}
        if self._values.get("key_id") not in good:
            key, key_id = create_key(table, self._organization_id, "start", clock.now())
            self._values |= {"key": key, "key_id": key_id}
            self._write()
        return str(self._values["key"])

    def _write(self) -> None:
        written = self._path.with_suffix(".new")
        written.touch(mode=0o600)
        written.write_text(json.dumps(self._values))
        written.replace(self._path)


def _show(base: str, store: str, key: str) -> None:
    print(  # noqa: T201 - it is what the command is for
        f"""
Look at it: {base}{PAGE}

Serving on {base}; Ctrl-C ends it. The API key is {key}

curl -H 'Authorization: Bearer {key}' '{base}/api/v1/analytics/usage'

curl -H 'x-api-key: {key}' -H 'content-type: application/json' \\
  -d '{{"subscription_id":"{_SHOWN_SUBSCRIPTION}"}}' '{base}/v1/subscriptions/usage'

All routes are described in {base}/openapi.yaml

For other commands: export AWS_ENDPOINT_URL_DYNAMODB={store} AWS_DEFAULT_REGION={engine.REGION} \\
  AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local TABLE_NAME={_TABLE} METERSTONE_KEY={key}
""",
        flush=True,
    )
