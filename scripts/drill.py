"""Try the restore of docs/operating.md, step by step, on a local emulator of AWS. No step is left out or made up.

A stack is deployed, and two catalogues and their usage are loaded. Events are posted; some are logged and not yet
counted when the table is backed up, and some come in after that. Then the table is broken: items of every kind are
deleted, and others are changed. It is restored from the backup into a new table, which is attached, and the stack
is deployed on it.

What must hold, or the drill fails:

- both endpoints answer as they did at the restore point, with all events that were logged by then,
- clients may send all events again: those that are there are known, those that were lost are new and count,
- then both endpoints answer as they did before the table was broken, and the old table is still there.

The emulator keeps no history of a table, so the drill restores an on-demand backup. Of a point-in-time restore the
call differs, and nothing after it. Runs in the engine's environment, after `make build`; takes about 7 minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

import deploy_local  # It finds the code of the command line, too.
from deploy_local import ROOT
from meterstone_cli.devserver.engine import EngineError

STAGE = "dev"
RESTORED = "meterstone-restored"
PYTHON = ROOT / ".venv/bin/python"
#: The catalogues, their files of usage, and the subscriptions whose answers are compared.
SMALL, OTHER = "0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a01", "5a1e3f60-2b7d-4c3c-8f57-9d2c3a7e0b02"
CATALOGUES = {SMALL: ROOT / "tests/small/catalogue", OTHER: ROOT / "tests/small/other"}
USAGE = {SMALL: [ROOT / "tests/small/usage.csv"], OTHER: []}
SUBSCRIPTIONS = {SMALL: ["sub_acme", "sub_kaiju", "sub_shy"], OTHER: ["sub_stranger"]}
#: Windows of both endpoints, and what the analytics are asked by.
WINDOWS = [("2024-01-01", "2024-02-01"), ("2024-02-01", "2024-03-01"), ("2024-03-01", "2024-04-01")]
QUERIES = [
    "time_granularity=daily",
    "time_granularity=monthly&currency=EUR",
    "time_granularity=monthly&external_subscription_id=acme-main",
    "time_granularity=monthly&external_customer_id=kaiju",
]
COUNTED_WITHIN = 120.0

type Answers = dict[str, Any]


class DrillError(Exception):
    """What the drill found is not what must hold."""


class Api:
    """The deployed stack, as clients meet it."""

    def __init__(self, url: str, keys: dict[str, str]) -> None:
        self.url = url
        self.keys = keys

    def call(self, key: str, path: str, body: object = None) -> tuple[int, Any]:
        """Call a route: a POST if there is a body."""
        headers = {"Authorization": f"Bearer {key}", "x-api-key": key, "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def post(self, events: list[dict[str, Any]]) -> list[int]:
        """Post events one by one. Return the statuses: 200 is new, 422 is known by its transaction id."""
        return [self.call(self.keys[SMALL], "/api/v1/events", {"event": each})[0] for each in events]

    def answers(self) -> Answers:
        """Ask both endpoints about every subscription, window and view."""
        found: Answers = {}
        for organization, key in self.keys.items():
            for begin, end in WINDOWS:
                for query in QUERIES:
                    path = f"/api/v1/analytics/usage?from_date={begin}&to_date={end}&{query}"
                    found[f"{organization} {path}"] = self.call(key, path)
                for subscription in SUBSCRIPTIONS[organization]:
                    window = {"start_time": f"{begin}T00:00:00Z", "end_time": f"{end}T00:00:00Z"}
                    asked = {"subscription_id": subscription} | window
                    found[f"{organization} {asked}"] = self.call(key, "/v1/subscriptions/usage", asked)
        return found

    def quantity(self) -> Any:
        """Return how many calls of March are counted."""
        window = {"start_time": "2024-03-01T00:00:00Z", "end_time": "2024-04-01T00:00:00Z"}
        body = self.call(
            self.keys[SMALL], "/v1/subscriptions/usage", {"subscription_id": "sub_acme"} | window
        )[1]
        return next((each["quantity"] for each in body["charges"] if each["meter_id"] == "meter_calls"), 0)


def events(name: str, count: int) -> list[dict[str, Any]]:
    """Make events of March, one a minute."""
    return [
        {
            "transaction_id": f"{name}-{number}",
            "code": "api_calls",
            "external_subscription_id": "acme-main",
            "timestamp": str(1_710_000_000 + 60 * number),
        }
        for number in range(count)
    ]


def meterstone(*arguments: str) -> str:
    """Run a command of ours. Return what it printed."""
    print(f"$ meterstone {' '.join(arguments)}", flush=True)
    done = subprocess.run(  # noqa: S603
        [PYTHON, "-m", "meterstone_cli", *arguments],
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'cli'}:{ROOT / 'layers/meterstone'}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = str(done.stdout)
    print(told, end="", flush=True)
    return told


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say how long a step took."""
    print(f"==> {what}", flush=True)
    begun = time.monotonic()
    yield
    print(f"==> {what}: {time.monotonic() - begun:.1f} s", flush=True)


def hold(holds: bool, what: str) -> None:  # noqa: FBT001 - what must hold
    """Raise `DrillError` unless something holds."""
    if not holds:
        raise DrillError(what)
    print(f"    ok: {what}", flush=True)


def wait_for(what: str, holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    latest = time.monotonic() + COUNTED_WITHIN
    while not holds():
        if time.monotonic() > latest:
            raise DrillError(f"not within {COUNTED_WITHIN:.0f} s: {what}")
        time.sleep(0.5)


def break_table(table: str) -> int:
    """Delete every third item of the table but the keys', and change every rollup. Return how many were hit."""
    resource = boto3.resource("dynamodb").Table(table)
    page = resource.scan()
    items: list[dict[str, Any]] = list(page["Items"])
    while "LastEvaluatedKey" in page:
        page = resource.scan(ExclusiveStartKey=page["LastEvaluatedKey"])
        items += page["Items"]
    hit = 0
    for number, item in enumerate(sorted(items, key=lambda each: (each["pk"], each["sk"]))):
        key = {"pk": item["pk"], "sk": item["sk"]}
        if item["pk"].startswith("key"):
            continue
        if "#rollup#" in item["pk"]:
            days = [name for name in item if name[0] in "ua" and name[1:].isdigit()]
            resource.put_item(Item=item | {name: item[name] + 7 for name in days})
        elif number % 3 == 0:
            resource.delete_item(Key=key)
        else:
            continue
        hit += 1
    return hit


def source_of(stack: str) -> str:
    """Return the id of the event source that feeds the function which counts."""
    resources = boto3.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    (found,) = (
        each["PhysicalResourceId"]
        for each in resources
        if each["ResourceType"] == "AWS::Lambda::EventSourceMapping"
    )
    return str(found)


def load() -> dict[str, str]:
    """Load the catalogues and their usage. Return a key of each organization."""
    keys = {}
    for organization, folder in CATALOGUES.items():
        meterstone("load", str(folder))
        for file in USAGE[organization]:
            meterstone("import", str(file), "-o", organization)
        keys[organization] = meterstone("keys", "create", "-o", organization, "--name", "drill").strip()
    return keys


def drill(endpoint: str, folder: Path) -> None:
    """Back up, break, restore, attach, open, compare."""
    dynamodb, functions = boto3.client("dynamodb"), boto3.client("lambda")
    with step("a stack with usage"):
        url, table = deploy_local.deployed(STAGE, endpoint, folder)
        os.environ["TABLE_NAME"] = table
        api = Api(url, load())
        begin = api.quantity()
        counted, logged, late = events("counted", 5), events("logged", 4), events("late", 3)
        hold(set(api.post(counted)) == {200}, "events are new")
        wait_for("events are counted", lambda: api.quantity() == begin + 5)
    with step("events that are logged and not counted, and a backup"):
        source = source_of(deploy_local.stack_of(STAGE))
        functions.update_event_source_mapping(UUID=source, Enabled=False)
        time.sleep(5)
        hold(set(api.post(logged)) == {200}, "events are new")
        time.sleep(5)
        hold(api.quantity() == begin + 5, "they are not counted")
        backup = dynamodb.create_backup(TableName=table, BackupName="drill")["BackupDetails"]["BackupArn"]
        functions.update_event_source_mapping(UUID=source, Enabled=True)
        wait_for("they are counted in the table that was backed up", lambda: api.quantity() == begin + 9)
        at_restore_point = api.answers()
        hold({status for status, _ in at_restore_point.values()} == {200}, "every question is answered")
    with step("events after the restore point"):
        api.post(late)
        wait_for("they are counted", lambda: api.quantity() == begin + 12)
        before = api.answers()
        hold(before != at_restore_point, "they show")
    with step("the table is broken"):
        hit = break_table(table)
        hold(api.answers() != before, f"{hit} items are gone or wrong, and answers show it")
    with step("restored into a new table"):
        dynamodb.restore_table_from_backup(TargetTableName=RESTORED, BackupArn=backup)
        dynamodb.get_waiter("table_exists").wait(TableName=RESTORED, WaiterConfig={"Delay": 1})
    with step("attached"):
        meterstone("attach", "--table", RESTORED, "--dry-run")
        told = meterstone("attach", "--table", RESTORED)
        parameters = dict(each.split("=", 1) for each in told.splitlines()[-1].split())
    with step("the stack is deployed on it"):
        url, in_use = deploy_local.deployed(STAGE, endpoint, folder, **parameters)
        hold(in_use == RESTORED, "the stack's table is the restored one")
        hold(table in dynamodb.list_tables()["TableNames"], "the old table is still there")
    with step("compared"):
        api = Api(url, api.keys)
        wait_for("functions answer from the restored table", lambda: api.quantity() == begin + 9)
        hold(api.answers() == at_restore_point, f"{len(before)} answers are those of the restore point")
        statuses = api.post([*counted, *logged, *late])
        hold(
            statuses == [422] * 9 + [200] * 3,
            "sent again, only events that came after the restore point are new",
        )
        wait_for("they are counted from the restored table's stream", lambda: api.quantity() == begin + 12)
        hold(api.answers() == before, f"{len(before)} answers are those of before")


def main() -> int:
    """Run the drill. Return 0 if all held."""
    if lacking := deploy_local.missing():
        print(f"drill: {lacking}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="meterstone-") as folder:
        log = Path(folder) / "engine.log"
        try:
            with deploy_local.emulator(Path(folder)) as endpoint:
                deploy_local.enter(deploy_local.environment(endpoint))
                drill(endpoint, Path(folder))
        except (DrillError, RuntimeError, EngineError, subprocess.CalledProcessError) as error:
            sys.stderr.write("".join(log.read_text(errors="replace").splitlines(keepends=True)[-40:]))
            print(f"drill: {error}", file=sys.stderr)
            return 1
    print("==> all held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
