"""What template.yaml promises about safety, cost and the shape of the gateway's own errors."""

import json
import re
from fnmatch import fnmatchcase
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from meterstone.contracts.message import RETRY_AFTER
from meterstone.edge.application import CHANGING, INGESTION, READING
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone_cli.devserver.function import GATEWAY_TIMEOUT
from support.cloudformation import source

ROOT = Path(__file__).resolve().parents[2]
METHODS = {"delete", "get", "patch", "post", "put"}
READS = {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"}
ERROR_KEYS = {"status", "error", "code", "message", "http_status_code"}

# The types that API Gateway can answer with by itself, but for those of features that this API does not use.
GATEWAY_STATUSES = {
    "ACCESS_DENIED": 403,
    "API_CONFIGURATION_ERROR": 500,
    "AUTHORIZER_CONFIGURATION_ERROR": 500,
    "AUTHORIZER_FAILURE": 500,
    "BAD_REQUEST_BODY": 400,
    "BAD_REQUEST_PARAMETERS": 400,
    "DEFAULT_4XX": 400,
    "DEFAULT_5XX": 500,
    "EXPIRED_TOKEN": 403,
    "INTEGRATION_FAILURE": 502,
    "INTEGRATION_TIMEOUT": 504,
    "INVALID_API_KEY": 403,
    "INVALID_SIGNATURE": 403,
    "MISSING_AUTHENTICATION_TOKEN": 404,
    "QUOTA_EXCEEDED": 429,
    "REQUEST_TOO_LARGE": 413,
    "RESOURCE_NOT_FOUND": 404,
    "THROTTLED": 429,
    "UNAUTHORIZED": 401,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "WAF_FILTERED": 403,
}
#: Which methods each path answers, as `openapi.yaml` promises.
PATHS = {
    path: {method.upper() for method in operations if method in METHODS}
    for path, operations in yaml.safe_load((ROOT / "openapi.yaml").read_text())["paths"].items()
}
#: Functions that no route reaches: they follow the table and the clock.
FOLLOWERS = {"FoldUsage", "RollUsage", "RecountUsage"}
CODE = {
    "AnalyticsUsage": "functions/analytics_usage/",
    "SubscriptionUsage": "functions/subscription_usage/",
    "IngestEvents": "functions/ingest_events/",
    "FindEvent": "functions/find_event/",
    "ExplainUsage": "functions/explain_usage/",
    "CustomerUsage": "functions/customer_usage/",
    "DescribeApi": "functions/describe_api/",
    "ReadCatalogue": "functions/read_catalogue/",
    "ManageCatalogue": "functions/manage_catalogue/",
    "ShowDashboard": "functions/dashboard/",
}


EXISTING = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${ExistingTableName}"


def own_or_existing(own: dict[str, Any], existing: dict[str, Any]) -> dict[str, Any]:
    """Return what stands for the stack's own table, or for the one that a parameter names."""
    return {"Fn::If": ["OwnsTable", own, existing]}


TABLE = own_or_existing({"Fn::GetAtt": ["Table", "Arn"]}, {"Fn::Sub": EXISTING})
INDEX = own_or_existing({"Fn::Sub": "${Table.Arn}/index/due"}, {"Fn::Sub": f"{EXISTING}/index/due"})
STREAM = {"Fn::GetAtt": ["Table", "StreamArn"]}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return source()


@pytest.fixture(scope="module")
def resources(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"]
    return found


def of_type(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: item for name, item in resources.items() if item["Type"] == kind}


def test_every_function_runs_on_the_project_s_python_and_the_chosen_architecture(
    template: dict[str, Any], resources: dict[str, Any]
) -> None:
    runtime = f"python{(ROOT / '.python-version').read_text().strip()}"
    shared = template["Globals"]["Function"]
    assert shared["Runtime"] == runtime
    assert shared["Architectures"] == [{"Ref": "Architecture"}]
    assert shared["Layers"] == [{"Ref": "PricingLayer"}]
    for function in of_type(resources, "AWS::Serverless::Function").values():
        assert not function["Properties"].keys() & {"Runtime", "Architectures", "Layers", "Handler"}


def test_the_layer_fits_every_architecture_that_may_be_chosen(
    template: dict[str, Any], resources: dict[str, Any]
) -> None:
    layer = resources["PricingLayer"]
    assert layer["Metadata"] == {"BuildMethod": "makefile"}
    assert layer["Properties"]["CompatibleRuntimes"] == [template["Globals"]["Function"]["Runtime"]]
    choices = template["Parameters"]["Architecture"]
    assert set(layer["Properties"]["CompatibleArchitectures"]) == set(choices["AllowedValues"])
    assert choices["Default"] == "arm64"


@pytest.mark.parametrize("name", ["AnalyticsUsage", "SubscriptionUsage", "ExplainUsage", "ReadCatalogue"])
def test_a_read_function_can_read_this_table_and_nothing_else(resources: dict[str, Any], name: str) -> None:
    (policy,) = resources[name]["Properties"]["Policies"]
    (statement,) = policy["Statement"]
    assert statement["Effect"] == "Allow"
    assert set(statement["Action"]) == READS
    assert statement["Resource"] == TABLE


def test_events_are_put_and_nothing_is_changed_or_deleted(resources: dict[str, Any]) -> None:
    (policy,) = resources["IngestEvents"]["Properties"]["Policies"]
    reads, puts = policy["Statement"]
    assert set(reads["Action"]) == READS
    assert puts["Action"] == "dynamodb:PutItem"
    assert all((each["Effect"], each["Resource"]) == ("Allow", TABLE) for each in (reads, puts))
    # A put replaces what is there: in the log's partitions there are but events.
    (partitions,) = puts["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
    assert fnmatchcase(keys.event("org", "s", "ext#events#1", "e").pk, partitions)
    for other in (
        keys.api_key("key"),
        keys.organization("org", "profile"),
        keys.subscription("org", "#events#"),
        keys.customer("org", "#events#"),
        keys.subject("org", "s", "#events#"),
        Key(keys.usage("org", "1", "#events#"), ""),
    ):
        assert not fnmatchcase(other.pk, partitions), other


def test_the_catalogue_is_changed_in_this_table_and_nothing_else_is(resources: dict[str, Any]) -> None:
    (policy,) = resources["ManageCatalogue"]["Properties"]["Policies"]
    reads, changes = policy["Statement"]
    assert set(reads["Action"]) == READS
    assert set(changes["Action"]) == {
        f"dynamodb:{verb}"
        for verb in ("BatchWriteItem", "ConditionCheckItem", "DeleteItem", "PutItem", "UpdateItem")
    }
    assert (reads["Effect"], reads["Resource"]) == ("Allow", [TABLE, INDEX])
    assert (changes["Effect"], changes["Resource"]) == ("Allow", TABLE)


def test_a_change_of_the_catalogue_has_an_answer_before_the_function_s_and_the_gateway_s_time_is_up(
    resources: dict[str, Any],
) -> None:
    timeout = resources["ManageCatalogue"]["Properties"]["Timeout"]
    # Beside the table's time there is that of a cold start, and of reading and writing a large record.
    assert CHANGING + 5 < timeout < GATEWAY_TIMEOUT


def test_who_counts_writes_to_this_table_and_nothing_else(resources: dict[str, Any]) -> None:
    (fold,) = resources["FoldUsageRole"]["Properties"]["Policies"]
    counting = fold["PolicyDocument"]["Statement"]
    (roll,) = resources["RollUsageRole"]["Properties"]["Policies"]
    publishing = roll["PolicyDocument"]["Statement"]
    assert [set(each["Action"]) for each in counting] == [
        READS,
        {f"dynamodb:{verb}" for verb in ("ConditionCheckItem", "DeleteItem", "PutItem", "UpdateItem")},
        {"sqs:SendMessage"},
        {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"},
        {"dynamodb:ListStreams"},
        {"logs:CreateLogStream", "logs:PutLogEvents"},
    ]
    assert [each["Resource"] for each in counting] == [
        TABLE,
        TABLE,
        {"Fn::GetAtt": ["PoisonQueue", "Arn"]},
        own_or_existing(STREAM, {"Fn::Sub": f"{EXISTING}/stream/*"}),
        "*",
        {"Fn::GetAtt": ["FoldUsageLogs", "Arn"]},
    ]
    assert [set(each["Action"]) for each in publishing] == [
        READS,
        {
            f"dynamodb:{verb}"
            for verb in ("BatchWriteItem", "ConditionCheckItem", "DeleteItem", "PutItem", "UpdateItem")
        },
        {f"sqs:{verb}" for verb in ("DeleteMessage", "GetQueueAttributes", "ReceiveMessage", "SendMessage")},
        {"sqs:SendMessage"},
        {"logs:CreateLogStream", "logs:PutLogEvents"},
    ]
    assert [each["Resource"] for each in publishing] == [
        [TABLE, INDEX],
        TABLE,
        {"Fn::GetAtt": ["RollQueue", "Arn"]},
        {"Fn::GetAtt": ["MissedHours", "Arn"]},
        {"Fn::GetAtt": ["RollUsageLogs", "Arn"]},
    ]


def test_the_document_of_deploying_has_each_parameter_once_and_no_other(template: dict[str, Any]) -> None:
    text = (ROOT / "docs/deploying.md").read_text()
    _, _, section = text.partition("\n## Parameters\n")
    section, _, _ = section.partition("\n## ")
    first_cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    named = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(template["Parameters"])


def test_the_stream_discards_nothing_and_names_its_shards(resources: dict[str, Any]) -> None:
    (event,) = resources["FoldUsage"]["Properties"]["Events"].values()
    assert event["Type"] == "DynamoDB"
    stream = event["Properties"]
    assert stream["Stream"] == own_or_existing(STREAM, {"Ref": "ExistingTableStreamArn"})
    assert stream["StartingPosition"] == "TRIM_HORIZON"
    assert stream["ParallelizationFactor"] == 1
    assert stream["MaximumRetryAttempts"] == stream["MaximumRecordAgeInSeconds"] == -1
    assert stream["TumblingWindowInSeconds"] > 0
    assert "DestinationConfig" not in stream
    new, marked, beat = stream["FilterCriteria"]["Filters"]
    assert json.loads(new["Pattern"]) == {
        "eventName": ["INSERT"],
        "dynamodb": {"NewImage": {"e": {"S": [{"exists": True}]}, "acc": {"N": [{"exists": True}]}}},
    }
    assert json.loads(marked["Pattern"]) == {
        "eventName": ["MODIFY"],
        "dynamodb": {"NewImage": {"e": {"S": [{"exists": True}]}, "wg": {"S": [{"exists": True}]}}},
    }
    assert json.loads(beat["Pattern"]) == {"dynamodb": {"NewImage": {"beat": {"N": [{"exists": True}]}}}}


def test_who_recounts_changes_records_in_this_table_and_nothing_else(resources: dict[str, Any]) -> None:
    (policy,) = resources["RecountUsageRole"]["Properties"]["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    changes = ("BatchWriteItem", "ConditionCheckItem", "DeleteItem", "PutItem", "UpdateItem")
    assert [set(each["Action"]) for each in statements] == [
        READS,
        {f"dynamodb:{verb}" for verb in changes},
        {"dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"},
        {"dynamodb:ListStreams"},
        {"logs:CreateLogStream", "logs:PutLogEvents"},
    ]
    assert [each["Resource"] for each in statements] == [
        [TABLE, INDEX],
        TABLE,
        own_or_existing(STREAM, {"Fn::Sub": f"{EXISTING}/stream/*"}),
        "*",
        {"Fn::GetAtt": ["RecountUsageLogs", "Arn"]},
    ]


def test_a_recount_is_carried_on_when_it_is_made_and_every_five_minutes(resources: dict[str, Any]) -> None:
    events = resources["RecountUsage"]["Properties"]["Events"]
    assert events["Stopped"]["Properties"]["ScheduleExpression"] == "rate(5 minutes)"
    stream = events["Made"]["Properties"]
    assert stream["Stream"] == own_or_existing(STREAM, {"Ref": "ExistingTableStreamArn"})
    (each,) = stream["FilterCriteria"]["Filters"]
    assert json.loads(each["Pattern"]) == {
        "eventName": ["INSERT"],
        "dynamodb": {"NewImage": {"what": {"S": [{"exists": True}]}}},
    }


def test_the_clock_is_followed_every_hour(resources: dict[str, Any]) -> None:
    hourly = resources["RollUsage"]["Properties"]["Events"]["Hourly"]
    assert hourly["Properties"]["ScheduleExpression"] == "rate(1 hour)"


def test_a_message_is_taken_once_at_a_time_and_is_gone_when_the_next_hour_sends_its_own(
    resources: dict[str, Any],
) -> None:
    function, queue = resources["RollUsage"]["Properties"], resources["RollQueue"]["Properties"]
    assert function["Environment"]["Variables"] == {"ROLL_QUEUE_URL": {"Ref": "RollQueue"}}
    turns = function["Events"]["Turns"]
    assert (turns["Type"], turns["Properties"]["BatchSize"]) == ("SQS", 1)
    assert turns["Properties"]["Queue"] == {"Fn::GetAtt": ["RollQueue", "Arn"]}
    assert turns["Properties"]["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "RollConcurrency"}}
    # Lambda refuses a queue that hands a message out again while the function may still be at it.
    assert queue["VisibilityTimeout"] == function["Timeout"]
    assert queue["MessageRetentionPeriod"] == 60 * 60
    receipts = queue["RedrivePolicy"]["maxReceiveCount"]
    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["MissedHours", "Arn"]}
    assert receipts * queue["VisibilityTimeout"] < queue["MessageRetentionPeriod"], "it would be gone before"


def test_no_function_has_a_role_or_policy_beside_the_tested_ones(resources: dict[str, Any]) -> None:
    functions = of_type(resources, "AWS::Serverless::Function")
    assert functions.keys() == CODE.keys() | FOLLOWERS
    assert {name for name, function in functions.items() if "Role" in function["Properties"]} == FOLLOWERS
    assert of_type(resources, "AWS::IAM::Policy").keys() == {"LogsOfTheirOwn"}
    assert of_type(resources, "AWS::IAM::ManagedPolicy").keys() == {"UseKey"}
    assert of_type(resources, "AWS::IAM::Role").keys() == {
        *("ApiLogsRole", "FoldUsageRole", "RollUsageRole", "RecountUsageRole"),
    }
    assert resources["ApiLogsRole"]["Condition"] == "SetsAccountRole"
    assert resources["UseKey"]["Condition"] == "HasKey"


def test_every_method_that_is_promised_reaches_one_function_and_any_other_one_too(
    resources: dict[str, Any],
) -> None:
    """A function that has a path whole may have one event for it, whatever the method."""
    events = [
        (name, event["Properties"])
        for name in CODE
        for event in resources[name]["Properties"]["Events"].values()
    ]
    assert all(event["RestApiId"] == {"Ref": "Api"} for _, event in events)
    listed = [(event["Path"], event["Method"]) for _, event in events]
    assert len(set(listed)) == len(listed)
    any_method = {event["Path"]: name for name, event in events if event["Method"] == "ANY"}
    assert any_method.keys() == PATHS.keys()
    named = {(path, method) for path, method in listed if method != "ANY"}
    assert named <= {(path, method) for path, methods in PATHS.items() for method in methods}
    others = {(path, method) for path, methods in PATHS.items() for method in methods} - named
    assert {any_method[path] for path, _ in others} == {"ManageCatalogue"}


def test_the_permissions_of_a_function_s_routes_fit(resources: dict[str, Any]) -> None:
    """Lambda keeps 20 KB of an alias's permissions, and SAM makes one of at most 460 bytes for each route."""
    longest = 460
    for name in CODE:
        assert len(resources[name]["Properties"]["Events"]) * longest < 20_480


@pytest.mark.parametrize("name", CODE)
def test_a_function_s_code_is_there(resources: dict[str, Any], name: str) -> None:
    assert resources[name]["Properties"]["CodeUri"] == CODE[name]
    assert (ROOT / CODE[name] / "app.py").is_file()


def test_a_function_says_that_it_brings_no_package_and_two_bring_pydantic(
    resources: dict[str, Any],
) -> None:
    """`sam build` warns of each function that has no list of packages."""
    functions = (each for each in resources.values() if each["Type"] == "AWS::Serverless::Function")
    listed = {
        each["Properties"]["CodeUri"]: [
            line.split("==")[0]
            for line in (ROOT / each["Properties"]["CodeUri"] / "requirements.txt").read_text().splitlines()
            if not line.startswith(("#", " "))
        ]
        for each in functions
    }

    assert "pydantic" in listed.pop("functions/manage_catalogue/")
    assert "pydantic" in listed.pop("functions/recount_usage/")
    assert not any(listed.values())
    assert listed


def test_what_a_function_brings_is_what_is_tested_and_the_layer_has_not() -> None:
    def pinned(path: str) -> dict[str, str]:
        lines = (ROOT / path).read_text().splitlines()
        return dict(line.split()[0].split("==") for line in lines if "==" in line and line[0] != " ")

    own, layer = (
        pinned("functions/manage_catalogue/requirements.txt"),
        pinned("layers/meterstone/requirements.txt"),
    )
    assert own == pinned("functions/recount_usage/requirements.txt")
    assert own.items() <= pinned("requirements/runtime.txt").items()
    assert own.items() <= pinned("requirements/dev.txt").items()
    assert not own.keys() & layer.keys()
    # What pydantic needs and the layer has.
    assert "typing-extensions" in layer


@pytest.mark.parametrize(
    ("name", "folder"), [("ManageCatalogue", "manage_catalogue"), ("RecountUsage", "recount_usage")]
)
def test_a_function_with_packages_is_built_for_both_processors(
    resources: dict[str, Any], name: str, folder: str
) -> None:
    assert resources[name]["Metadata"] == {"BuildMethod": "makefile"}
    rule = ROOT / "functions" / folder / "Makefile"
    (targets,) = re.findall(r"^(build-.*):$", rule.read_text(), re.MULTILINE)
    assert f"build-{name}" in targets.split()
    assert rule.resolve() == ROOT / "functions" / "manage_catalogue" / "Makefile"


def test_the_table_outlives_its_stack_and_any_mistake_in_it(
    template: dict[str, Any], resources: dict[str, Any]
) -> None:
    table = resources["Table"]
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == "Retain"
    properties = table["Properties"]
    assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert properties["DeletionProtectionEnabled"] == {"Ref": "TableDeletionProtection"}
    assert template["Parameters"]["TableDeletionProtection"]["Default"] == "true"
    assert properties["BillingMode"] == "PAY_PER_REQUEST"


def test_the_table_s_keys_index_and_stream(resources: dict[str, Any]) -> None:
    properties = resources["Table"]["Properties"]
    keys = {key["KeyType"]: key["AttributeName"] for key in properties["KeySchema"]}
    assert keys == {"HASH": "pk", "RANGE": "sk"}
    (due,) = properties["GlobalSecondaryIndexes"]
    assert due["IndexName"] == "due"
    assert {key["KeyType"]: key["AttributeName"] for key in due["KeySchema"]} == {
        "HASH": "due_pk",
        "RANGE": "due_at",
    }
    assert due["Projection"] == {"ProjectionType": "KEYS_ONLY"}
    assert properties["StreamSpecification"] == {"StreamViewType": "NEW_IMAGE"}
    attributes = {item["AttributeName"]: item["AttributeType"] for item in properties["AttributeDefinitions"]}
    assert attributes == dict.fromkeys(("pk", "sk", "due_pk", "due_at"), "S")


def test_every_log_group_forgets(resources: dict[str, Any]) -> None:
    groups = of_type(resources, "AWS::Logs::LogGroup")
    functions = CODE.keys() | FOLLOWERS
    assert groups.keys() == {f"{name}Logs" for name in functions} | {"ApiLogs"}
    assert all(
        group["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups.values()
    )
    for name in functions:
        assert resources[name]["Properties"]["LoggingConfig"] == {"LogGroup": {"Ref": f"{name}Logs"}}


def test_every_method_of_the_stage_is_throttled(resources: dict[str, Any]) -> None:
    (settings,) = resources["Api"]["Properties"]["MethodSettings"]
    assert (settings["HttpMethod"], settings["ResourcePath"]) == ("*", "/*")
    assert settings["ThrottlingRateLimit"] == {"Ref": "ThrottleRate"}
    assert settings["ThrottlingBurstLimit"] == {"Ref": "ThrottleBurst"}


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("AnalyticsUsage", "RequestsPerKey"),
        ("SubscriptionUsage", "RequestsPerKey"),
        ("FindEvent", "RequestsPerKey"),
        ("ExplainUsage", "RequestsPerKey"),
        ("CustomerUsage", "RequestsPerKey"),
        ("ReadCatalogue", "RequestsPerKey"),
        ("ManageCatalogue", "RequestsPerKey"),
        ("IngestEvents", "IngestionsPerKey"),
    ],
)
def test_the_requests_of_a_key_have_a_limit_of_their_own_for_questions_and_events(
    template: dict[str, Any], name: str, parameter: str
) -> None:
    """A new version is published for a new limit: the description of the version has it."""
    function = template["Resources"][name]["Properties"]
    assert function["Environment"]["Variables"]["METERSTONE_REQUESTS_PER_KEY"] == {"Ref": parameter}
    described, _ = function["VersionDescription"]["Fn::Sub"]
    assert f"${{{parameter}}}" in described
    assert template["Parameters"][parameter]["Default"] == 0


def test_the_functions_read_aws_s_own_dynamodb_unless_told_otherwise(template: dict[str, Any]) -> None:
    variables = template["Globals"]["Function"]["Environment"]["Variables"]
    assert template["Parameters"]["DynamoEndpoint"]["Default"] == ""
    assert variables["AWS_ENDPOINT_URL_DYNAMODB"] == {
        "Fn::If": ["HasDynamoEndpoint", {"Ref": "DynamoEndpoint"}, {"Ref": "AWS::NoValue"}]
    }
    assert variables["TABLE_NAME"] == own_or_existing({"Ref": "Table"}, {"Ref": "ExistingTableName"})


def test_the_gateway_answers_every_error_of_its_own(resources: dict[str, Any]) -> None:
    assert resources["Api"]["Properties"]["GatewayResponses"].keys() == GATEWAY_STATUSES.keys()


@pytest.mark.parametrize(("kind", "status"), GATEWAY_STATUSES.items(), ids=list(GATEWAY_STATUSES))
def test_a_gateway_error_speaks_both_contracts(resources: dict[str, Any], kind: str, status: int) -> None:
    response = resources["Api"]["Properties"]["GatewayResponses"][kind]
    assert response["StatusCode"] == status
    ((content_type, text),) = response["ResponseTemplates"].items()
    assert content_type == "application/json"
    assert "$" not in text, "API Gateway would read it as a variable"
    body = json.loads(text)
    assert body.keys() == ERROR_KEYS
    assert body["status"] == body["http_status_code"] == status
    assert body["error"] == HTTPStatus(status).phrase.replace("Request Entity Too Large", "Content Too Large")


@pytest.mark.parametrize("kind", ["DEFAULT_5XX", "INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT", "THROTTLED"])
def test_a_gateway_error_that_may_pass_says_when_to_try_again(resources: dict[str, Any], kind: str) -> None:
    headers = resources["Api"]["Properties"]["GatewayResponses"][kind]["ResponseParameters"]["Headers"]
    # The quotes are API Gateway's: without them it is the name of something to insert.
    assert headers["Retry-After"] == ("'1'" if kind == "THROTTLED" else f"'{RETRY_AFTER['Retry-After']}'")


def test_a_function_has_time_to_say_that_the_table_did_not_answer(template: dict[str, Any]) -> None:
    timeout = template["Globals"]["Function"]["Timeout"]
    assert max(READING, INGESTION) + 1 < timeout < 29, "API Gateway waits for 29 seconds"


def test_the_access_log_is_one_line_of_json(resources: dict[str, Any]) -> None:
    (condition, setting, otherwise) = resources["Api"]["Properties"]["AccessLogSetting"]["Fn::If"]
    assert (condition, otherwise) == ("HasAccessLogs", {"Ref": "AWS::NoValue"})
    assert "\n" not in setting["Format"]
    assert json.loads(setting["Format"])["requestId"] == "$context.requestId"
