"""A fixed history of a table, told by commands and requests alone, and everything that can be seen of it.

The table is in memory; the commands are those of the command line, the requests and batches go through the
functions' own handlers. Clock, ids and keys are fixed, so that the same history gives the same bytes.
"""

import io
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import replace
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import typer

from meterstone.store.dynamodb.table import Item, Table
from meterstone.store.operations.rebuild import Surroundings
from meterstone_cli import session
from meterstone_cli.__main__ import app
from meterstone_cli.progress import say
from support import golden_catalogue
from support.functions import forget_logger, load
from support.memory_table import Faults, MemoryTable

ROOT = Path(__file__).parents[2]
ORGANIZATION = golden_catalogue.ORGANIZATION
SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
#: 2023-12-05T03:00:00.25Z, for which the requests of `events/` are written.
NOW = 1_701_745_200_250_000
FUNCTIONS = (
    "analytics_usage",
    "subscription_usage",
    "ingest_events",
    "find_event",
    "explain_usage",
    "customer_usage",
    "fold_usage",
    "roll_usage",
)

#: Attributes of rollups, one for each day of a month.
_MARKS = frozenset({"w", "wg", "wr", "wu"})
_DAY = re.compile(r"^([a-z])[0-9]{2}$")

type Json = Any


class Watched(MemoryTable):
    """Remembers the attributes and their types that any item ever had, by the kind of item."""

    def __init__(self) -> None:
        super().__init__(page_items=50)
        self.seen: dict[str, set[str]] = {}

    def _store(self, key: Any, item: Item | None) -> None:
        super()._store(key, item)
        shown = {_DAY.sub(r"\1DD", name): value for name, value in (item or {}).items()}
        attributes = {f"{name}:{kind}" for name, value in shown.items() for kind in value}
        self.seen.setdefault(_kind(key.pk, key.sk), set()).update(attributes)


def _kind(pk: str, sk: str) -> str:
    """Name the kind of an item by its keys, without the ids and times in them."""
    parts = ["1" if each.isdigit() else each for each in pk.replace(ORGANIZATION, "ORG").split("#")]
    kinds = {"ORG", "1", "organization", "events", "usage", "rollup", "s", "c", "T", "P", "C", "PC"}
    first = parts[0] if parts[0] != "ORG" else "#".join(each for each in parts[1:] if each != "1")
    shown = "#".join(each if each in kinds else "?" for each in first.split("#")[1:])
    room = first.split("#")[0] + (f"#{shown}" if shown else "")
    letter, parted, _ = sk.partition("#")
    letter = letter if parted and len(letter) <= 2 else "?"
    return f"{room} / {sk if room == 'organization' else letter}"


@dataclass
class Run:
    """A table, a clock, and what was seen of what happened to it."""

    table: Watched
    folder: Path
    now: int = NOW
    organization: str = ORGANIZATION
    key: str = ""
    transcript: list[Json] = field(default_factory=list)
    answers: dict[str, Json] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)
    queue: list[Json] = field(default_factory=list)
    delivered: set[tuple[str, str]] = field(default_factory=set)
    marked: set[tuple[str, str]] = field(default_factory=set)
    _random: int = 0
    _handlers: dict[str, Any] = field(default_factory=dict)
    _out: io.StringIO = field(default_factory=io.StringIO)

    # What is done.

    def command(self, *arguments: str, **options: str) -> str:
        """Run a command of the command line; give what it printed."""
        words = [*arguments, *(word for name, value in options.items() for word in (f"--{name}", value))]
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                status = app(words, standalone_mode=False, prog_name="meterstone") or 0
            except typer.Exit as exit_:
                status = exit_.exit_code
        self.transcript.append(
            {
                "command": " ".join(map(self._shown, words)),
                "status": status,
                "out": _without_most_differences(self._shown(out.getvalue()).splitlines()),
                "err": self._shown(err.getvalue()).splitlines(),
            }
        )
        return out.getvalue()

    def usage(self, name: str, rows: list[Json]) -> str:
        """Write a file of usage."""
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    def load(self, *added: str) -> None:
        """Load the catalogue, with some more subscriptions."""
        name = "catalogue" + "".join(f"-{each}" for each in added)
        self.command("load", str(golden_catalogue.write(self.folder / name, *added)))
        assert self.transcript[-1]["status"] == 0, self.transcript[-1]
        self.restart()

    def restart(self) -> None:
        """Start every function anew, as a deployment does."""
        self._handlers = {}

    def invoke(self, function: str, event: Json) -> Json:
        """Call a function's handler."""
        if function not in self._handlers:
            self._handlers[function] = self._load(function)
        self._out.seek(0)
        self._out.truncate()
        with redirect_stdout(self._out):
            answer = self._handlers[function](event, _Context(function))
        self.logs += [_masked_log(line) for line in self._out.getvalue().splitlines()]
        return answer

    def ask(self, name: str, function: str, event: Json) -> None:
        """Make a request, and keep the answer under a name."""
        reply = self.invoke(function, event)
        headers = {header: ", ".join(values) for header, values in reply["multiValueHeaders"].items()}
        assert name not in self.answers
        self.answers[name] = {
            "status": reply["statusCode"],
            "headers": headers,
            "body": _shortened(reply["body"]),
        }

    def post(self, name: str, path: str, body: Json) -> None:
        """Post a body with the good key."""
        function = "subscription_usage" if path == "/v1/subscriptions/usage" else "ingest_events"
        self.ask(name, function, self.event("POST", path, body=json.dumps(body)))

    def analytics(self, name: str, **parameters: str) -> None:
        """Ask the analytics."""
        event = self.event("GET", "/api/v1/analytics/usage", queryStringParameters=parameters)
        self.ask(name, "analytics_usage", event)

    def event(self, method: str, path: str, **more: Json) -> dict[str, Any]:
        """Give API Gateway's event of a request with the good key."""
        headers = {"Authorization": f"Bearer {self.key}", "x-api-key": self.key}
        context = {"requestId": "r-1", "stage": "prod"}
        return {"httpMethod": method, "path": path, "headers": headers, "body": None} | {
            "requestContext": context,
            **more,
        }

    def deliver(self) -> None:
        """Deliver to the fold what was logged over HTTP and not yet delivered by this run, shard by shard.

        A record has its shard and its number from the event itself: delivered by another run, it is the same.
        """
        shards: dict[str, list[Json]] = {}
        for key, item in self.table.items().items():
            if "acc" in item and f"{self.organization}#events#" in key.pk and key not in self.delivered:
                self.delivered.add(key)
                # That it is withdrawn came later.
                image = {name: value for name, value in item.items() if name not in _MARKS}
                accepted = int(item["acc"]["N"])
                number = accepted * 10**6 + int.from_bytes(sha256("".join(key).encode()).digest()[:2])
                found = _record(image | {"pk": {"S": key.pk}, "sk": {"S": key.sk}}, number)
                shards.setdefault(f"shardId-{accepted // HOUR}", []).append(found)
            if "wg" in item and f"{self.organization}#events#" in key.pk and key not in self.marked:
                self.marked.add(key)
                at = int(item["w"]["N"])
                number = at * 10**6 + int.from_bytes(sha256("".join(key).encode()).digest()[:2])
                found = _record(item | {"pk": {"S": key.pk}, "sk": {"S": key.sk}}, number, "MODIFY")
                shards.setdefault(f"shardId-{at // HOUR}", []).append(found)
        for shard, records in sorted(shards.items()):
            self.fold(sorted(records, key=lambda each: int(each["dynamodb"]["SequenceNumber"])), shard)

    def fold(self, records: list[Json], shard: str = "shardId-1") -> None:
        """Deliver records to the fold."""
        self.invoke("fold_usage", {"Records": records, "shardId": shard, "state": {}})

    def roll(self) -> None:
        """Let the clock's function run."""
        self.invoke("roll_usage", {})

    def stopped(self, writes: int, *arguments: str, **options: str) -> None:
        """Run a command from whose write of this number on the table does not answer."""
        first = self.table.writes + writes
        self.table.faults = Faults(unavailable=lambda number: number >= first)
        self.command(*arguments, **options)
        self.table.faults = replace(self.table.faults, unavailable=lambda _: False)

    # What is seen.

    def dump(self) -> list[str]:
        """Give the table's items as lines of JSON, in the order of their keys."""
        items = [
            {"pk": {"S": key.pk}, "sk": {"S": key.sk}} | dict(sorted(item.items()))
            for key, item in sorted(self.table.items().items())
        ]
        return [json.dumps(item, ensure_ascii=False, separators=(",", ":")) for item in items]

    def _shown(self, text: str) -> str:
        return text.replace(str(self.folder), "FOLDER")

    def _load(self, name: str) -> Any:
        for known in (*FUNCTIONS, name, "fold-usage", "roll-usage"):
            forget_logger(known)
        with (
            redirect_stdout(self._out),
            mock.patch.dict(
                os.environ, {"POWERTOOLS_SERVICE_NAME": name, "POWERTOOLS_METRICS_NAMESPACE": "Meterstone"}
            ),
        ):
            module = load(name)
        return module.handler

    def _bytes(self, count: int | None = None) -> bytes:
        self._random += 1
        return sha256(f"golden {self._random}".encode()).digest()[: count or 32]

    def send_message(self, **message: Json) -> None:
        """Take a message, as the queue of records that were set aside does."""
        self.queue.append(message | {"MessageBody": json.loads(message["MessageBody"])})

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * SECOND)

    def seconds(self) -> float:
        """Tell the time."""
        return self.now / SECOND

    def nanoseconds(self) -> int:
        """Tell the time."""
        return self.now * 1000

    def around(self) -> Surroundings:
        """Give the surroundings of a command, where waiting takes no time."""
        return Surroundings(lambda: self.now, self.sleep, say)


@dataclass
class _Context:
    function_name: str
    aws_request_id: str = "c1d2e3f4-0000-4000-8000-000000000001"
    memory_limit_in_mb: str = "512"
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:function"


@contextmanager
def running(folder: Path, items: Iterable[str] = ()) -> Iterator[Run]:
    """Run Meterstone over a table of its own, that holds some items, in a time and with chances of its own."""
    run = Run(Watched(), folder)
    for line in items:
        run.table.put(json.loads(line))
    run.table.seen.clear()
    environment = {"TABLE_NAME": "memory", "POISON_QUEUE_URL": "queue", "AWS_DEFAULT_REGION": "eu-central-1"}
    with (
        mock.patch.object(Table, "from_environment", classmethod(lambda _: run.table)),
        mock.patch.object(session, "surroundings", run.around),
        mock.patch.object(boto3, "client", return_value=run),
        mock.patch.object(time, "time", run.seconds),
        mock.patch.object(time, "time_ns", run.nanoseconds),
        mock.patch.object(secrets, "token_bytes", run._bytes),
        mock.patch.object(os, "urandom", run._bytes),
        mock.patch.dict(os.environ, environment | {"NO_COLOR": "1"}),
    ):
        yield run


def _record(image: Item, number: int, name: str = "INSERT") -> Json:
    change = {
        "SequenceNumber": str(number),
        "NewImage": image,
        "Keys": {each: image[each] for each in ("pk", "sk")},
    }
    return {"eventName": name, "eventSource": "aws:dynamodb", "dynamodb": change}


def _shortened(body: str) -> Json:
    """Give a body, CSV by the line; of a long one its beginning, and what changes with every byte of it."""
    if len(body) <= _LONGEST_BODY:
        if body and body[0] not in "{[":
            return body.split("\r\n")
        return json.loads(body) if body else ""
    return {"begins": body[:_BEGINNING], "characters": len(body), "sha256": sha256(body.encode()).hexdigest()}


def _without_most_differences(lines: list[str]) -> list[str]:
    """Leave out most of what a rebuild lists as different."""
    different = [line for line in lines if line.count("\t") == _DIFFERENCE]
    if not different:
        return lines
    every = sha256("\n".join(different).encode()).hexdigest()
    told = [*different[:_MOST_DIFFERENCES], f"and so on: {len(different)} lines, SHA-256 {every}"]
    return [*told, *(line for line in lines if line not in set(different))]


_LONGEST_BODY = 20_000
_BEGINNING = 1_000
_MOST_DIFFERENCES = 20
#: Tabs in a line that says what differs.
_DIFFERENCE = 7
_TIMES = {"milliseconds", "Latency", "timestamp", "Timestamp", "location", "exception", "stack_trace"}


def _masked_log(line: str) -> str:
    def masked(value: Json) -> Json:
        if isinstance(value, dict):
            return {name: "…" if name in _TIMES else masked(each) for name, each in value.items()}
        return [masked(each) for each in value] if isinstance(value, list) else value

    return json.dumps(masked(json.loads(line)), ensure_ascii=False)


#: So wide that no line is broken: defaults have paths in them, which are as long as the machine has them.
_UNBROKEN = 1000


def help_texts() -> list[str]:
    """Give the help of the command line, of every command and of every command of a group."""
    found: list[str] = []

    def describe(words: list[str], command: Any) -> None:
        out = io.StringIO()
        with redirect_stdout(out):
            app([*words, "--help"], standalone_mode=False, prog_name="meterstone", terminal_width=_UNBROKEN)
        found.append(f"$ meterstone {' '.join(words)}".rstrip())
        found.extend(line.replace(str(ROOT), "ROOT").rstrip() for line in out.getvalue().splitlines())
        for name, each in sorted(getattr(command, "commands", {}).items()):
            describe([*words, name], each)

    with mock.patch.dict(os.environ, {"NO_COLOR": "1"}):
        for name in ("TABLE_NAME", "METERSTONE_ENGINE", "METERSTONE_ORGANIZATION"):
            os.environ.pop(name, None)
        describe([], typer.main.get_command(app))
    return found


def environment_variables() -> dict[str, list[str]]:
    """Name the environment variables that the code reads, and those that the template sets."""
    read: set[str] = set()
    for folder in ("layers", "functions", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            names = re.findall(r'environ(?:\.get\(|\[)"?(\w+)', text) + re.findall(r'envvar="(\w+)"', text)
            for name in names:
                constant = re.search(rf'^{name} = "(\w+)"', text, re.MULTILINE)
                read.add(constant[1] if constant else name)
    template = (ROOT / "template.yaml").read_text()
    block = re.findall(r"^ +Variables:\n((?: +\w+: .*\n)+)", template, re.MULTILINE)
    set_ = {name for each in block for name in re.findall(r"^ +(\w+):", each, re.MULTILINE)}
    return {"read": sorted(each for each in read if each.isupper()), "template": sorted(set_)}


def template_names() -> dict[str, Json]:
    """Name what the template is known by from outside: resources with their types, parameters, outputs."""
    section = ""
    found: dict[str, Json] = {"Parameters": [], "Resources": {}, "Outputs": []}
    last = ""
    for line in (ROOT / "template.yaml").read_text().splitlines():
        if named := re.fullmatch(r"(\w+):.*", line):
            section = named[1]
        elif (named := re.fullmatch(r"  (\w+):", line)) and section in found:
            last = named[1]
            if section == "Resources":
                found[section][last] = ""
            else:
                found[section].append(last)
        elif section == "Resources" and (named := re.fullmatch(r"    Type: (\S+)", line)):
            found[section][last] = named[1]
    return found
