"""The models that the client is made of, and what it calls itself."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore
import pytest
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.loaders import Loader
from botocore.session import Session

from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.models import read_faster
from meterstone.store.dynamodb.table import Table


def loader() -> Loader:
    session = Session()
    read_faster(session)
    found: Loader = session.get_component("data_loader")
    return found


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    for name, value in (
        ("AWS_DEFAULT_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("TABLE_NAME", "t"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB", raising=False)
    return Table.from_environment()


@pytest.mark.parametrize(
    ("service", "kind"),
    [
        pytest.param("dynamodb", "service-2", id="the service"),
        pytest.param("dynamodb", "endpoint-rule-set-1", id="the rules of its endpoint"),
        pytest.param("sts", "service-2", id="a service that gives credentials"),
        pytest.param("sso", "endpoint-rule-set-1", id="the rules of another"),
    ],
)
def test_models_are_those_that_botocore_reads(service: str, kind: str) -> None:
    found, expected = (each.load_service_model(service, kind) for each in (loader(), Loader()))
    # As text, so that the order counts, too.
    assert json.dumps(found) == json.dumps(expected)


@pytest.mark.parametrize("name", ["endpoints", "partitions", "sdk-default-configuration", "_retry"])
def test_other_files_are_those_that_botocore_reads(name: str) -> None:
    expected = Loader().load_data_with_path(name)
    assert loader().load_data_with_path(name) == expected
    assert loader().is_builtin_path(expected[1])


def test_what_is_not_there_is_not_found() -> None:
    with pytest.raises(UnknownServiceError):
        loader().load_service_model("dynamodbb", "service-2")
    with pytest.raises(DataNotFoundError):
        loader().load_service_model("dynamodb", "service-9")
    with pytest.raises(DataNotFoundError):
        loader().load_data("dynamodb/2012-08-10/nothing")


def test_models_of_one_s_own_go_before_botocore_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "dynamodb" / "2012-08-10"
    own.mkdir(parents=True)
    (own / "service-2.json").write_text('{"of": "one\'s own"}')
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert loader().load_service_model("dynamodb", "service-2")["of"] == "one's own"


def test_a_client_reads_its_models_so(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_into: list[str] = []

    def look(_: Loader, kind: str) -> list[str]:
        looked_into.append(kind)
        return []

    monkeypatch.setattr(Loader, "list_available_services", look)
    assert Table.from_environment().client.meta.endpoint_url == table.client.meta.endpoint_url
    assert looked_into == []


def test_calls_name_the_sdk_and_this_program(table: Table) -> None:
    seen: list[Any] = []

    def answer(request: Any, **_: object) -> Any:
        seen.append(request.headers["User-Agent"])
        body = b'{"ConsumedCapacity": {"CapacityUnits": 0.5}}'
        return SimpleNamespace(status_code=200, headers={}, content=body, raw=None)

    table.client.meta.events.register("before-send.dynamodb.GetItem", answer)
    assert table.get(Key("a", "b")) is None
    (agent,) = (each.decode() if isinstance(each, bytes) else each for each in seen)
    # Powertools adds its own name, in a process that has loaded it.
    assert agent.startswith(f"Botocore/{botocore.__version__} Meterstone")
