"""`doctor`: what it finds wrong, and what it says to do about it."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from meterstone.store.catalogue.recounts import Recount, made
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import StoreUnavailableError, Table, key_item
from meterstone.store.events.quarantine import Poison
from meterstone.store.operations.import_records import ImportRecord, Source
from meterstone.usage.instant import DAY, HOUR, MINUTE
from meterstone_cli import diagnosis
from meterstone_cli.__main__ import app
from meterstone_cli.diagnosis import Finding, examine, examine_organization
from support.commands import NOW, ORGANIZATION, Machine, row

UNKNOWN = "8f9e0e0e-0000-4000-8000-000000000003"


@pytest.fixture
def machine(machine: Machine) -> Machine:
    assert machine.load().exit_code == 0
    return machine


def wrong(machine: Machine) -> dict[str, Finding]:
    found = list(examine_organization(machine.table, ORGANIZATION, machine.now))
    assert {each.organization for each in found} == {ORGANIZATION}
    assert all(bool(each.remedy) is not each.ok for each in found)
    return {each.check: each for each in found if not each.ok}


def test_an_organization_that_is_well(machine: Machine) -> None:
    assert machine.of("import", machine.usage("u.jsonl", row("a"))).exit_code == 0
    found = list(examine_organization(machine.table, ORGANIZATION, machine.now))
    assert [(each.check, each.ok) for each in found] == [
        (check, True)
        for check in (
            "catalogue",
            "rules",
            "rebuild",
            "purge",
            "recounts",
            "imports",
            "counting",
            "uncounted",
        )
    ]


def half_written(machine: Machine) -> None:
    machine.set_profile("SET loading_at = :at", {":at": {"N": str(NOW - DAY)}})


def older_rules(machine: Machine) -> None:
    machine.set_profile("SET counted_by = :rules", {":rules": {"N": "0"}})


def open_rebuild(machine: Machine) -> None:
    machine.set_profile("SET gen_next = :next, cut_next = :cut", {":next": {"S": "2"}, ":cut": {"N": "1"}})


def open_import(machine: Machine) -> None:
    ImportRecord(Source("lost.csv", "ab" * 32), NOW, run=1, line=7).write(machine.table, ORGANIZATION)


def late_recount(machine: Machine) -> None:
    recount = Recount.of_usage(["s"], (), NOW, machine.now - HOUR - 1, "mark")
    machine.table.transact([made(machine.table, ORGANIZATION, recount._replace(waits_for="an import"))])


def open_purge(machine: Machine) -> None:
    names = '{"customer":["c","x"],"subscriptions":{},"external_ids":{},"line_items":{}}'
    body = {"names": {"S": names}, "secret": {"S": ""}, "at": {"N": "0"}}
    machine.table.put(key_item(keys.purge(ORGANIZATION, "c")) | body)


def uncounted_event(machine: Machine) -> None:
    assert machine.of("import", machine.usage("u.jsonl", row("a", code="load"))).exit_code == 1


def spoiled_event(machine: Machine) -> None:
    machine.post("bad")
    (key,) = (each for each in machine.items() if "#events#" in each.pk and each.sk == "bad")
    machine.table.update(key, "SET e = :e", {":e": {"S": "{"}})


def nothing_counts(machine: Machine) -> None:
    machine.post("first")
    machine.now += 90_000_000
    machine.post("second")


@pytest.mark.parametrize(
    ("break_it", "check", "found", "remedy"),
    [
        (half_written, "catalogue", "half written: a load stopped at 2026-02-28T12:00:00Z", "load the same"),
        (older_rules, "rules", "by rules 0, which are an older version's", "meterstone rebuild"),
        (open_rebuild, "rebuild", "running, or was stopped", "--abandon"),
        (open_import, "imports", "lost.csv (line 7)", "--close"),
        (open_purge, "purge", "the purge of customer c is running, or was stopped", "purge-customer c"),
        (
            late_recount,
            "recounts",
            "is open since 2026-03-01T10:59:59.999999Z: an import",
            "catalogue recounts",
        ),
        (uncounted_event, "uncounted", "1 events do not count, for the reason `value`", "--reason value"),
        (spoiled_event, "counting", "the event bad of ", "no rebuild and no recount"),
        (
            nothing_counts,
            "counting",
            "12:00:00Z and later are not counted; the newest came in 90 s later, at 2026-03-01T12:01:30Z",
            "fold_usage",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_wrong_with_an_organization(
    machine: Machine, break_it: Any, check: str, found: str, remedy: str
) -> None:
    break_it(machine)
    assert set(wrong(machine)) == {check}
    assert found in wrong(machine)[check].found
    assert remedy in wrong(machine)[check].remedy


def test_an_event_that_came_in_a_moment_ago_may_still_be_on_its_way(machine: Machine) -> None:
    machine.post("e")
    machine.now += MINUTE
    assert not wrong(machine)
    machine.now += 1
    assert set(wrong(machine)) == {"counting"}


def test_a_recount_of_a_moment_ago_is_no_fault(machine: Machine) -> None:
    late_recount(machine)
    machine.now -= 1
    assert not wrong(machine)


def test_a_load_that_is_under_way_is_no_fault(machine: Machine) -> None:
    machine.set_profile("SET loading_at = :at", {":at": {"N": str(machine.now)}})
    assert not wrong(machine)


def test_what_is_not_priced_may_be_meant(machine: Machine) -> None:
    assert machine.of("import", machine.usage("u.jsonl", row("a", code="fax"))).exit_code == 0
    assert not wrong(machine)
    (found,) = [
        each.found
        for each in examine_organization(machine.table, ORGANIZATION, machine.now)
        if each.check == "uncounted"
    ]
    assert "1 are not priced" in found


def test_an_organization_without_a_catalogue(machine: Machine) -> None:
    assert [each[:3] for each in examine_organization(machine.table, UNKNOWN, NOW)] == [
        ("catalogue", False, "there is none")
    ]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "made",
        "AWS_SECRET_ACCESS_KEY": "up",
        "TABLE_NAME": "meterstone",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield


def deploy(**changes: Any) -> Table:
    """Make a table as template.yaml does, but for what is changed."""
    client = boto3.client("dynamodb")
    asked: dict[str, Any] = {
        "TableName": "meterstone",
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "due_pk", "due_at")
        ],
        "KeySchema": [
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "due",
                "KeySchema": [
                    {"AttributeName": "due_pk", "KeyType": "HASH"},
                    {"AttributeName": "due_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    }
    client.create_table(**{key: value for key, value in (asked | changes).items() if value is not None})
    backups: Any = {"PointInTimeRecoveryEnabled": True}
    client.update_continuous_backups(TableName="meterstone", PointInTimeRecoverySpecification=backups)
    return Table(client, "meterstone")


def faults(table: Table) -> dict[str, Finding]:
    found = list(examine(table, NOW))
    assert all(bool(each.remedy) is not each.ok for each in found)
    return {each.check: each for each in found if not each.ok}


@pytest.mark.usefixtures("aws")
def test_a_table_that_is_deployed_as_the_template_says_lacks_a_catalogue_alone() -> None:
    table = deploy()
    found = list(examine(table, NOW))
    assert [(each.check, each.ok) for each in found] == [
        ("table", True),
        ("keys", True),
        ("stream", True),
        ("time to live", True),
        ("point-in-time recovery", True),
        ("clock", True),
        ("quarantine", True),
        ("organizations", False),
    ]


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("changes", "check", "found"),
    [
        ({"StreamSpecification": None}, "stream", "is off"),
        (
            {"StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}},
            "stream",
            "shows KEYS_ONLY",
        ),
    ],
    ids=["no stream", "a stream of keys"],
)
def test_what_is_wrong_with_a_table(changes: dict[str, Any], check: str, found: str) -> None:
    assert found in faults(deploy(**changes))[check].found


@pytest.mark.usefixtures("aws")
def test_a_table_without_the_index() -> None:
    attributes = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")]
    table = deploy(GlobalSecondaryIndexes=None, AttributeDefinitions=attributes)
    assert "keys" in faults(table)


@pytest.mark.usefixtures("aws")
def test_a_table_that_deletes_items_and_has_no_backups() -> None:
    table = deploy()
    expiry: Any = {"Enabled": True, "AttributeName": "at"}
    table.client.update_time_to_live(TableName="meterstone", TimeToLiveSpecification=expiry)
    backups: Any = {"PointInTimeRecoveryEnabled": False}
    table.client.update_continuous_backups(TableName="meterstone", PointInTimeRecoverySpecification=backups)
    assert {"time to live", "point-in-time recovery"} <= faults(table).keys()


@pytest.mark.usefixtures("aws")
def test_a_record_that_was_quarantined() -> None:
    table = deploy()
    table.put(Poison.of({"a": 1}, "cannot be read", NOW).item())
    assert faults(table)["quarantine"].found == "1 records of the stream were quarantined"


@pytest.mark.usefixtures("aws")
def test_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    table = deploy()
    monkeypatch.setattr(Table, "service_time", lambda _: NOW)
    monkeypatch.setattr("meterstone.clock.now", lambda: NOW + MINUTE)
    assert faults(table)["clock"].found == "this machine's clock is 59 seconds ahead of the table's"


@pytest.mark.usefixtures("aws")
def test_all_organizations_are_looked_at_unless_one_is_named(machine: Machine) -> None:
    table = deploy()
    for key, item in machine.items().items():
        table.put(key_item(key) | item)
    assert {each.organization for each in examine(table, NOW)} == {None, ORGANIZATION}
    assert {each.organization for each in examine(table, NOW, UNKNOWN)} == {None, UNKNOWN}


def doctor(*options: str) -> tuple[int, list[str]]:
    result = CliRunner().invoke(app, ["doctor", *options])
    assert result.stderr == ""
    return result.exit_code, result.stdout.splitlines()


@pytest.mark.usefixtures("aws")
def test_a_table_that_is_not_there_ends_it() -> None:
    status, (line, remedy) = doctor("--table", "other")
    assert (status, line) == (1, "WRONG table: there is no table other here")
    assert remedy.startswith("      -> name the right one with --table")


@pytest.mark.usefixtures("aws")
def test_without_a_region_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    status, (line, remedy) = doctor()
    assert (status, line) == (1, "WRONG table: You must specify a region.")
    assert "set region and credentials" in remedy


@pytest.mark.parametrize(
    ("well", "status"), [(True, 0), (False, 1)], ids=["all is well", "something is wrong"]
)
def test_the_exit_status_and_a_line_for_each_finding(
    monkeypatch: pytest.MonkeyPatch,
    machine: Machine,
    well: bool,  # noqa: FBT001
    status: int,
) -> None:
    findings = [
        Finding("table", ok=True, found="answers"),
        Finding("rules", well, "1", "" if well else "x", "o"),
    ]
    monkeypatch.setattr("meterstone_cli.commands.doctor.examine", lambda *_: iter(findings))
    lines = ["ok    o rules: 1"] if well else ["WRONG o rules: 1", "      -> x"]
    assert doctor() == (status, ["ok    table: answers", *lines])
    assert [json.loads(line) for line in doctor("--json")[1]] == [each._asdict() for each in findings]
    assert doctor("--json")[0] == status


def test_a_table_that_stops_answering_is_a_finding(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    def stops(*_: object) -> Iterator[Finding]:
        yield Finding("table", ok=True, found="answers")
        raise StoreUnavailableError("throttled")

    monkeypatch.setattr("meterstone_cli.commands.doctor.examine", stops)
    assert doctor() == (
        1,
        ["ok    table: answers", "WRONG table: has stopped answering: throttled", "      -> try again later"],
    )


def test_no_more_events_are_read_than_it_takes_a_moment_for(
    monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    # The catalogue has two external ids: a subscription's, and its customer's.
    monkeypatch.setattr(diagnosis, "MOST_EVENTS", 4)
    for identity in "abcd":
        machine.post(identity)
        machine.now += MINUTE
    found = wrong(machine)["counting"].found
    assert found.endswith("at 2026-03-01T12:01:00Z (of the first 2 events of each external id)")
