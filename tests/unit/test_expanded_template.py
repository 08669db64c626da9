"""What a stack has in it once SAM has expanded template.yaml and the parameters are given."""

import json
import re
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest

from support.cloudformation import deployed, refusals
from support.stacks import (
    ANSWERING,
    FROM_THE_TABLE,
    FUNCTIONS,
    HEARD,
    RESTORED,
    STAGES,
    alarms,
    dashboard,
    of_type,
)

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
    ("AWS::IAM::Policy", "PolicyName"): "a role",
    ("AWS::IAM::Role", "Policies.PolicyName"): "a role",
    ("AWS::Lambda::Alias", "Name"): "a function",
    ("AWS::WAFv2::WebACL", "Rules.Name"): "a firewall",
    ("AWS::WAFv2::WebACL", "Rules.VisibilityConfig.MetricName"): "a firewall",
}


OPTIONAL = {
    "Budget": {"MonthlyBudget": "100"} | HEARD,
    "Domain": {"DomainName": "usage.example.com", "CertificateArn": "arn:certificate"},
    "DomainMapping": {"DomainName": "usage.example.com", "CertificateArn": "arn:certificate"},
    "Firewall": {"FirewallRate": "1000"},
    "FirewallOfTheStage": {"FirewallRate": "1000"},
    "UseKey": {"KmsKeyArn": "arn:key"},
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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        *(
            pytest.param({"Start": one}, {"Start": other}, id=f"{one} to {other}")
            for one, other in permutations(("none", "snapstart", "provisioned"), 2)
        ),
        *(
            pytest.param({}, {name: value}, id=name)
            for name, value in {
                "AccessLogs": "on",
                "Environment": "development",
                "IngestionsPerKey": "5",
                "LogRetentionDays": "7",
                "ProvisionedConcurrency": "7",
                "RequestsPerKey": "5",
                "ReservedConcurrency": "50",
                "ThrottleRate": "7",
                "TrafficShifting": "false",
            }.items()
        ),
        pytest.param({}, OPTIONAL["UseKey"], id="a key"),
        pytest.param({}, RESTORED, id="a restored table"),
    ],
)
def test_a_version_is_published_of_the_functions_that_change_and_of_no_other(
    before: dict[str, str], after: dict[str, str]
) -> None:
    """Lambda publishes no version of a function that is as it was: CloudFormation would fail."""
    one, other = (deployed(**HEARD | given) for given in (before, after))
    published = {name for name in FUNCTIONS if versions(one)[name] != versions(other)[name]}
    assert published == {name for name in FUNCTIONS if configured(one, name) != configured(other, name)}


def configured(stack: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what a version has of a function: what is reserved for it, and its tags, are not in it."""
    properties: dict[str, Any] = stack[name]["Properties"]
    return {
        key: value for key, value in properties.items() if key not in ("ReservedConcurrentExecutions", "Tags")
    }


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


def test_no_function_writes_to_logs_that_are_none_of_the_stack(stack: dict[str, Any]) -> None:
    policy = stack["LogsOfTheirOwn"]["Properties"]
    (denied,) = policy["PolicyDocument"]["Statement"]
    assert (denied["Effect"], denied["Action"]) == ("Deny", ["logs:*"])
    kept_to_them = {each["Ref"] for each in policy["Roles"]}
    for name, function in of_type(stack, "AWS::Lambda::Function").items():
        role, own = function["Role"]["Fn::GetAtt"][0], function["LoggingConfig"]["LogGroup"]["Ref"]
        if role in kept_to_them:
            assert {"Fn::GetAtt": [own, "Arn"]} in denied["NotResource"], name
            continue
        allowed = [
            each["Resource"]
            for policy in stack[role]["Properties"]["Policies"]
            for each in policy["PolicyDocument"]["Statement"]
            if any(action.startswith("logs:") for action in each["Action"])
        ]
        assert allowed == [{"Fn::GetAtt": [own, "Arn"]}], name


def test_the_account_has_its_role_before_a_stage_has_an_access_log() -> None:
    stack = deployed(AccessLogs="on-and-set-account-role")
    assert stack["ApiLogs"]["Metadata"] == {"After": {"Ref": "ApiAccount"}}
    assert mentions(stack["ApiStage"]["Properties"]["AccessLogSetting"], '"ApiLogs"')
    assert stack["ApiAccount"]["DependsOn"] == "FirstOfTheAccount"


def test_nothing_depends_on_what_is_not_there(stack: dict[str, Any]) -> None:
    """CloudFormation refuses a template in which DependsOn names a resource whose condition does not hold."""
    for name, resource in stack.items():
        named = resource.get("DependsOn", [])
        assert set([named] if isinstance(named, str) else named) <= stack.keys(), name


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
