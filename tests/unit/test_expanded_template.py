"""What a stack has in it once SAM has expanded template.yaml and the parameters are given."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.cloudformation import deployed

HEARD = {"AlarmEmail": "alarms@example.com"}
STAGES = {
    "dev": {"Environment": "development", "Stage": "dev"},
    "prod": {"Environment": "production", "Stage": "prod", "Start": "snapstart"} | HEARD,
    "all": {"Start": "provisioned", "FirewallRate": "1000", "DomainName": "usage.example.com"}
    | {"CertificateArn": "arn:certificate", "KmsKeyArn": "arn:key", "MonthlyBudget": "100"}
    | {"ReservedConcurrency": "50", "FoldConcurrency": "8", "AccessLogs": "on-and-set-account-role"}
    | HEARD,
}
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
