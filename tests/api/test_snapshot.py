"""A function that is frozen after its import, and restored twice from the same memory: `Start=snapstart`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from support.stack import Stack

ROOT = Path(__file__).parents[2]
ASKED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "usage": ("subscription_usage", "/v1/subscriptions/usage", {"subscription_id": "sub_acme"}),
    "event of Flexprice": (
        "ingest_events",
        "/v1/events",
        {"event_name": "api_calls", "external_customer_id": "acme"},
    ),
    "event of Lago": (
        "ingest_events",
        "/api/v1/events",
        {
            "event": {
                "transaction_id": f"{uuid4()}-NUMBER",
                "code": "api_calls",
                "external_subscription_id": "acme-main",
            }
        },
    ),
}


def frozen(asked: str, key: str) -> dict[str, Any]:
    """Freeze a function, restore it twice, and return what each process answered: see `support.frozen`."""
    function, path, body = ASKED[asked]
    event = {
        "resource": path,
        "path": path,
        "httpMethod": "POST",
        "headers": {"x-api-key": key, "authorization": f"Bearer {key}", "content-type": "application/json"},
        "requestContext": {"requestId": "snapshot"},
        "body": json.dumps(body),
        "isBase64Encoded": False,
    }
    done = subprocess.run(  # noqa: S603
        [sys.executable, ROOT / "tests/support/frozen.py", function],
        input=json.dumps(event),
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(str(ROOT / each) for each in ("tests", "layers/meterstone"))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FROZEN ")]
    found: dict[str, Any] = json.loads(line.removeprefix("FROZEN "))
    return found


@pytest.mark.parametrize("asked", ["usage", "event of Flexprice"])
def test_an_import_opens_no_connection_and_no_copy_uses_one_of_before(api: Stack, asked: str) -> None:
    found = frozen(asked, api.key)
    assert found["at_import"] == []
    assert found["first"]["used"]
    for copy in found["copies"]:
        assert copy["held"] == []
        assert copy["used"]
        assert set(copy["used"]).isdisjoint(found["first"]["used"])


def test_each_copy_takes_an_event_in_at_its_own_time(api: Stack) -> None:
    found = frozen("event of Lago", api.key)
    answers = [found["first"], *found["copies"]]
    assert [each["status"] for each in answers] == [200, 200, 200]
    times = [each["body"]["event"]["created_at"] for each in answers]
    assert times == sorted(set(times))


def test_no_two_copies_draw_the_same_ids_and_pauses(api: Stack) -> None:
    found = frozen("event of Flexprice", api.key)
    answers = [found["first"], *found["copies"]]
    assert [each["status"] for each in answers] == [202, 202, 202]
    assert len({each["body"]["event_id"] for each in answers}) == 3
    assert len({each["random"] for each in found["copies"]}) == 2
