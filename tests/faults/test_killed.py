"""Processes that are killed while events are posted: what was acknowledged is counted, each event once.

The engine is `start`'s own, with its journal. The client sends again what was not acknowledged, as the contracts
say; so it knows which events must be counted.
"""

import contextlib
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import pytest

from meterstone import clock
from meterstone.store.catalogue.api_keys import create_key, list_keys
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import create_table
from meterstone.store.operations.rebuild import Surroundings
from meterstone.usage.instant import MINUTE, SECOND
from meterstone_cli.catalogue.folder import read_catalogue
from meterstone_cli.devserver import bookmark, durable, engine
from meterstone_cli.devserver.follower import following
from meterstone_cli.devserver.server import running
from support.counting import SCALE
from support.stack import ENGINE, ROOT, SMALL
from support.written import write_stored

FUNCTIONS = ROOT / "functions"
PATIENCE = 60.0
EVENTS_OF_A_ROUND = 60
#: Events of one request: few, so that many requests are under way when something is killed.
TOGETHER = 10

pytestmark = pytest.mark.engine


def rounds(usual: int, deep: int) -> pytest.MarkDecorator:
    """Give a test its number of events, more in the profile of deep proofs: in each round something is killed."""
    number = int(os.environ.get("METERSTONE_EVENTS", (deep if SCALE > 1 else usual) * EVENTS_OF_A_ROUND))
    return pytest.mark.parametrize(
        "events", [pytest.param(number, marks=(pytest.mark.long, pytest.mark.slow))]
    )


@dataclass
class Engine:
    """`start`'s engine on a port of its own, which can be killed and started again over what it left."""

    state: Path
    port: int = field(default_factory=engine.free_port)
    #: Or else the engine as it is: it keeps its tables where it is told to end, and never its streams.
    journal: bool = True
    told: list[str] = field(default_factory=list)
    _running: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def start(self) -> None:
        alone = {} if self.journal else {"PERSIST_STATE": "1"}
        self._running.enter_context(
            engine.running(
                ENGINE, self.state, self.port, keep=self.journal, variables=alone, tell=self.told.append
            )
        )

    def kill(self) -> None:
        os.kill(int((self.state / durable.LOCK).read_text().split()[0]), signal.SIGKILL)
        engine.await_state(self.state)
        with pytest.raises(engine.EngineError, match="the engine ended by itself"):
            self.stop()

    def stop(self) -> None:
        self._running.close()


@dataclass
class Server:
    """A process that serves the table, and follows its stream."""

    port: int = field(default_factory=engine.free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        code = {"PYTHONPATH": os.pathsep.join([str(ROOT / "cli"), str(ROOT / "layers/meterstone")])}
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "meterstone_cli", "serve", "--port", str(self.port)],
            env=os.environ | code,
            stdout=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@dataclass
class World:
    """A table with `tests/small`'s catalogue and no usage, its engine, and a client with its retries."""

    engine: Engine
    key: str = ""
    url: str = ""
    acknowledged: int = 0
    _ids: Iterator[int] = field(default_factory=itertools.count)

    def fill(self) -> None:
        table = Table.from_environment()
        create_table(table)
        bookmark.begin()
        catalogue, _ = read_catalogue(SMALL / "catalogue")
        write_stored(table, catalogue)
        self.key, _ = create_key(table, catalogue.organization.id, "clients", clock.now())

    def post(self, events: int, together: int = TOGETHER) -> None:
        """Post events, so many with each request, each until it is acknowledged."""
        for _ in range(0, events, together):
            several = [
                {
                    "event_id": f"event {next(self._ids)}",
                    "event_name": "api_calls",
                    "external_customer_id": "acme",
                    "timestamp": "2024-02-03T12:00:00Z",
                    "properties": {},
                }
                for _ in range(together)
            ]
            answered(lambda body={"events": several}: self.call("/v1/events/bulk", body))  # type: ignore[misc]
            self.acknowledged += together

    def counted(self) -> int:
        window = {"start_time": "2024-02-01T00:00:00Z", "end_time": "2024-03-01T00:00:00Z"}
        answer = answered(
            lambda: self.call("/v1/subscriptions/usage", {"subscription_id": "sub_acme"} | window)
        )
        return sum(int(row["quantity"]) for row in answer["charges"] if row["meter_id"] == "meter_calls")

    def published(self) -> int:
        dates = "from_date=2024-02-01&to_date=2024-02-29"
        path = f"/api/v1/analytics/usage?{dates}&billable_metric_code=api_calls&currency=EUR"
        return sum(int(float(row["units"])) for row in answered(lambda: self.call(path))["usages"])

    def call(self, path: str, body: object = None) -> dict:  # type: ignore[type-arg]
        headers = {
            "x-api-key": self.key,
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
        }
        sent = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, sent, headers)  # noqa: S310 - http, loopback
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found: dict = json.load(answer)  # type: ignore[type-arg]
            return found


def answered[A](call: Callable[[], A]) -> A:
    """Call until there is a good answer: a client that goes on through outages."""
    latest = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except urllib.error.HTTPError as error:
            if error.code < 500 or time.monotonic() > latest:
                raise AssertionError(error.read()) from error
        except (OSError, http.client.HTTPException):
            if time.monotonic() > latest:
                raise
        time.sleep(0.1)


def await_count(world: World) -> None:
    """Wait until all that was acknowledged is counted; and a little more, to see that it stays."""
    latest = time.monotonic() + PATIENCE
    while world.counted() < world.acknowledged and time.monotonic() < latest:
        time.sleep(0.1)
    time.sleep(0.5)
    assert (world.counted(), world.published()) == (world.acknowledged, world.acknowledged)


def await_word(told: list[str], word: str) -> None:
    latest = time.monotonic() + PATIENCE
    while word not in told:
        assert time.monotonic() < latest, told
        time.sleep(0.1)


class Hurry:
    """A clock for a rebuild that need not wait, as nothing else is under way."""

    def __init__(self) -> None:
        self.ahead = -MINUTE

    def clock(self) -> int:
        return clock.now() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.ahead += int(seconds * SECOND)


@pytest.fixture
def journal() -> bool:
    return True


@pytest.fixture
def world(tmp_path: Path, journal: bool) -> Iterator[World]:  # noqa: FBT001
    own = Engine(tmp_path / "state", journal=journal)
    variables = engine.environment_of_clients(engine.url_of(own.port)) | {"TABLE_NAME": "meterstone-killed"}
    with mock.patch.dict(os.environ, variables):
        own.start()
        try:
            world = World(own)
            world.fill()
            yield world
        finally:
            own.stop()


@pytest.mark.parametrize("killed", ["server", "engine", "both"] if SCALE > 1 else ["both"])
@rounds(1, 12)
def test_what_was_acknowledged_is_counted_once(world: World, killed: str, events: int) -> None:
    server = Server()
    world.url = f"http://127.0.0.1:{server.port}"
    server.start()
    try:
        await_count(world)
        for _ in range(events // EVENTS_OF_A_ROUND):
            posting = threading.Thread(target=world.post, args=(EVENTS_OF_A_ROUND,))
            before = world.acknowledged
            posting.start()
            while world.acknowledged < before + EVENTS_OF_A_ROUND / 2:
                time.sleep(0.01)
            if killed != "engine":
                server.kill()
            if killed != "server":
                world.engine.kill()
                world.engine.start()
            if killed != "engine":
                server.start()
            posting.join()
            await_count(world)
    finally:
        server.kill()
    if killed != "server":
        assert "The last run was not stopped" in world.engine.told[0]


@contextlib.contextmanager
def serving(world: World) -> Iterator[None]:
    with running(ROOT / "template.yaml") as url:
        world.url = url
        yield


def test_a_thousand_before_and_a_thousand_after_the_engine_was_killed(world: World) -> None:
    with serving(world), following(FUNCTIONS):
        world.post(1000, together=100)
        await_count(world)
        world.engine.kill()
        world.engine.start()
        world.post(1000, together=100)
        await_count(world)
    assert world.acknowledged == 2000


def test_what_came_while_nobody_followed_is_counted_by_the_next_start(world: World) -> None:
    with serving(world):
        with following(FUNCTIONS):
            world.post(50)
            await_count(world)
        world.post(50)
        assert world.counted() == 50
        world.engine.stop()
        world.engine.start()
        with following(FUNCTIONS):
            await_count(world)


def test_two_that_follow_count_each_event_once(world: World) -> None:
    told: list[str] = []
    with serving(world), following(FUNCTIONS):
        world.post(50)
        await_count(world)
        with following(FUNCTIONS, tell=told.append):
            world.post(50)
            await_count(world)
    assert [each for each in told if "follows it already" in each]


@pytest.mark.parametrize("journal", [False], ids=["an engine without its journal"])
def test_where_the_stream_is_gone_the_log_makes_up_for_it(world: World) -> None:
    hurry, told = Hurry(), list[str]()
    with serving(world):
        with following(FUNCTIONS):
            world.post(50)
            await_count(world)
        world.post(50)
    world.engine.stop()
    world.engine.start()
    with following(FUNCTIONS, around=Surroundings(hurry.clock, hurry.sleep), tell=told.append):
        await_word(told, "All that was posted is counted")
        # Functions of before remember the account for half a minute, for which this rebuild has not waited.
        with serving(world):
            world.post(50)
            await_count(world)
    assert world.acknowledged == 150
    assert [each for each in told if "100 events counted again" in each]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Give a program that runs an engine, as `start` does, and says its URL."""
    code = (
        "import sys, time; from pathlib import Path; from meterstone_cli.devserver import engine\n"
        "with engine.running(Path(sys.argv[1]), Path(sys.argv[2]), engine.free_port()) as url:\n"
        "    print(url, flush=True); time.sleep(600)"
    )
    program = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code, ENGINE, tmp_path / "state"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "cli")},
        stdout=subprocess.PIPE,
        text=True,
    )
    yield program
    program.kill()
    program.communicate()
    engine.await_state(tmp_path / "state")


def url_of(start: subprocess.Popen[str]) -> str:
    assert start.stdout is not None
    return start.stdout.readline().strip()


def test_a_killed_start_leaves_no_engine_behind_and_loses_nothing(
    start: subprocess.Popen[str], tmp_path: Path
) -> None:
    url = url_of(start)
    own = Engine(tmp_path / "state", int(url.rpartition(":")[2]))
    variables = engine.environment_of_clients(url) | {"TABLE_NAME": "meterstone-killed"}
    with mock.patch.dict(os.environ, variables):
        World(own).fill()
        start.kill()
        start.wait()
        own.start()
        try:
            assert list(list_keys(Table.from_environment()))
        finally:
            own.stop()
    assert not [each for each in own.told if "not stopped" in each]


def test_a_folder_that_another_start_has_is_refused(start: subprocess.Popen[str], tmp_path: Path) -> None:
    url_of(start)
    with pytest.raises(engine.EngineError, match=f"is in use: process {start.pid} runs there"):
        Engine(tmp_path / "state").start()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("tables/dynamodb.json", b'{"__ministack_format__": 1, "payl', id="tables that were cut"),
        pytest.param("journal.jsonl", b'[{"key": ["a", "b"]}]\n', id="a journal of something else"),
    ],
)
def test_what_an_engine_cannot_read_is_left_as_it_is(tmp_path: Path, name: str, content: bytes) -> None:
    """It must not begin with no tables, and write that over the others when it ends."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with (
        pytest.raises(engine.EngineError, match="it could not read its tables"),
        engine.running(ENGINE, tmp_path, engine.free_port(), tell=lambda _: None),
    ):
        pass
    assert path.read_bytes() == content
