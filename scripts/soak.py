"""Read and post for many minutes, and account for every event: what was acknowledged is counted, each once.

Without `--url`, it starts an engine and `meterstone serve` on this machine, loads the catalogue `benchmarks/soak`,
asks for as much as both take, and watches the memory of `serve`. With `--url` and `--key` it asks an address that
is deployed, at a bounded rate. The key must be of an organization that has that catalogue and is there for this
purpose: the events stay (`meterstone load benchmarks/soak`, then `meterstone keys create`).

Each event has an id of its own. One in twenty posts sends an earlier event again, which must count once. A post
that was not answered is sent again, as clients should do, and is told of as an error. At the end, calls and tokens
of each subscription, as both endpoints answer them, are compared with what was acknowledged.

The exit status is 1 if there was an error, an event was lost or counted twice, or memory has grown.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final
from unittest import mock
from urllib.parse import urlsplit
from uuid import uuid4

ROOT: Final = Path(__file__).resolve().parent.parent
CATALOGUE: Final = ROOT / "benchmarks" / "soak"
#: The subscriptions of the catalogue, by what the endpoints name them: the id, the external id, the customer.
SUBSCRIPTIONS: Final = [(f"soak_sub_{x}", f"soak-main-{x}", f"soak-{x}") for x in "abcd"]
NAME: Final = "soak"
METERS: Final = ("soak_calls", "soak_tokens")
#: Of a hundred requests, how many are of each kind; a post in bulk has 50 events, Lago's batch 20.
MIX: Final = {"analytics": 30, "subscription": 30, "event": 5, "lago": 15, "batch": 10, "bulk": 10}
BULK, BATCH = 50, 20
#: The share of events of the last hours, and of posts that send an earlier event again.
LATE, AGAIN = 0.1, 0.05
#: Requests a second to an address that is deployed, if it is not said how many.
RATE: Final = 20.0
#: Until when memory may grow, and by how much afterwards: the allocator's own ups and downs.
WARM_SECONDS: Final = 120.0
GROWTH: Final = 0.03
#: How many samples each of the two compared times has at least, one a second.
FEWEST: Final = 10
#: A client that waited for longer than this, in seconds, then leaves the others alone for as long again.
SLOW: Final = 1.0
#: How long a connection may have been idle to be used again, in seconds.
IDLE: Final = 4.0
#: How long to wait for an answer, for a post to be taken, and for the last events to be counted, in seconds.
ANSWER, TAKEN, COUNTED = 30.0, 60.0, 120.0

type Totals = dict[str, tuple[int, Decimal]]


@dataclass
class Books:
    """What was asked and answered, for all clients together."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    answers: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    #: Acknowledged events of each subscription: how many, and their tokens.
    calls: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    #: Events that were sent and never acknowledged: whether they count is not known.
    unknown: int = 0
    again: int = 0

    def error(self, text: str) -> None:
        """Note an answer that should not have been."""
        with self.lock:
            self.errors.append(text)

    def took(self, kind: str, seconds: float) -> None:
        """Note a good answer."""
        with self.lock:
            self.answers[kind] += 1
            self.seconds.setdefault(kind, []).append(seconds)


@dataclass
class Event:
    """An event to post, for one of the subscriptions."""

    ident: str
    subscription: int
    at: float
    tokens: int

    def lago(self) -> dict[str, Any]:
        """Return it as Lago takes it."""
        return {
            "transaction_id": self.ident,
            "external_subscription_id": SUBSCRIPTIONS[self.subscription][1],
            "code": NAME,
            "timestamp": f"{self.at:.3f}",
            "properties": {"tokens": self.tokens},
        }

    def flexprice(self) -> dict[str, Any]:
        """Return it as Flexprice takes it."""
        return {
            "event_id": self.ident,
            "external_customer_id": SUBSCRIPTIONS[self.subscription][2],
            "event_name": NAME,
            "timestamp": datetime.fromtimestamp(self.at, UTC).isoformat(),
            "properties": {"tokens": self.tokens},
        }


class Client:
    """Keeps one connection, and asks one thing after the other."""

    def __init__(self, url: str, key: str, books: Books) -> None:
        """Ask an address with a key."""
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.netloc, timeout=ANSWER)
        self._prefix = parts.path.rstrip("/")
        self._headers = {
            "Authorization": f"Bearer {key}",
            "x-api-key": key,
            "Content-Type": "application/json",
        }
        self._books = books
        self._used = 0.0

    def ask(self, kind: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return the status and the body of an answer; status 0 if there is none."""
        began = time.monotonic()
        if began - self._used > IDLE:
            # The other side may have closed it meanwhile.
            self._connection.close()
        self._used = began
        try:
            self._connection.request(
                method, self._prefix + path, None if body is None else json.dumps(body), self._headers
            )
            answer = self._connection.getresponse()
            data = answer.read()
            found = json.loads(data) if data else None
        except (OSError, HTTPException, ValueError) as error:
            self._connection.close()
            self._books.error(f"{kind}: {error!r}")
            return 0, None
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            self._books.took(kind, time.monotonic() - began)
        return answer.status, found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Load:
    """One client's share of the load, from its own chance."""

    def __init__(self, number: int, run: str, client: Client, books: Books) -> None:
        """Take a number, of which the ids of its events are made."""
        self._random = random.Random(f"{run} {number}")  # noqa: S311 - nothing secret
        self._prefix = f"{run}-{number}"
        self._made = 0
        self._client = client
        self._books = books
        #: The newest events that were acknowledged, by the contract that took them.
        self._lago: list[Event] = []
        self._flexprice: list[Event] = []
        today = datetime.now(UTC).date()
        self._query = f"from_date={today - timedelta(days=30)}&to_date={today + timedelta(days=1)}"

    def one(self) -> None:
        """Ask the next thing."""
        (kind,) = self._random.choices(list(MIX), list(MIX.values()))
        subscription_id, external_id, _ = self._random.choice(SUBSCRIPTIONS)
        match kind:
            case "analytics":
                own = f"&external_subscription_id={external_id}" if self._random.randrange(2) else ""
                self._good(kind, "GET", f"/api/v1/analytics/usage?{self._query}{own}")
            case "subscription":
                self._good(kind, "POST", "/v1/subscriptions/usage", {"subscription_id": subscription_id})
            case "event" if self._lago:
                event = self._random.choice(self._lago)
                whose = SUBSCRIPTIONS[event.subscription][1]
                self._good(kind, "GET", f"/api/v1/events/{event.ident}?external_subscription_id={whose}")
            case "bulk":
                events = self._some(BULK)
                again = self._again(self._flexprice)
                body = {"events": [each.flexprice() for each in [*events, *again]]}
                if self._post(kind, "/v1/events/bulk", body, events):
                    self._flexprice = events
            case "batch":
                events = self._some(BATCH)
                self._post(kind, "/api/v1/events/batch", {"events": [each.lago() for each in events]}, events)
            case _:
                if again := self._again(self._lago):
                    status, body = self._client.ask(
                        "again", "POST", "/api/v1/events", {"event": again[0].lago()}
                    )
                    if status != HTTPStatus.UNPROCESSABLE_ENTITY or "value_already_exist" not in json.dumps(
                        body
                    ):
                        self._books.error(f"again: {status} {str(body)[:200]}")
                else:
                    events = self._some(1)
                    if self._post("lago", "/api/v1/events", {"event": events[0].lago()}, events):
                        self._lago = [*self._lago[-50:], *events]

    def _some(self, many: int) -> list[Event]:
        events = []
        for _ in range(many):
            self._made += 1
            late = self._random.uniform(0, 12 * 3600) if self._random.random() < LATE else 0.0
            subscription, tokens = self._random.randrange(len(SUBSCRIPTIONS)), self._random.randrange(1, 1000)
            events.append(Event(f"{self._prefix}-{self._made}", subscription, time.time() - late, tokens))
        return events

    def _again(self, known: list[Event]) -> list[Event]:
        if not known or self._random.random() > AGAIN:
            return []
        self._books.again += 1
        return [self._random.choice(known)]

    def _good(self, kind: str, method: str, path: str, body: Any = None) -> None:
        status, found = self._client.ask(kind, method, path, body)
        if status and status != HTTPStatus.OK:
            self._books.error(f"{kind}: {status} {str(found)[:200]}")

    def _post(self, kind: str, path: str, body: Any, events: Sequence[Event]) -> bool:
        """Post until it is acknowledged. Return whether it is at the first time."""
        until = time.monotonic() + TAKEN
        first = True
        while True:
            status, found = self._client.ask(kind, "POST", path, body)
            # If the answer was lost, the event may be there.
            there = (
                not first
                and status == HTTPStatus.UNPROCESSABLE_ENTITY
                and "value_already_exist" in json.dumps(found)
            )
            if there or (status and HTTPStatus(status).is_success):
                break
            if status:
                self._books.error(f"{kind}: {status} {str(found)[:200]}")
            if time.monotonic() >= until or (status and is_final(status)):
                with self._books.lock:
                    self._books.unknown += len(events)
                return False
            first = False
            time.sleep(1)
        with self._books.lock:
            for each in events:
                self._books.calls[SUBSCRIPTIONS[each.subscription][0]] += 1
                self._books.tokens[SUBSCRIPTIONS[each.subscription][0]] += each.tokens
        return first


def is_final(status: int) -> bool:
    """Return whether sending the same again would be answered the same."""
    return HTTPStatus(status).is_client_error and status != HTTPStatus.TOO_MANY_REQUESTS


class Memory:
    """The resident memory of a process, by the second; of none, nothing."""

    def __init__(self, pid: int | None) -> None:
        """Watch a process."""
        self._status = None if pid is None else Path(f"/proc/{pid}/status")
        self._began = time.monotonic()
        self.samples: list[tuple[float, float]] = []

    def now(self) -> float | None:
        """Return the megabytes that the process has now, and keep them."""
        if self._status is None or not self._status.exists():
            return None
        (line,) = (each for each in self._status.read_text().splitlines() if each.startswith("VmRSS"))
        megabytes = int(line.split()[1]) / 1024
        self.samples.append((time.monotonic() - self._began, megabytes))
        return megabytes

    def threads(self) -> int:
        """Return how many threads the process has."""
        return 0 if self._status is None else len(list((self._status.parent / "task").iterdir()))

    def growth(self) -> tuple[float, float] | None:
        """Return the memory of the first and of the last fifth after the start; None if the run was too short."""
        warm = [megabytes for at, megabytes in self.samples if at >= WARM_SECONDS]
        fifth = len(warm) // 5
        return (median(warm[:fifth]), median(warm[-fifth:])) if fifth >= FEWEST else None


def totals(client: Client, since: datetime, until: datetime) -> tuple[Totals, Totals]:
    """Return calls and tokens of each subscription, as each of both endpoints answers them."""
    priced: Totals = {}
    analysed: Totals = {}
    for subscription_id, external_id, _ in SUBSCRIPTIONS:
        window = {"start_time": since.isoformat(), "end_time": until.isoformat()}
        _, body = client.ask(
            "recount", "POST", "/v1/subscriptions/usage", {"subscription_id": subscription_id} | window
        )
        found: Counter[str] = Counter()
        for row in (body or {}).get("charges") or ():
            found[row["meter_id"]] += Decimal(str(row["quantity"]))  # type: ignore[assignment]
        priced[subscription_id] = int(found[METERS[0]]), Decimal(found[METERS[1]])
        query = f"from_date={since.date()}&to_date={until.date()}&external_subscription_id={external_id}"
        _, body = client.ask("recount", "GET", f"/api/v1/analytics/usage?{query}")
        found = Counter()
        for row in (body or {}).get("usages") or ():
            found[row["billable_metric_code"]] += Decimal(row["units"])  # type: ignore[assignment]
        analysed[subscription_id] = int(found[METERS[0]]), Decimal(found[METERS[1]])
    return priced, analysed


def recount(
    client: Client, books: Books, before: tuple[Totals, Totals], window: tuple[datetime, datetime]
) -> list[str]:
    """Compare both endpoints with what was acknowledged until they agree, or too long. Return what differs."""
    until = time.monotonic() + COUNTED
    while True:
        differences = []
        for name, had, has in zip(("priced", "analysed"), before, totals(client, *window), strict=True):
            for each, (calls, tokens) in has.items():
                counted = calls - had[each][0], tokens - had[each][1]
                wanted = books.calls[each], Decimal(books.tokens[each])
                if counted != wanted:
                    differences.append(f"{each}, {name}: {counted} counted, {wanted} acknowledged")
        if not differences or time.monotonic() >= until:
            return differences
        time.sleep(1)


def soak(url: str, key: str, arguments: argparse.Namespace, pid: int | None) -> int:
    """Ask for as long as it is said, and return the exit status."""
    books, run = Books(), f"soak-{uuid4().hex[:12]}"
    began = datetime.now(UTC)
    # Whole days, which both endpoints can answer, around whatever is posted.
    midnight = began.replace(hour=0, minute=0, second=0, microsecond=0)
    window = midnight - timedelta(days=2), midnight + timedelta(days=2, minutes=arguments.minutes)
    asking = Client(url, key, books)
    before = totals(asking, *window)
    memory = Memory(pid)
    start, seconds = time.monotonic(), arguments.minutes * 60
    turn = iter(range(sys.maxsize))

    def work(number: int) -> None:
        client = Client(url, key, books)
        load = Load(number, run, client, books)
        while time.monotonic() - start < seconds:
            if arguments.rate:
                # Each request has its instant, whichever client asks it.
                with books.lock:
                    at = start + next(turn) / arguments.rate
                time.sleep(max(0.0, at - time.monotonic()))
            asked = time.monotonic()
            load.one()
            waited = time.monotonic() - asked
            if waited > SLOW:
                # More than it takes: let it breathe.
                time.sleep(waited)
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(arguments.clients)]
    for each in threads:
        each.start()
    said = start
    while any(each.is_alive() for each in threads):
        time.sleep(min(1.0, seconds / 20))
        has = memory.now()
        if time.monotonic() - said >= max(30.0, seconds / 20):
            said = time.monotonic()
            shown = "" if has is None else f", {has:.1f} MB in {memory.threads()} threads"
            asked, posted = sum(books.answers.values()), sum(books.calls.values())
            print(
                f"{said - start:5.0f} s: {asked} answers, {posted} events, {len(books.errors)} errors{shown}",
                flush=True,
            )
    took = time.monotonic() - start
    counting = time.monotonic()
    differences = recount(asking, books, before, window)
    asking.close()
    return tell(books, memory, differences, took, time.monotonic() - counting)


def tell(books: Books, memory: Memory, differences: list[str], took: float, counting: float) -> int:
    """Print what came of it. Return the exit status."""
    for kind, values in sorted(books.seconds.items()):
        hundredths = quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
        print(
            f"{kind:>12}: {len(values)}, {len(values) / took:.1f} a second, p50 {hundredths[49] * 1000:.0f} ms, "
            f"p99 {hundredths[98] * 1000:.0f} ms, longest {max(values) * 1000:.0f} ms"
        )
    events = sum(books.calls.values())
    print(f"{events} events were acknowledged, {events / took:.0f} a second; {books.again} were sent again")
    if differences:
        print(*differences, sep="\n")
    else:
        print(f"each is counted once, by both endpoints, {counting:.1f} s after the last")
    if books.unknown:
        print(f"{books.unknown} events were never acknowledged")
    print(f"{len(books.errors)} errors", *books.errors[:5], sep="\n  ")
    grown = memory.growth()
    grows = grown is not None and grown[1] > grown[0] * (1 + GROWTH)
    if grown is not None:
        verdict = "it has grown" if grows else "it has not grown"
        print(
            f"memory after {WARM_SECONDS:.0f} s: {grown[0]:.1f} MB, at the end {grown[1]:.1f} MB: {verdict}"
        )
    else:
        print("memory was not compared: the run was too short, or the process is elsewhere")
    return int(bool(books.errors or differences or books.unknown or grows or not events))


@contextlib.contextmanager
def served(folder: Path = CATALOGUE, *, quiet: bool = False) -> Iterator[tuple[str, str, int]]:
    """Serve a folder's catalogue on this machine. Gives the address, a key, and the process that serves.

    If it is `quiet`, what `meterstone serve` prints is dropped.
    """
    sys.path[:0] = [str(ROOT / "cli"), str(ROOT / "layers" / "meterstone")]
    from meterstone import clock  # noqa: PLC0415 - a deployed address needs none of this
    from meterstone.store.catalogue.api_keys import create_key  # noqa: PLC0415
    from meterstone.store.dynamodb.table import Table  # noqa: PLC0415
    from meterstone.store.operations.load import create_table  # noqa: PLC0415
    from meterstone_cli.catalogue.folder import read_catalogue  # noqa: PLC0415
    from meterstone_cli.devserver import engine  # noqa: PLC0415
    from meterstone_cli.devserver.bookmark import begin  # noqa: PLC0415
    from meterstone_cli.files.loading import load_catalogue  # noqa: PLC0415

    with contextlib.ExitStack() as cleanup:
        state = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        environment = Path(os.environ.get("METERSTONE_ENGINE", ROOT / ".venvs" / "engine"))
        address = cleanup.enter_context(engine.running(environment, state, engine.free_port(), keep=False))
        variables = engine.environment_of_clients(address) | {"TABLE_NAME": "soak"}
        cleanup.enter_context(mock.patch.dict(os.environ, variables))
        table = Table.from_environment()
        cleanup.callback(table.client.close)
        create_table(table)
        # The table is new: no event can have come in before it is followed.
        begin()
        catalogue, places = read_catalogue(folder)
        load_catalogue(table, catalogue, places, clock.now())
        key, _ = create_key(table, catalogue.organization.id, "soak", clock.now())
        port = engine.free_port()
        command = [sys.executable, "-m", "meterstone_cli", "serve", "--port", str(port), "--table", "soak"]
        path = os.pathsep.join(sys.path[:2])
        printed = subprocess.DEVNULL if quiet else None
        environment_of_it = os.environ | {"PYTHONPATH": path}
        serving = subprocess.Popen(command, env=environment_of_it, stdout=printed)  # noqa: S603 - our own
        cleanup.callback(stop, serving)
        wait_for(serving, port)
        yield f"http://127.0.0.1:{port}", key, serving.pid


def wait_for(serving: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until a process answers on a port."""
    until = time.monotonic() + 60
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            connection.request("GET", "/")
            connection.getresponse().read()
            return
        if serving.poll() is not None or time.monotonic() > until:
            raise SystemExit("meterstone serve does not answer")
        time.sleep(0.1)


def stop(serving: "subprocess.Popen[bytes]") -> None:
    """End a process, and wait for it."""
    serving.terminate()
    serving.wait(60)


def main(arguments: list[str]) -> int:
    """Soak what the arguments name."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to ask (10)")
    parser.add_argument("--clients", type=int, default=4, help="how many ask at once (4)")
    parser.add_argument("--url", default="", help="address of a deployed API; without it, one is served here")
    parser.add_argument(
        "--key", default=os.environ.get("METERSTONE_API_KEY", ""), help="API key of that address"
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=None,
        help=f"requests a second at most; {RATE:.0f} with --url, else unbounded",
    )
    asked = parser.parse_args(arguments)
    if asked.url and not asked.key:
        parser.error("--url needs --key")
    if asked.url:
        asked.rate = asked.rate or RATE
        return soak(asked.url, asked.key, asked, None)
    with served() as (url, key, pid):
        return soak(url, key, asked, pid)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
