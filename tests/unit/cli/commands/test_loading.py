"""The commands that check and load a catalogue: what they put, refuse and say."""

import json

import pytest

from meterstone.catalogue import anew
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.operations.import_records import ImportRecord, Source
from meterstone_cli.exit_status import REFUSED, UNAVAILABLE
from support.commands import NOW, ORGANIZATION, Machine, row
from support.memory_table import Faults


def test_a_catalogue_is_checked_without_a_table(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meterstone_cli.session.open_table", None)
    result = machine.run("catalogue", "check", machine.folder)
    assert (result.exit_code, result.stdout) == (
        0,
        "1 customers, 1 plans, 3 meters, 3 prices, 1 subscriptions\n",
    )


@pytest.mark.parametrize("command", [("catalogue", "check"), ("load",)], ids=" ".join)
def test_a_bad_catalogue_is_refused_with_every_reason(machine: Machine, command: tuple[str, ...]) -> None:
    (machine.folder / "plans.yaml").write_text("- {name: P}")
    result = machine.run(*command, machine.folder)
    assert (result.exit_code, result.stdout) == (REFUSED, "")
    assert result.stderr.splitlines() == [
        "plans.yaml:1: plans[0].code: is required",
        "plans.yaml: 1 reference to plans was not checked: not all ids in this file could be read",
    ]


def test_what_a_file_says_cannot_move_the_cursor(machine: Machine) -> None:
    (machine.folder / "plans.json").write_text(json.dumps([{"code": "a", "\x1b[2J" + "x" * 1000: 1}]))
    result = machine.run("catalogue", "check", machine.folder)
    assert result.exit_code == REFUSED
    assert r"plans.json:1: plans[0].\x1b[2Jxxx" in result.stderr
    assert "\x1b" not in result.stderr
    assert len(result.stderr) < 1000


def test_loading_twice_changes_nothing(machine: Machine) -> None:
    first = machine.load()
    stored = machine.items()
    second = machine.load()
    assert (
        first.stdout == "added: 1 organization, 1 plans, 1 customers, 3 meters, 3 prices, 1 subscriptions\n"
    )
    assert second.stdout == "loaded already: nothing to change\n"
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert machine.items() == stored


_MEND = "what was told before is put; these are not, nor what refers to their kind: mend them, and load again"


@pytest.mark.parametrize(
    ("old", "new", "since", "counted"),
    [
        ("2026-01-01", "2026-01-02", "2026-01-01T00:00:00Z", 2),
        ("price: calls", "price: calls, end: 2026-01-31T00:00:00Z", "2026-01-31T00:00:00Z", 1),
        ("{id: j", "{id: k, price: fax}\n  - {id: j", "2026-01-01T00:00:00Z", 3),
    ],
    ids=["a later start", "a line item ended", "a line item that was forgotten"],
)
def test_a_change_that_moves_counted_usage_begins_a_recount_and_names_it(
    loaded: Machine, old: str, new: str, since: str, counted: int
) -> None:
    (loaded.folder / "plans.yaml").write_text("- {code: p}\n- {code: q}\n")
    assert loaded.load().exit_code == 0
    usage = loaded.usage(
        "usage.jsonl", row("t1"), row("t2", code="fax"), row("t3", code="load", properties={"n": 2})
    )
    assert loaded.of("import", usage).exit_code == 0
    loaded.change("subscriptions", old, new)
    result = loaded.load()
    (recount,) = read_recounts(loaded.table, ORGANIZATION)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "changed: 1 subscriptions",
            "usage of these subscriptions is counted anew; `catalogue recounts` shows how far that is:",
            f"  s: 3 events, from {since} on, recount {recount.id}",
        ],
    )
    assert loaded.load().stdout == "loaded already: nothing to change\n"
    assert loaded.of("catalogue", "recounts").stdout.startswith(f"counting\t{recount.id}\t")
    (done,) = loaded.recount()
    assert done.done_at is not None
    assert loaded.of("catalogue", "recounts").stdout.startswith(f"counted\t{recount.id}\t")
    told = loaded.of("rebuild").stdout
    assert told == f"{counted} events counted, nothing differs: swapped\n", "all was right by the log"


def test_much_is_counted_anew_by_force_alone(loaded: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anew, "MOST_LOG", 0)
    assert loaded.of("import", loaded.usage("usage.jsonl", row("t"))).exit_code == 0
    loaded.change("subscriptions", "2026-01-01", "2026-01-02")
    stored = loaded.items()
    refused = loaded.load()
    assert (refused.exit_code, refused.stdout, refused.stderr.splitlines()) == (
        REFUSED,
        "",
        [
            (
                "subscriptions.yaml:1: subscriptions[0] (id 's'): more than 20 MB of events would be read to "
                "count usage anew: ask for it by force"
            ),
            _MEND,
        ],
    )
    assert loaded.items() == stored
    assert loaded.load("--force").stdout.splitlines()[0] == "changed: 1 subscriptions"
    loaded.recount()
    assert "nothing differs" in loaded.of("rebuild").stdout


def test_of_many_recounts_the_first_are_told(loaded: Machine) -> None:
    path = loaded.folder / "subscriptions.yaml"
    many = "".join(
        path.read_text().replace("id: s", f"id: s{number:02}").replace("{id: ", f"{{id: {number}")
        for number in range(22)
    )
    path.write_text(many)
    assert loaded.load().exit_code == 0
    loaded.now += 1_000_000
    rows = [row(f"t{number}", external_subscription_id=f"s{number:02}") for number in range(22)]
    assert loaded.of("import", loaded.usage("usage.jsonl", *rows)).exit_code == 0
    loaded.change("subscriptions", "start: 2026-01-01", "start: 2026-01-02")
    lines = loaded.load().stdout.splitlines()
    assert lines[0] == "changed: 22 subscriptions"
    assert [line.partition(":")[0].strip() for line in lines[2:22]] == [f"s{n:02}" for n in range(20)]
    assert lines[22:] == ["  and 2 more"]


def test_what_comes_before_a_refused_record_is_put_and_what_follows_its_kind_is_not(loaded: Machine) -> None:
    loaded.change("meters", "{id: fax, code: fax", "{id: fax, deleted_at: 2026-03-01T12:01:00Z, code: fax")
    path = loaded.folder / "meters.yaml"
    path.write_text(path.read_text() + "- {id: new, code: new, aggregation: COUNT}\n")
    (loaded.folder / "plans.yaml").write_text("- {code: p}\n- {code: q}\n")
    result = loaded.load()
    assert result.exit_code == REFUSED
    assert result.stdout == "added: 1 meters\n"
    assert result.stderr.splitlines() == [
        (
            "meters.yaml:3: meters[2].deleted_at (id 'fax'): a meter's deletion takes 5 minutes; "
            "the earliest possible instant is 2026-03-01T12:05:20Z"
        ),
        _MEND,
    ]
    loaded.change("meters", "12:01:00Z", "12:30:00Z")
    assert loaded.load().stdout == "added: 1 plans; changed: 1 meters\n"


def test_customers_that_moved_in_the_past_are_told(loaded: Machine) -> None:
    assert loaded.of("import", loaded.usage("usage.jsonl", row("t"))).exit_code == 0
    (loaded.folder / "customers.yaml").write_text(
        "- {id: c, country: [{value: NO, since: 2026-01-05T00:00:00Z}]}\n"
    )
    told = loaded.load().stdout.splitlines()
    (recount,) = read_recounts(loaded.table, ORGANIZATION)
    assert told == [
        "changed: 1 customers",
        "totals follow what has moved here; `catalogue recounts` shows how far that is:",
        f"  customer c: from 2026-01-05T00:00:00Z on, recount {recount.id}",
    ]
    shown = loaded.of("catalogue", "recounts").stdout
    assert (
        shown
        == f"following\t{recount.id}\tcustomer c from 2026-01-05T00:00:00Z on\t0 subscriptions, 0 refused\n"
    )
    loaded.recount()
    assert loaded.of("catalogue", "recounts").stdout.startswith(f"followed\t{recount.id}\tcustomer c from ")


def test_a_plan_that_has_another_name_since_some_time_is_told(loaded: Machine) -> None:
    (loaded.folder / "plans.yaml").write_text("- {code: p}\n- {code: q}\n")
    assert loaded.load().exit_code == 0
    assert loaded.of("import", loaded.usage("usage.jsonl", row("t"))).exit_code == 0
    loaded.change("subscriptions", "plan: p", "plan: [{value: p}, {value: q, since: 2026-01-20T00:00:00Z}]")
    told = loaded.load().stdout.splitlines()
    (recount,) = read_recounts(loaded.table, ORGANIZATION)
    assert told == [
        "changed: 1 subscriptions",
        "totals follow what has moved here; `catalogue recounts` shows how far that is:",
        f"  the plan's name of subscription s: from 2026-01-20T00:00:00Z on, recount {recount.id}",
    ]
    what = "the plan's name of subscription s from 2026-01-20T00:00:00Z on"
    shown = loaded.of("catalogue", "recounts").stdout
    assert shown == f"following\t{recount.id}\t{what}\t0 subscriptions, 0 refused\n"
    loaded.recount()
    assert loaded.of("catalogue", "recounts").stdout.startswith(f"followed\t{recount.id}\t{what}\t1 ")


def test_a_price_that_would_cost_otherwise_is_refused_before_anything_is_put(loaded: Machine) -> None:
    stored = loaded.items()
    (loaded.folder / "plans.yaml").write_text("- {code: p}\n- {code: q}\n")
    loaded.change("prices", "amount: 1, meter_id: load", "amount: 2, meter_id: load")
    result = loaded.load()
    assert (result.exit_code, result.stdout) == (REFUSED, "")
    assert result.stderr == (
        "prices.yaml:2: prices[1].amount (id 'load'): cannot change: make a new price, and end the line items of "
        "this one\n"
    )
    assert loaded.items() == stored


def test_a_load_goes_on_while_a_rebuild_runs(loaded: Machine) -> None:
    loaded.set_profile("SET gen_next = :name, cut_next = :cut", {":name": {"S": "2"}, ":cut": {"N": "0"}})
    loaded.change("customers", "{id: c}", "{id: c, name: C}")
    assert loaded.load().stdout == "changed: 1 customers\n"


def test_a_load_into_a_table_of_the_first_format_is_refused_while_a_rebuild_runs(loaded: Machine) -> None:
    loaded.set_profile("SET gen_next = :name, cut_next = :cut", {":name": {"S": "2"}, ":cut": {"N": "0"}})
    loaded.set_profile("REMOVE stored_format", {})
    result = loaded.load()
    assert (result.exit_code, result.stderr) == (
        REFUSED,
        "a rebuild is running, or was stopped: load when it is through, or given up\n",
    )


def test_what_begins_in_the_past_is_said_if_events_have_come(loaded: Machine) -> None:
    begin = (
        "- {id: %s, customer: %s, plan: p, currency: USD, start: 2026-01-01T00:00:00Z, line_items: [%s]}\n"
    )
    (loaded.folder / "customers.yaml").write_text("- {id: c}\n- {id: d}\n")
    items = ", ".join(
        f"{{id: %si{number:02}, price: calls, start: 2026-01-{number:02}T00:00:00Z, "
        f"end: 2026-01-{number:02}T12:00:00Z}}"
        for number in range(1, 24)
    )
    path = loaded.folder / "subscriptions.yaml"
    subscriptions = path.read_text() + begin % ("t", "d", items.replace("%s", "t"))
    path.write_text(subscriptions)
    loaded.post("t1", "s")
    assert loaded.load().stdout == "added: 1 customers, 1 subscriptions\n"
    loaded.post("t1", "u")
    more = begin % ("u", "d", items.replace("%s", "u")) + begin % ("v", "d", "{id: vj, price: calls}")
    path.write_text(subscriptions + more)
    lines = loaded.load().stdout.splitlines()
    assert lines[:3] == [
        "added: 2 subscriptions",
        "these begin in the past, and events for them may have come already:",
        "  ui01 of subscription u: 2026-01-01T00:00:00Z",
    ]
    assert lines[21:] == [
        "  ui20 of subscription u: 2026-01-20T00:00:00Z",
        "  and 3 more",
        "events that wait for them are counted within the hour; `replay` counts them now",
    ]


def test_a_load_beside_an_open_import_begins_a_recount(loaded: Machine) -> None:
    assert loaded.of("import", loaded.usage("usage.jsonl", row("t"))).exit_code == 0
    ImportRecord(Source("f", "ab" * 32), NOW, run=1).write(loaded.table, ORGANIZATION)
    loaded.change("subscriptions", "{id: j", "{id: k, price: fax}\n  - {id: j")
    assert loaded.load().exit_code == 0
    assert [each.done_at is not None for each in loaded.recount()] == [True]


def test_what_is_stored_and_not_in_the_folder_stays(loaded: Machine) -> None:
    stored = loaded.items()
    (loaded.folder / "customers.yaml").write_text("[]")
    (loaded.folder / "subscriptions.yaml").write_text("[]")
    assert loaded.load().stdout == "loaded already: nothing to change\n"
    assert loaded.items() == stored


def test_a_load_from_whose_first_write_the_store_is_away_says_so(machine: Machine) -> None:
    machine.table.faults = Faults(unavailable=lambda _: True)
    result = machine.load()
    assert result.exit_code == UNAVAILABLE
    assert result.stderr.startswith("the table does not answer: ")
    assert not machine.items()
