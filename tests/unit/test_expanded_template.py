"""What a stack has in it once SAM has expanded template.yaml and the parameters are given."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cloudformation import deployed, refusals, source
from support.functions import Remaining, forget_logger, load_over
from support.memory_table import MemoryTable

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
        for name in ("ReadThrottleEvents", "WriteThrottleEvents")
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
#: Names that are no physical names of an account and region, with what they are names within.
SCOPED = {
    ("AWS::ApiGateway::DomainName", "DomainName"): "the world: whoever gives it owns it",
    ("AWS::ApiGateway::Stage", "StageName"): "an API",
    ("AWS::CloudWatch::Alarm", "Dimensions.Name"): "a metric",
    (
        "AWS::CloudWatch::Alarm",
        "MetricName",
    ): "a namespace, of which the metric's dimensions name the stack's",
    ("AWS::CodeDeploy::DeploymentGroup", "DeploymentConfigName"): "AWS: it has been there before",
    ("AWS::DynamoDB::Table", "AttributeDefinitions.AttributeName"): "a table",
    ("AWS::DynamoDB::Table", "GlobalSecondaryIndexes.IndexName"): "a table",
    ("AWS::DynamoDB::Table", "GlobalSecondaryIndexes.KeySchema.AttributeName"): "a table",
    ("AWS::DynamoDB::Table", "KeySchema.AttributeName"): "a table",
    ("AWS::IAM::Role", "Policies.PolicyName"): "a role",
    ("AWS::Lambda::Alias", "Name"): "a function",
    ("AWS::WAFv2::WebACL", "Rules.Name"): "a firewall",
    ("AWS::WAFv2::WebACL", "Rules.VisibilityConfig.MetricName"): "a firewall",
}


@pytest.fixture(scope="module", params=STAGES)
def stack(request: pytest.FixtureRequest) -> dict[str, Any]:
    return deployed(**STAGES[request.param])


def names(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Find every property that ends in `Name`, with its place in the resource."""
    match value:
        case dict():
            for key, item in value.items():
                if key.endswith("Name"):
                    yield ".".join((*path, key)), item
                else:
                    yield from names(item, (*path, key))
        case list():
            for item in value:
                yield from names(item, path)
        case _:
            return


def is_the_stack_s_own(name: Any) -> bool:
    """Tell whether a name contains the stack's, or is that of another resource of the stack."""
    match name:
        case {"Ref": _} | {"Fn::GetAtt": _}:
            return True
        case {"Fn::Sub": text}:
            return "${AWS::StackName}" in str(text)
        case _:
            return False


def test_a_second_stack_of_an_account_and_region_meets_no_name_of_the_first(stack: dict[str, Any]) -> None:
    fixed = {
        f"{logical_id}.{place}": name
        for logical_id, resource in stack.items()
        for place, name in names(resource.get("Properties", {}))
        if (resource["Type"], place) not in SCOPED and not is_the_stack_s_own(name)
    }
    assert fixed == {}


def of_type(stack: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: item["Properties"] for name, item in stack.items() if item["Type"] == kind}


def alarms(stack: dict[str, Any]) -> dict[str, Any]:
    return of_type(stack, "AWS::CloudWatch::Alarm")


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


def dashboard(stack: dict[str, Any]) -> list[dict[str, Any]]:
    match stack["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]:
        case [text, _]:
            body = text
        case text:
            body = text
    return [widget["properties"] for widget in json.loads(body)["widgets"]]


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


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_version_that_fails_gives_its_traffic_back(stage: str, name: str) -> None:
    stack = deployed(**STAGES[stage])
    group = stack[f"{name}DeploymentGroup"]["Properties"]
    step = "AllAtOnce" if stage == "dev" else "Canary10Percent5Minutes"
    assert group["DeploymentConfigName"] == f"CodeDeployDefault.Lambda{step}"
    assert group["AlarmConfiguration"] == {
        "Enabled": True,
        "Alarms": [{"Name": {"Ref": f"{name}VersionAlarm"}}],
    }
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    (version,) = (each for each in stack if re.fullmatch(rf"{name}Version[0-9a-f]{{10}}", each))
    alarm = stack[f"{name}VersionAlarm"]["Properties"]
    assert {each["Name"]: each["Value"] for each in alarm["Dimensions"]} == {
        "FunctionName": {"Ref": name},
        "Resource": {"Fn::Sub": f"${{{name}}}:live"},
        "ExecutedVersion": {"Fn::GetAtt": [version, "Version"]},
    }
    alias = stack[f"{name}Aliaslive"]
    assert alias["Properties"]["FunctionVersion"] == {"Fn::GetAtt": [version, "Version"]}
    assert alias["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]["DeploymentGroupName"] == {
        "Ref": f"{name}DeploymentGroup"
    }


def test_whatever_invokes_a_function_invokes_its_alias(stack: dict[str, Any]) -> None:
    invoked = [
        *(each["FunctionName"] for each in of_type(stack, "AWS::Lambda::Permission").values()),
        *(each["FunctionName"] for each in of_type(stack, "AWS::Lambda::EventSourceMapping").values()),
        *(each["Target"]["Arn"] for each in of_type(stack, "AWS::Scheduler::Schedule").values()),
    ]
    assert {each["Ref"] for each in invoked} == {f"{name}Aliaslive" for name in FUNCTIONS}
    operations = [
        operation["x-amazon-apigateway-integration"]["uri"]
        for path in stack["Api"]["Properties"]["Body"]["paths"].values()
        for operation in path.values()
    ]
    called = {found for each in operations for found in re.findall(r"\$\{(\w+)", json.dumps(each))}
    assert called == {f"{name}Aliaslive" for name in ANSWERING}


def versions(stack: dict[str, Any]) -> dict[str, Any]:
    """Return what identifies each function's version to CloudFormation: the logical id and the description."""
    return {
        each["FunctionName"]["Ref"]: (name, each["Description"])
        for name, each in of_type(stack, "AWS::Lambda::Version").items()
    }


@pytest.mark.parametrize(
    ("uploaded", "given"),
    [
        pytest.param(("PricingLayer", "s3://bucket/layer-2.zip"), {}, id="the layer"),
        pytest.param(("", ""), {"MemorySize": "2048"}, id="the memory"),
        pytest.param(("", ""), {"LogLevel": "DEBUG"}, id="the log's level"),
        pytest.param(("", ""), {"Tracing": "on"}, id="tracing"),
        pytest.param(("", ""), {"Start": "snapstart"}, id="how containers start"),
        pytest.param(("", ""), {"Architecture": "x86_64"}, id="the processor"),
        pytest.param(("", ""), {"DynamoEndpoint": "http://127.0.0.1:1"}, id="the endpoint of the table"),
        pytest.param(("", ""), {"ExistingTableName": "restored"}, id="the table"),
    ],
)
def test_a_change_of_what_a_function_runs_on_publishes_a_version_of_each(
    uploaded: tuple[str, str], given: dict[str, str]
) -> None:
    before, after = versions(deployed()), versions(deployed(uploaded, **given))
    assert before.keys() == after.keys() == set(FUNCTIONS)
    assert [name for name in FUNCTIONS if before[name] == after[name]] == []


def test_a_change_of_one_function_s_code_publishes_a_version_of_it_alone() -> None:
    before, after = versions(deployed()), versions(deployed(("FindEvent", "s3://bucket/code-2.zip")))
    assert [name for name in FUNCTIONS if before[name] != after[name]] == ["FindEvent"]


@pytest.mark.parametrize(
    ("start", "snapshot", "ready"),
    [("none", "None", None), ("snapstart", "PublishedVersions", None), ("provisioned", "None", "3")],
)
def test_containers_of_functions_that_answer_from_the_table_start_as_the_parameter_says(
    start: str, snapshot: str, ready: str | None
) -> None:
    stack = deployed(Start=start, ProvisionedConcurrency="3")
    for name in FROM_THE_TABLE:
        assert stack[name]["Properties"]["SnapStart"] == {"ApplyOn": snapshot}
        config = stack[f"{name}Aliaslive"]["Properties"].get("ProvisionedConcurrencyConfig")
        assert config == (None if ready is None else {"ProvisionedConcurrentExecutions": ready})
    for name in set(FUNCTIONS) - set(FROM_THE_TABLE):
        assert "SnapStart" not in stack[name]["Properties"]
        assert "ProvisionedConcurrencyConfig" not in stack[f"{name}Aliaslive"]["Properties"]


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({}, True),
        ({"Environment": "production"}, True),
        ({"Environment": "production", "AlarmEmail": "a@example.com"}, False),
        ({"Environment": "production", "AlarmTopicArn": "arn:topic"}, False),
        ({"Environment": "development"}, False),
        ({"Environment": "development", "MonthlyBudget": "10"}, True),
        ({"Environment": "development", "DomainName": "usage.example.com"}, True),
        ({"Environment": "development", "ExistingTableName": "restored"}, True),
        ({"Environment": "development", "ExistingTableStreamArn": "arn:stream"}, True),
        ({"Environment": "development"} | RESTORED, False),
    ],
    ids=str,
)
def test_a_stack_is_refused_that_would_lack_what_it_needs(given: dict[str, str], *, refused: bool) -> None:
    assert bool(refusals(**given)) is refused


def test_each_function_has_alarms_for_its_errors_and_its_throttles() -> None:
    found = {
        (alarm["MetricName"], alarm["Dimensions"][0]["Value"]["Ref"])
        for alarm in alarms(deployed(**STAGES["prod"])).values()
        if alarm["Namespace"] == "AWS/Lambda" and len(alarm["Dimensions"]) == 1
    }
    assert {(metric, name) for metric in ("Errors", "Throttles") for name in FUNCTIONS} <= found


EMAIL, TOPIC = {"AlarmEmail": "a@example.com"}, {"AlarmTopicArn": "arn:topic"}
PAGES = {"IteratorAgeAlarm", "PoisonAlarm", "ServerErrorAlarm"}


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
    assert breaching == {"RollMissedAlarm", "RecountMissedAlarm"}
    for name in breaching:
        assert found[name]["ComparisonOperator"] == "LessThanThreshold"


def test_the_document_of_costs_has_the_number_of_alarms() -> None:
    number = len(alarms(deployed(**STAGES["prod"])))
    told = f"Production has {number} alarms, ${number / 10:.2f} a month"
    assert told in (ROOT / "docs/cost.md").read_text()


def test_the_dashboard_shows_what_an_hour_of_reads_and_writes_costs() -> None:
    given = STAGES["prod"] | {"WriteUnitPrice": "0.7", "ReadUnitPrice": "0.2"}
    expressions = [
        row[0]["expression"]
        for widget in dashboard(deployed(**given))
        for row in widget["metrics"]
        if len(row) == 1
    ]
    assert {"writes / 1000000 * 0.7", "reads / 1000000 * 0.2"} <= set(expressions)


def test_an_hour_that_fails_is_tried_again_and_then_kept(stack: dict[str, Any]) -> None:
    missed = {"Fn::GetAtt": ["MissedHours", "Arn"]}
    target = stack["RollUsageHourly"]["Properties"]["Target"]
    assert target["DeadLetterConfig"] == {"Arn": missed}
    assert target["RetryPolicy"] == {"MaximumRetryAttempts": 5, "MaximumEventAgeInSeconds": 3600}
    (handed,) = (
        each
        for each in of_type(stack, "AWS::Lambda::EventInvokeConfig").values()
        if each["FunctionName"] == {"Ref": "RollUsage"}
    )
    assert handed["Qualifier"] == "live"
    assert handed["DestinationConfig"] == {"OnFailure": {"Destination": missed}}
    assert handed["MaximumRetryAttempts"] == 1


def test_what_the_schedule_of_recounts_cannot_hand_over_is_kept(stack: dict[str, Any]) -> None:
    missed = {"Fn::GetAtt": ["MissedRecounts", "Arn"]}
    target = stack["RecountUsageStopped"]["Properties"]["Target"]
    assert target["DeadLetterConfig"] == {"Arn": missed}
    statements = [
        statement
        for policy in stack["RecountUsageStoppedRole"]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    assert {"Action": "sqs:SendMessage", "Effect": "Allow", "Resource": missed} in [
        {"Action": each["Action"], "Effect": each["Effect"], "Resource": each["Resource"]}
        for each in statements
    ]


OPTIONAL = {
    "Budget": {"MonthlyBudget": "100"} | HEARD,
    "Domain": {"DomainName": "usage.example.com", "CertificateArn": "arn:certificate"},
    "DomainMapping": {"DomainName": "usage.example.com", "CertificateArn": "arn:certificate"},
    "Firewall": {"FirewallRate": "1000"},
    "FirewallOfTheStage": {"FirewallRate": "1000"},
    "UseKey": {"KmsKeyArn": "arn:key"},
}


@pytest.mark.parametrize(("name", "given"), OPTIONAL.items(), ids=OPTIONAL)
def test_a_protection_is_there_when_its_parameter_asks_for_it(name: str, given: dict[str, str]) -> None:
    assert name not in deployed()
    assert name in deployed(**given)


def test_a_key_encrypts_the_table_the_queues_and_the_logs() -> None:
    stack = deployed(KmsKeyArn="arn:key")
    assert stack["Table"]["Properties"]["SSESpecification"] == {
        "SSEEnabled": True,
        "SSEType": "KMS",
        "KMSMasterKeyId": "arn:key",
    }
    for queue in of_type(stack, "AWS::SQS::Queue").values():
        assert queue["KmsMasterKeyId"] == "arn:key"
        assert "SqsManagedSseEnabled" not in queue
    for group in of_type(stack, "AWS::Logs::LogGroup").values():
        assert group["KmsKeyId"] == "arn:key"
    ways = stack["UseKey"]["Properties"]["PolicyDocument"]["Statement"][0]["Condition"]["StringEquals"][
        "kms:ViaService"
    ]
    assert ways == ["dynamodb.eu-central-1.amazonaws.com", "sqs.eu-central-1.amazonaws.com"]
    using = {name for name, role in of_type(stack, "AWS::IAM::Role").items() if uses_what_is_encrypted(role)}
    assert sorted(each["Ref"] for each in stack["UseKey"]["Properties"]["Roles"]) == sorted(using)


def uses_what_is_encrypted(role: dict[str, Any]) -> bool:
    """Tell whether a role has a right on the table or a queue."""
    return mentions(role.get("Policies", []), '"dynamodb:') or mentions(role.get("Policies", []), '"sqs:')


def mentions(value: Any, text: str) -> bool:
    """Tell whether a text stands anywhere in a resource."""
    return text in json.dumps(value)


@pytest.mark.parametrize(
    ("given", "mentioned", "absent"),
    [
        pytest.param({}, '"Table"', "restored", id="its own"),
        pytest.param(RESTORED, "restored", '"Table"', id="an existing one"),
    ],
)
def test_everything_in_a_stack_refers_to_the_one_table_that_it_has(
    given: dict[str, str], mentioned: str, absent: str
) -> None:
    stack = deployed(**given, **HEARD)
    assert ("Table" in stack) is not bool(given)
    functions = of_type(stack, "AWS::Lambda::Function")
    for function in functions.values():
        assert mentions(function["Environment"]["Variables"]["TABLE_NAME"], mentioned)
    throttled = [
        alarms(stack)[f"{part}{verb}ThrottleAlarm"] for part in ("", "Index") for verb in ("Read", "Write")
    ]
    others = [name for name in FUNCTIONS if name not in ("DescribeApi", "ShowDashboard")]
    roles = [stack[f"{name}Role"]["Properties"]["Policies"] for name in others]
    for each in (*throttled, *roles, dashboard_table(stack)):
        assert mentions(each, mentioned)
    rest = {name: resource for name, resource in stack.items() if name != "Table"}
    assert not mentions(rest, absent)
    assert mentions(rest, "${Table.") is not bool(given)


def dashboard_table(stack: dict[str, Any]) -> Any:
    """Return what the dashboard's metrics of the table are asked for by."""
    found = stack["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    if isinstance(found, list):
        return found[1]["TableInUse"]
    (name,) = {row[3] for widget in dashboard(stack) for row in widget["metrics"] if row[0] == "AWS/DynamoDB"}
    return name


@pytest.mark.parametrize(
    ("given", "stream"),
    [
        pytest.param({}, {"Fn::GetAtt": ["Table", "StreamArn"]}, id="its own"),
        pytest.param(RESTORED, "arn:stream", id="an existing one"),
    ],
)
def test_events_are_counted_from_the_stream_of_the_table_that_a_stack_has(
    given: dict[str, str], stream: Any
) -> None:
    sources = of_type(deployed(**given), "AWS::Lambda::EventSourceMapping").values()
    (source_,) = (each for each in sources if each["FunctionName"] == {"Ref": "FoldUsageAliaslive"})
    assert source_["EventSourceArn"] == stream


def test_containers_are_set_apart_for_who_asks_for_it() -> None:
    stack = deployed(ReservedConcurrency="50", FoldConcurrency="8", RecountConcurrency="20")
    reserved = {name: stack[name]["Properties"].get("ReservedConcurrentExecutions") for name in FUNCTIONS}
    followers = {"FoldUsage": "8", "RecountUsage": "20"}
    assert reserved == dict.fromkeys(FUNCTIONS) | dict.fromkeys(FROM_THE_TABLE, "50") | followers
    assert not any("ReservedConcurrentExecutions" in deployed()[name]["Properties"] for name in FUNCTIONS)


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
