"""What watches a stack: alarms, the dashboard, the metrics that both name, and the runbook."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from support.cloudformation import deployed
from support.functions import Remaining, forget_logger, load_over
from support.memory_table import MemoryTable
from support.stacks import (
    FUNCTIONS,
    ROOT,
    STAGES,
    alarms,
    dashboard,
)

#: What AWS's services emit, with the dimensions that each is asked for by, as their user guides list them.
AWS_METRICS = {
    ("AWS/ApiGateway", name, frozenset(dimensions))
    for name in ("4XXError", "5XXError", "Count", "Latency")
    for dimensions in (("ApiName", "Stage"), ("ApiName", "Method", "Resource", "Stage"))
} | {
    *(
        ("AWS/DynamoDB", name, frozenset({"TableName"}))
        for name in (
            "ConditionalCheckFailedRequests",
            "ConsumedReadCapacityUnits",
            "ConsumedWriteCapacityUnits",
            "ReadThrottleEvents",
            "TransactionConflict",
            "WriteThrottleEvents",
        )
    ),
    # By the table alone they are those of the table, without its indexes.
    *(
        ("AWS/DynamoDB", name, frozenset({"TableName", "GlobalSecondaryIndexName"}))
        for name in (
            "ConsumedReadCapacityUnits",
            "ConsumedWriteCapacityUnits",
            "ReadThrottleEvents",
            "WriteThrottleEvents",
        )
    ),
    *(
        ("AWS/Lambda", name, frozenset({"FunctionName"}))
        for name in ("ConcurrentExecutions", "Errors", "Invocations", "IteratorAge", "Throttles")
    ),
    ("AWS/Lambda", "Errors", frozenset({"ExecutedVersion", "FunctionName", "Resource"})),
    *(
        ("AWS/SQS", name, frozenset({"QueueName"}))
        for name in ("ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible")
    ),
}
OURS = "Meterstone/${AWS::StackName}"
FROZEN_LOG = (ROOT / "tests/golden/log.jsonl").read_text()


def emitted(log: str) -> set[tuple[str, str, frozenset[str]]]:
    """Return the metrics that the code has emitted in a log, by namespace, name and dimensions."""
    found = set()
    for line in log.splitlines():
        for block in json.loads(line).get("_aws", {}).get("CloudWatchMetrics", ()):
            assert block["Namespace"] == "Meterstone"
            for dimensions in block["Dimensions"]:
                found |= {(OURS, each["Name"], frozenset(dimensions)) for each in block["Metrics"]}
    return found


def watched(stack: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str, frozenset[str]]]]:
    """Find every metric that an alarm or a widget names, with who names it."""
    for name, alarm in alarms(stack).items():
        namespace = alarm["Namespace"]
        dimensions = frozenset(each["Name"] for each in alarm["Dimensions"])
        yield (
            name,
            (
                namespace["Fn::Sub"] if isinstance(namespace, dict) else namespace,
                alarm["MetricName"],
                dimensions,
            ),
        )
    for widget in dashboard(stack):
        for row in widget["metrics"]:
            if isinstance(row[0], dict):
                asked = re.findall(
                    r"SEARCH\('\{([^}]*\}[^,]*|[^,]*),([^}]*)\} MetricName=\"(\w+)\"", row[0]["expression"]
                )
                for namespace, dimensions, metric in asked:
                    yield widget["title"], (namespace, metric, frozenset(dimensions.split(",")))
            else:
                named = [each for each in row[2:] if isinstance(each, str)]
                yield widget["title"], (row[0], row[1], frozenset(named[::2]))


@pytest.fixture
def log_of_recounts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `recount_usage` logs in a call for which nothing is due. The frozen log has no call of it."""
    forget_logger("recount-usage")
    load_over("recount_usage", MemoryTable(), monkeypatch).handler({}, Remaining())
    return capsys.readouterr().out


def test_every_metric_that_is_watched_is_emitted_by_the_code_or_by_aws(log_of_recounts: str) -> None:
    metrics = list(watched(deployed(**STAGES["prod"])))
    assert {name for _, (namespace, name, _) in metrics if namespace == OURS} >= {
        *("EventsAccepted", "EventsCounted", "UncountedEvents", "OldestRecount", "RecountsRefused"),
    }
    known = AWS_METRICS | emitted(FROZEN_LOG) | emitted(log_of_recounts)
    assert [(who, metric) for who, metric in metrics if metric not in known] == []


def test_each_reason_why_events_do_not_count_has_its_alarm() -> None:
    reasons = {
        line["reason"] for line in map(json.loads, FROZEN_LOG.splitlines()) if line["message"] == "uncounted"
    }
    asked = [
        dimension["Value"]
        for alarm in alarms(deployed(**STAGES["prod"])).values()
        for dimension in alarm["Dimensions"]
        if dimension["Name"] == "reason"
    ]
    assert sorted(asked) == sorted(reasons)
    assert len(reasons) == 7


def test_each_function_has_alarms_for_its_errors_and_its_throttles() -> None:
    found = {
        (alarm["MetricName"], alarm["Dimensions"][0]["Value"]["Ref"])
        for alarm in alarms(deployed(**STAGES["prod"])).values()
        if alarm["Namespace"] == "AWS/Lambda" and len(alarm["Dimensions"]) == 1
    }
    assert {(metric, name) for metric in ("Errors", "Throttles") for name in FUNCTIONS} <= found


EMAIL, TOPIC = {"AlarmEmail": "a@example.com"}, {"AlarmTopicArn": "arn:topic"}
PAGES = {"FoldMissedAlarm", "IteratorAgeAlarm", "PoisonAlarm", "ServerErrorAlarm"}


@pytest.mark.parametrize(
    ("given", "heard", "paged"),
    [
        (EMAIL, [{"Ref": "AlarmTopic"}], []),
        (TOPIC, ["arn:topic"], []),
        (EMAIL | TOPIC, [{"Ref": "AlarmTopic"}, "arn:topic"], []),
        (EMAIL | {"PageTopicArn": "arn:page"}, [{"Ref": "AlarmTopic"}], ["arn:page"]),
    ],
    ids=["an address", "a topic", "both", "pages apart"],
)
def test_alarms_ring_where_the_parameters_say(
    given: dict[str, str], heard: list[Any], paged: list[Any]
) -> None:
    stack = deployed(**given)
    assert ("AlarmTopic" in stack) is ("AlarmEmail" in given)
    for name, alarm in alarms(stack).items():
        if name.endswith("VersionAlarm"):
            assert "AlarmActions" not in alarm
        else:
            assert alarm["AlarmActions"] == heard + (paged if name in PAGES else []), name


def test_without_a_listener_only_deployments_are_watched() -> None:
    assert alarms(deployed(**STAGES["dev"])).keys() == {f"{name}VersionAlarm" for name in FUNCTIONS}


@pytest.mark.parametrize(
    ("alarm", "figures"),
    [
        ("ServerErrorAlarm", ("5XXError", "Average", 300, 1, 0.01)),
        ("AnalyticsLatencyAlarm", ("Latency", "p99", 300, 3, 2000)),
        ("SubscriptionLatencyAlarm", ("Latency", "p99", 300, 3, 2000)),
        ("IteratorAgeWarning", ("IteratorAge", "Maximum", 300, 1, 300_000)),
        ("IteratorAgeAlarm", ("IteratorAge", "Maximum", 300, 1, 3_600_000)),
        ("FoldMissedAlarm", ("Invocations", "Sum", 3600, 2, 1)),
        ("RollMissedAlarm", ("Invocations", "Sum", 3600, 2, 1)),
        ("RollBehindAlarm", ("ApproximateAgeOfOldestMessage", "Maximum", 300, 1, 2700)),
        ("RecountMissedAlarm", ("Invocations", "Sum", 300, 3, 1)),
        ("RecountStuckAlarm", ("OldestRecount", "Maximum", 300, 3, 3600)),
        ("RecountsRefusedAlarm", ("RecountsRefused", "Sum", 300, 1, 0)),
    ],
)
def test_an_alarm_rings_at_its_figure(alarm: str, figures: tuple[Any, ...]) -> None:
    found = alarms(deployed(**STAGES["prod"]))[alarm]
    statistic = found.get("Statistic", found.get("ExtendedStatistic"))
    assert (
        *(found["MetricName"], statistic, found["Period"]),
        *(found["EvaluationPeriods"], found["Threshold"]),
    ) == figures


def test_a_recount_is_stuck_although_one_of_three_periods_has_no_call_that_ended() -> None:
    alarm = alarms(deployed(**STAGES["prod"]))["RecountStuckAlarm"]
    assert (alarm["DatapointsToAlarm"], alarm["TreatMissingData"]) == (2, "notBreaching")


def test_calls_that_are_missing_ring_an_alarm_and_numbers_that_are_missing_do_not() -> None:
    found = alarms(deployed(**STAGES["prod"]))
    breaching = {name for name, alarm in found.items() if alarm["TreatMissingData"] == "breaching"}
    assert breaching == {"FoldMissedAlarm", "RollMissedAlarm", "RecountMissedAlarm"}
    for name in breaching:
        assert found[name]["ComparisonOperator"] == "LessThanThreshold"


def test_the_document_of_costs_has_the_number_of_alarms() -> None:
    number = len(alarms(deployed(**STAGES["prod"])))
    told = f"Production has {number} alarms, ${number / 10:.2f} a month"
    assert told in (ROOT / "docs/cost.md").read_text()


def test_the_dashboard_shows_what_an_hour_of_reads_and_writes_costs() -> None:
    given = STAGES["prod"] | {"WriteUnitPrice": "0.7", "ReadUnitPrice": "0.2"}
    (widget,) = (each for each in dashboard(deployed(**given)) if "US dollars" in each["title"])
    units = {row[-1]["id"]: (row[1], "due" in row) for row in widget["metrics"] if len(row) > 1}
    assert units == {
        "writes": ("ConsumedWriteCapacityUnits", False),
        "reads": ("ConsumedReadCapacityUnits", False),
        "index_writes": ("ConsumedWriteCapacityUnits", True),
        "index_reads": ("ConsumedReadCapacityUnits", True),
    }
    assert [row[0]["expression"] for row in widget["metrics"] if len(row) == 1] == [
        "(FILL(writes, 0) + FILL(index_writes, 0)) / 1000000 * 0.7",
        "(FILL(reads, 0) + FILL(index_reads, 0)) / 1000000 * 0.2",
    ]


def test_the_runbook_has_a_section_for_each_alarm_and_for_no_other() -> None:
    text = (ROOT / "docs/operating.md").read_text()
    _, _, sections = text.partition("\n## When an alarm rings\n")
    sections, _, _ = sections.partition("\n## ")
    headings = re.findall(r"^### (.*)$", sections, re.MULTILINE)
    named = [name for heading in headings for name in re.findall(r"`(\w+)`", heading)]
    assert sorted(named) == sorted(alarms(deployed(**STAGES["prod"])))
    for section in sections.split("\n### ")[1:]:
        assert "- **Look at**" in section
        assert "- **Do**" in section
    pages = {heading for heading in headings if f"### {heading}\n\n*Page.*" in sections}
    assert pages == {f"`{name}`" for name in PAGES}
