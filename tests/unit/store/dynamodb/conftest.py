"""A table over the SDK's own client, and what answers in place of the service."""

from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from meterstone.store.dynamodb.table import Table


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setattr("time.sleep", lambda _: None)
    client = boto3.client(
        "dynamodb",
        region_name="eu-central-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}),
    )
    return Table(client, "t")


@pytest.fixture
def answers(table: Table) -> Iterator[Stubber]:
    """Give what answers in place of the service, in order; all of it must be asked for."""
    with Stubber(table.client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()
