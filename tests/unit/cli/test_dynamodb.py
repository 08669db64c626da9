"""What the table's service and its client say, as one line for a person."""

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import NoCredentialsError
from botocore.stub import Stubber

from meterstone.store.dynamodb.table import Table
from meterstone_cli.backend import BackendUnavailableError
from meterstone_cli.dynamodb import DynamoDB


@pytest.fixture
def client() -> BaseClient:
    return boto3.client(
        "dynamodb", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


def test_that_there_is_no_such_table_is_said_with_what_to_do(client: BaseClient) -> None:
    with Stubber(client) as stubber:
        stubber.add_client_error("query", "ResourceNotFoundException", "Requested resource not found")
        with pytest.raises(
            BackendUnavailableError, match=r"^there is no table of that name here: .* TABLE_NAME"
        ):
            DynamoDB(Table(client, "t")).list_keys()  # type: ignore[arg-type]


def test_why_the_table_cannot_be_asked_is_said(client: BaseClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise NoCredentialsError

    monkeypatch.setattr(client, "query", refuse)
    with pytest.raises(
        BackendUnavailableError, match=r"^the table does not answer: Unable to locate credentials$"
    ):
        DynamoDB(Table(client, "t")).list_keys()  # type: ignore[arg-type]
