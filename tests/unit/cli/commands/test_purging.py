"""The command that purges a customer: what it says, what `load` takes afterwards, and its exit status."""

import pytest

from meterstone.store.dynamodb import keys
from meterstone.usage.instant import DAY
from meterstone_cli.exit_status import REFUSED
from support.commands import ORGANIZATION, Machine, row


@pytest.fixture
def machine(machine: Machine) -> Machine:
    """Have a customer whose subscription has ended, with events, one of which no meter can read."""
    machine.change(
        "subscriptions",
        "start: 2026-01-01T00:00:00Z",
        "start: 2026-01-01T00:00:00Z\n  end: 2026-02-15T00:00:00Z",
    )
    assert machine.load().exit_code == 0
    usage = machine.usage("usage.jsonl", row("t1"), row("t2"), row("t3", code="load"))
    assert machine.of("import", usage).exit_code == REFUSED
    machine.now += 3 * DAY
    return machine


def renamed(stdout: str) -> dict[tuple[str, str], str]:
    lines = [line.split("\t") for line in stdout.splitlines() if "\t" in line]
    return {(kind, old): new for kind, old, new in lines}


def test_a_dry_run_says_what_would_be_purged_and_changes_nothing(machine: Machine) -> None:
    before = machine.items()
    told = machine.of("purge-customer", "c", "--dry-run")
    assert told.exit_code == 0
    assert told.stdout == "would be purged: customer c, 1 subscriptions, 2 line items, 3 events\n"
    assert "Backups keep the customer for 35 days" in told.stderr
    assert machine.items() == before


def test_a_purge_says_the_new_ids_and_the_catalogue_with_these_is_taken(machine: Machine) -> None:
    told = machine.of("purge-customer", "c")
    assert told.exit_code == 0, told.output
    new = renamed(told.stdout)
    assert new.keys() == {
        ("customer", "c"),
        ("subscription", "s"),
        ("external id", "s"),
        ("line item", "i"),
        ("line item", "j"),
    }
    assert told.stdout.splitlines()[-1] == "3 events have other names now"
    machine.change("customers", "id: c", f"id: {new['customer', 'c']}")
    machine.change(
        "subscriptions",
        "- id: s\n  customer: c\n",
        f"- id: {new['subscription', 's']}\n  external_id: {new['external id', 's']}\n"
        f"  customer: {new['customer', 'c']}\n",
    )
    for each in ("i", "j"):
        machine.change("subscriptions", f"id: {each},", f"id: {new['line item', each]},")
    taken = machine.load()
    assert (taken.exit_code, taken.stdout) == (0, "loaded already: nothing to change\n"), taken.output


def test_a_purge_that_was_stopped_refuses_a_load_and_goes_on(machine: Machine) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("meterstone.store.operations.purge._Purge._move", stop)
        assert machine.of("purge-customer", "c").exit_code != 0
    refused = machine.load()
    assert refused.exit_code == REFUSED
    assert machine.of("rebuild").stderr == (
        "the purge of a customer is running, or was stopped: run purge-customer again first "
        "(`meterstone doctor` says of whom)\n"
    )
    assert machine.of("purge-customer", "c").exit_code == 0
    assert machine.of("rebuild").exit_code == 0
    purges = keys.purge(ORGANIZATION, "").pk
    assert not [key for key in machine.items() if key.pk == purges]


def stop(*_: object) -> int:
    raise KeyboardInterrupt


def test_a_customer_that_is_unknown_is_told(machine: Machine) -> None:
    told = machine.of("purge-customer", "nobody")
    assert (told.exit_code, told.stderr) == (REFUSED, "the catalogue has no customer of that id\n")
