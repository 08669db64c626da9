"""The tools that people use read openapi.yaml: a linter, and generators of TypeScript and Python clients.

`make test-openapi` makes the environments of the tools and runs these tests.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.stack import Stack

pytestmark = [pytest.mark.tools, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "openapi.yaml"
NODE = ROOT / ".venvs/node/node_modules/.bin"
PYTHON = ROOT / ".venvs/openapi/bin"


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Run a tool in a folder; return its output, which is in the failure if its exit status is not 0."""
    done = subprocess.run(  # noqa: S603 - tools of environments that this repository pins
        command,
        cwd=folder,
        env={"PATH": f"{PYTHON}:{os.environ['PATH']}", "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_redocly_finds_no_error(tmp_path: Path) -> None:
    settings = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    found = json.loads(run(NODE / "redocly", "lint", "--format=json", DOCUMENT, folder=tmp_path, **settings))
    assert found["totals"]["errors"] == 0
    # Of a bulk any item is accepted and rejected by itself, which only a schema without limits can say.
    assert [each["ruleId"] for each in found["problems"]] == ["no-illogical-composition-keywords"]


def test_typescript_types_compile(tmp_path: Path) -> None:
    run(NODE / "openapi-typescript", DOCUMENT, "--output", "api.d.ts", folder=tmp_path)
    (tmp_path / "use.ts").write_text(
        'import type { paths, components } from "./api";\n'
        'type Get = paths["/api/v1/analytics/usage"]["get"];\n'
        'type Answer = Get["responses"]["200"]["content"]["application/json"];\n'
        "export const cents = (answer: Answer): number[] => answer.usages.map((row) => row.amount_cents);\n"
        'export const currency: components["schemas"]["Currency"] = "KWD";\n'
    )
    run(NODE / "tsc", "--noEmit", "--strict", "use.ts", folder=tmp_path)


ASKING = """
import json, os, sys
from meterstone_client import AuthenticatedClient
from meterstone_client.api.analytics import find_all_usages
from meterstone_client.api.subscriptions import get_subscription_usage
from meterstone_client.models import Currency, GetUsageBySubscriptionRequest
from meterstone_client.models.find_all_usages_time_granularity import FindAllUsagesTimeGranularity as Granularity
import datetime

url, key, subscription = sys.argv[1:]
with AuthenticatedClient(url, token=key, raise_on_unexpected_status=True) as client:
    usages = find_all_usages.sync(
        client=client, currency=Currency.EUR, time_granularity=Granularity.MONTHLY,
        from_date=datetime.date(2024, 1, 1), to_date=datetime.date(2024, 4, 30),
    )
with AuthenticatedClient(url, token=key, prefix="", auth_header_name="x-api-key") as client:
    usage = get_subscription_usage.sync(
        client=client, body=GetUsageBySubscriptionRequest(subscription_id=subscription, lifetime_usage=True)
    )
print(json.dumps({
    "types": [type(each).__name__ for each in (usages, usages.usages[0], usage, usage.charges[0])],
    "rows": [row.to_dict() for row in usages.usages],
    "usage": usage.to_dict(),
}, default=str))
"""


def test_a_generated_python_client_gets_typed_answers(api: Stack, tmp_path: Path) -> None:
    run(
        PYTHON / "openapi-python-client",
        "generate",
        "--path",
        DOCUMENT,
        "--output-path",
        "made",
        folder=tmp_path,
    )
    asked = run(
        *(PYTHON / "python", "-c", ASKING, api.base_url, api.key, api.subscription_id),
        folder=tmp_path,
        PYTHONPATH=str(tmp_path / "made"),
    )
    answers: dict[str, Any] = json.loads(asked)
    assert answers["types"] == [
        "Usages", "UsageObject", "GetUsageBySubscriptionResponse", "SubscriptionUsageByMetersResponse"
    ]  # fmt: skip
    assert {row["amount_currency"] for row in answers["rows"]} == {"EUR"}
    assert answers["usage"]["charges"]
