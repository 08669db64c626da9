"""What the table's service and its client say, as one line for a person."""

import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import NoCredentialsError
from botocore.stub import Stubber

from meterstone.store.catalogue.api_keys import list_keys
from meterstone.store.dynamodb.table import Table
from meterstone_cli.exit_status import UNAVAILABLE, Failure, failure_of


@pytest.fixture
def client() -> BaseClient:
    return boto3.client(
        "dynamodb", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


def failure(client: BaseClient) -> Failure:
    """Give the failure of listing the keys."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, is the question
        list_keys(Table(client, "t"))  # type: ignore[arg-type]
    found = failure_of(caught.value)
    assert found is not None
    return found


def test_that_there_is_no_such_table_is_said_with_what_to_do(client: BaseClient) -> None:
    with Stubber(client) as stubber:
        stubber.add_client_error("query", "ResourceNotFoundException", "Requested resource not found")
        status, (line,) = failure(client)
    assert status == UNAVAILABLE
    assert line.startswith("there is no table of that name here: ")
    assert "TABLE_NAME" in line


def test_why_the_table_cannot_be_asked_is_said(client: BaseClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise NoCredentialsError

    monkeypatch.setattr(client, "query", refuse)
    assert failure(client) == (UNAVAILABLE, ("the table does not answer: Unable to locate credentials",))


def test_what_nobody_expected_is_no_failure_but_an_error_of_the_program() -> None:
    assert failure_of(KeyError("x")) is None


def test_help_and_checking_a_catalogue_need_no_aws_client(tmp_path: Path) -> None:
    """It takes a fifth of a second to import."""
    code = "import sys; from meterstone_cli import __main__; sys.exit('botocore.session' in sys.modules)"
    found = subprocess.run(  # noqa: S603 - this interpreter, and code that stands here
        [sys.executable, "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        check=False,
    )
    assert found.returncode == 0
