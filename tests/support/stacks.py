"""Stacks of template.yaml, by their parameters, and what tests ask of them."""

import json
from pathlib import Path
from typing import Any

from support.cloudformation import source

ROOT = Path(__file__).resolve().parents[2]
HEARD = {"AlarmEmail": "alarms@example.com"}
RESTORED = {"ExistingTableName": "restored", "ExistingTableStreamArn": "arn:stream"}
STAGES = {
    "dev": {"Environment": "development", "Stage": "dev"},
    "prod": {"Environment": "production", "Stage": "prod", "Start": "snapstart"} | HEARD,
    "all": {"Start": "provisioned", "FirewallRate": "1000", "DomainName": "usage.example.com"}
    | {"CertificateArn": "arn:certificate", "KmsKeyArn": "arn:key", "MonthlyBudget": "100"}
    | {"ReservedConcurrency": "50", "FoldConcurrency": "8", "AccessLogs": "on-and-set-account-role"}
    | {"RecountConcurrency": "20"}
    | HEARD,
    "restored": RESTORED | HEARD,
}
FUNCTIONS = [
    name
    for name, resource in source()["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
]
#: Functions that no request waits for.
FOLLOWERS = ["FoldUsage", "RollUsage", "RecountUsage"]
ANSWERING = [name for name in FUNCTIONS if name not in FOLLOWERS]
#: Those whose containers are worth a price of their own: not the one that answers with a document.
FROM_THE_TABLE = [name for name in ANSWERING if name not in ("DescribeApi", "ShowDashboard")]


def of_type(stack: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: item["Properties"] for name, item in stack.items() if item["Type"] == kind}


def alarms(stack: dict[str, Any]) -> dict[str, Any]:
    return of_type(stack, "AWS::CloudWatch::Alarm")


def dashboard(stack: dict[str, Any]) -> list[dict[str, Any]]:
    match stack["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]:
        case [text, _]:
            body = text
        case text:
            body = text
    return [widget["properties"] for widget in json.loads(body)["widgets"]]
