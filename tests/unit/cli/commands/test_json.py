"""What commands print with --json: one stable shape each, an object a line."""

import json
from typing import Any

import pytest
from typer.testing import Result

from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.operations.import_records import ImportRecord, Source
from meterstone_cli.files import demo
from support.commands import NOW, ORGANIZATION, Machine, row


def objects(result: Result, status: int = 0) -> list[Any]:
    assert result.exit_code == status, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_of_a_sound_catalogue_the_numbers_of_its_records(machine: Machine) -> None:
    assert objects(machine.run("catalogue", "check", machine.folder, "--json")) == [
        {"customers": 1, "plans": 1, "meters": 3, "prices": 3, "subscriptions": 1}
    ]


def test_of_a_catalogue_with_faults_each_fault(machine: Machine) -> None:
    (machine.folder / "plans.yaml").write_text("- {code: p}\n- {code: p}\n- {code: q, x: 1}\n")
    assert objects(machine.run("catalogue", "check", machine.folder, "--json"), 1) == [
        {
            "file": "plans.yaml",
            "path": "plans[1].code",
            "reason": "'p' is the code of plans[0] already",
            "line": 2,
            "id": "p",
        },
        {"file": "plans.yaml", "path": "plans[2].x", "reason": "is not a known field", "line": 3, "id": "q"},
    ]


def test_of_a_load_what_is_new_and_what_begins_in_the_past(machine: Machine) -> None:
    nothing: dict[str, Any] = {
        "added": {},
        "changed": {},
        "begin_in_the_past": [],
        "recounts": [],
        "problems": [],
    }
    numbers = {"organization": 1, "customers": 1, "plans": 1, "meters": 3, "prices": 3, "subscriptions": 1}
    assert objects(machine.load("--json")) == [nothing | {"added": numbers}]
    assert objects(machine.load("--json")) == [nothing]
    machine.post("e", subscription="t")
    machine.change(
        "subscriptions",
        "- id: s",
        "- {id: t, customer: c, plan: p, currency: USD, start: 2026-01-01T00:00:00Z, "
        "line_items: [{id: k, price: calls}]}\n- id: s",
    )
    began = {"line_item": "k", "subscription": "t", "since": "2026-01-01T00:00:00Z"}
    assert objects(machine.load("--json")) == [
        nothing | {"added": {"subscriptions": 1}, "begin_in_the_past": [began]}
    ]


def test_of_a_load_the_recounts_that_it_begins(loaded: Machine) -> None:
    assert loaded.of("import", loaded.usage("usage.jsonl", row("t"))).exit_code == 0
    loaded.change("subscriptions", "price: calls", "price: calls, end: 2026-01-31T00:00:00Z")
    (found,) = objects(loaded.load("--json"))
    (recount,) = read_recounts(loaded.table, ORGANIZATION)
    begun = {
        "id": recount.id,
        "subscriptions": ["s"],
        "at": "2026-01-31T00:00:00Z",
        "line_items": ["i"],
        "events": 1,
    }
    assert found["recounts"] == [begun]


def test_of_recounts_how_far_each_is(loaded: Machine) -> None:
    assert loaded.of("import", loaded.usage("usage.jsonl", row("t"))).exit_code == 0
    ended = objects(loaded.of("catalogue", "end", "s", "--at", "2026-02-01T00:00:00Z", "--json"))[0]
    name = ended["recount"]["id"]
    assert ended["recount"] == {
        "id": name,
        "at": "2026-02-01T00:00:00Z",
        "line_items": ["i", "j"],
        "events": 1,
    }
    (before,) = objects(loaded.of("catalogue", "recounts", name, "--json"))
    assert {key: before[key] for key in ("kind", "subscriptions", "line_items", "events", "done")} == {
        "kind": "usage",
        "subscriptions": ["s"],
        "line_items": ["i", "j"],
        "events": {"logged": 1, "counted": 0},
        "done": False,
    }
    loaded.recount()
    (after,) = objects(loaded.of("catalogue", "recounts", "--json"))
    assert (after["id"], after["done"]) == (name, True)
    assert after["done_at"] is not None


def test_of_an_import_a_report_for_each_file(loaded: Machine) -> None:
    good = loaded.usage("good.jsonl", row("a"), row("b"), row("a"))
    bad = loaded.usage("bad.jsonl", row("c", code="load"), row("d", external_subscription_id="x"))
    assert objects(loaded.of("import", good, bad, "--json"), 1) == [
        {
            "file": str(good),
            "imported_before": False,
            "faulty_before": 0,
            "taken": 2,
            "counted": 2,
            "not_counted": {},
            "duplicates": 1,
            "put_aside": 0,
            "put_aside_reasons": {},
            "aside": None,
            "first_not_counted": [],
            "unreadable": {},
        },
        {
            "file": str(bad),
            "imported_before": False,
            "faulty_before": 0,
            "taken": 1,
            "counted": 0,
            "not_counted": {"value": 1},
            "duplicates": 0,
            "put_aside": 1,
            "put_aside_reasons": {"subscription": 1},
            "aside": str(loaded.path / "bad.jsonl.aside.jsonl"),
            "first_not_counted": [
                {
                    "line": 1,
                    "id": "c",
                    "reason": "value",
                    "why": "meter load: property 'n' is absent or not a number",
                }
            ],
            "unreadable": {"meter load: property 'n' is absent or not a number": 1},
        },
    ]
    (again,) = objects(loaded.of("import", good, "--json"))
    assert (again["imported_before"], again["faulty_before"]) == (True, 0)
    (again,) = objects(loaded.of("import", bad, "--json"), 1)
    assert (again["imported_before"], again["faulty_before"]) == (True, 2)


def test_of_imports_how_far_each_is_and_what_closing_one_counted(loaded: Machine) -> None:
    ImportRecord(Source("lost.csv", "ab" * 32), NOW, run=1, line=3).write(loaded.table, ORGANIZATION)
    lost = {"name": "lost.csv", "digest": "ab" * 32, "began": "2026-03-01T12:00:00Z", "line": 3}
    assert objects(loaded.of("imports", "--json")) == [lost | {"state": "open"}]
    (closed,) = objects(loaded.of("imports", "--close", "lost.csv", "--json"))
    assert closed.pop("began")
    assert closed == {
        "name": "lost.csv",
        "digest": "ab" * 32,
        "line": 3,
        "state": "closed",
        "counted": 0,
        "unmatched": 0,
    }


def test_of_keys_all_but_the_secret_which_is_told_once(loaded: Machine) -> None:
    (made,) = objects(loaded.of("keys", "create", "--name", "ci", "--json"))
    secret = made.pop("key")
    assert secret.startswith("mst_")
    scopes = ["read", "ingest", "catalogue"]
    assert made == {"id": made["id"], "organization": ORGANIZATION, "name": "ci", "scopes": scopes}
    listed = made | {"created": "2026-03-01T12:00:00Z", "revoked": None}
    assert objects(loaded.run("keys", "list", "--json")) == [listed]
    assert objects(loaded.run("keys", "revoke", made["id"], "--json")) == [
        {"id": made["id"], "revoked": True}
    ]
    assert objects(loaded.run("keys", "list", "--json")) == [listed | {"revoked": "2026-03-01T12:00:00Z"}]


def test_of_a_replay_its_numbers(loaded: Machine) -> None:
    assert objects(loaded.of("replay", "--json")) == [
        {"counted": 0, "waiting": 0, "withdrawn": 0, "not_counted": {}}
    ]


def test_of_a_withdrawal_its_numbers(loaded: Machine) -> None:
    assert loaded.of("import", loaded.usage("u.jsonl", row("a"))).exit_code == 0
    found = objects(loaded.of("withdraw", "--subscription", "s", "a", "b", "--json"), 1)
    assert found == [{"withdrawn": 1, "withdrawn_before": 0, "unknown": ["b"]}]
    later = loaded.of("withdraw", "--subscription", "s", "a", "--json")
    assert objects(later) == [{"withdrawn": 0, "withdrawn_before": 1, "unknown": []}]


def test_of_a_rebuild_that_is_given_up_that_it_is(loaded: Machine) -> None:
    assert objects(loaded.of("rebuild", "--abandon", "--json")) == [{"abandoned": True}]


def test_of_the_demo_its_organization(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = demo._rows
    monkeypatch.setattr(demo, "_rows", lambda path: (rows(path)[0][-1:], rows(path)[1]))
    assert objects(machine.run("demo", "--json")) == [
        {"organization": "0c6f2f6e-5d0a-4c57-9d3b-2f6f1a7b9e10"}
    ]


def test_without_json_no_line_is_an_object(loaded: Machine) -> None:
    for command in (("keys", "list"), ("imports", "-o", ORGANIZATION), ("replay", "-o", ORGANIZATION)):
        assert "{" not in loaded.run(*command).stdout
