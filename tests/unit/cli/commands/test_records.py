"""The commands of single records, and the folder that is written of all."""

import json
from pathlib import Path

import pytest

from meterstone.catalogue import anew
from meterstone.catalogue.recounting import carry_all_on
from meterstone.store.catalogue.recounts import SETTLED, read_recounts
from meterstone.store.dynamodb import keys
from meterstone.store.operations.replay import replay
from meterstone.usage.instant import HOUR, format_instant
from meterstone_cli.exit_status import NOT_UNDERSTOOD, REFUSED
from support.commands import ORGANIZATION, Machine, row

SOON = "2026-03-02T00:00:00Z"


@pytest.fixture
def machine(machine: Machine) -> Machine:
    """Give a machine with a catalogue loaded, and beside it a plan `q` whose price is `load`."""
    (machine.folder / "plans.yaml").write_text("- {code: p, prices: [calls]}\n- {code: q, prices: [load]}\n")
    path = machine.folder / "subscriptions.yaml"
    path.write_text(
        path.read_text() + "- {id: f, customer: c, plan: p, currency: USD, start: 2026-02-01T00:00:00Z}\n"
    )
    assert machine.load().exit_code == 0
    return machine


def answer(machine: Machine, *arguments: object) -> tuple[int, str, str]:
    result = machine.of("catalogue", *arguments)
    return result.exit_code, result.stdout, result.stderr


LISTED = [
    pytest.param(("meter",), ["calls\tx\tCOUNT\t-", "fax\tfax\tCOUNT\t-", "load\tload\tSUM\t-"], id="meters"),
    pytest.param(
        ("price",),
        [f"{each}\tusd\tFLAT_FEE\t1\t{each}" for each in ("calls", "fax", "load")],
        id="prices",
    ),
    pytest.param(("plan",), ["p\t-\t-\t-", "q\t-\t-\t-"], id="plans"),
    pytest.param(("customer",), ["c\t-\t-"], id="customers"),
    pytest.param(
        ("subscription",),
        ["f\tc\tp\t2026-02-01T00:00:00Z\t-", "s\tc\tp\t2026-01-01T00:00:00Z\t-"],
        id="subscriptions",
    ),
    pytest.param(
        ("subscription", "--at", "2026-01-15T00:00:00Z"),
        ["s\tc\tp\t2026-01-01T00:00:00Z\t-"],
        id="subscriptions in force at an instant",
    ),
    pytest.param(
        ("subscription", "--external-id", "f"), ["f\tc\tp\t2026-02-01T00:00:00Z\t-"], id="of an external id"
    ),
    pytest.param(
        ("subscription", "--customer", "c", "--at", "2026-01-15T00:00:00Z"),
        ["s\tc\tp\t2026-01-01T00:00:00Z\t-"],
        id="of a customer, in force at an instant",
    ),
    pytest.param(("subscription", "--customer", "nobody"), [], id="of a customer that is not there"),
    pytest.param(("subscription", "--plan", "q"), [], id="of a plan that nobody has"),
]


@pytest.mark.parametrize(("arguments", "expected"), LISTED)
def test_records_are_listed_by_id(machine: Machine, arguments: tuple[str, ...], expected: list[str]) -> None:
    assert answer(machine, "list", *arguments) == (0, "".join(f"{line}\n" for line in expected), "")


def test_a_list_in_json_has_whole_records(machine: Machine) -> None:
    _, lines, _ = answer(machine, "list", "plan", "--json")
    assert [json.loads(line) for line in lines.splitlines()] == [
        {"code": "p", "prices": ["calls"]},
        {"code": "q", "prices": ["load"]},
    ]


def test_a_record_is_shown_as_a_file_has_it(machine: Machine) -> None:
    assert answer(machine, "get", "plan", "q") == (0, "code: q\nprices: [load]\n", "version 1\n")
    code, line, _ = answer(machine, "get", "plan", "q", "--json")
    assert (code, json.loads(line)) == (
        0,
        {"code": "q", "prices": ["load"]}
        | {"version": 1, "created_at": "2026-03-01T12:00:00Z", "updated_at": "2026-03-01T12:00:00Z"},
    )


def test_a_record_is_put_by_a_file_or_stdin_and_again_changes_nothing(machine: Machine) -> None:
    path = machine.path / "record"
    told = []
    for name, text in (
        ("d.yaml", "name: Dee"),
        ("d.json", '{"name": "Dee", "id": "d"}'),
        ("d.yaml", "name: D"),
    ):
        path = machine.path / name
        path.write_text(text)
        told.append(answer(machine, "put", "customer", "d", path))
    assert told == [
        (0, "customer d: made, version 1\n", ""),
        (0, "customer d: the same already, version 1\n", ""),
        (0, "customer d: changed, version 2\n", ""),
    ]


PUT = [
    pytest.param("customer", "d", "{name: 1}", ("name: must be text",), id="a wrong field"),
    pytest.param(
        "subscription",
        "n",
        "{customer: x, plan: y, currency: USD, start: 2026-02-01T00:00:00Z, line_items: [{price: z}]}",
        (
            "plan: there is no plan 'y'",
            "customer: there is no customer 'x'",
            "line_items[0].price: there is no price 'z'",
        ),
        id="everything that is not there",
    ),
    pytest.param(
        "price",
        "calls",
        "{currency: usd, billing_model: FLAT_FEE, amount: 2, meter_id: calls}",
        ("amount: cannot change: make a new price, and end the line items of this one",),
        id="a price that would cost otherwise",
    ),
    pytest.param("plan", "p", "[1]", ("FILE: must be one record, a mapping",), id="no record"),
    pytest.param("plan", "p", "{code: ", ("FILE: ",), id="no YAML"),
]


@pytest.mark.parametrize(("kind", "name", "text", "expected"), PUT)
def test_a_record_that_is_refused_says_everything(
    machine: Machine, kind: str, name: str, text: str, expected: tuple[str, ...]
) -> None:
    path = machine.path / "r.yaml"
    path.write_text(text)
    stored = machine.items()
    code, out, err = answer(machine, "put", kind, name, path)
    assert (code, out) == (REFUSED, "")
    lines = err.replace(str(path), "FILE").splitlines()
    assert len(lines) == len(expected)
    assert all(line.startswith(each) for line, each in zip(lines, expected, strict=True))
    assert machine.items() == stored


def test_with_if_match_a_record_is_put_on_its_version_alone(machine: Machine) -> None:
    path = machine.path / "c.yaml"
    path.write_text("name: C")
    assert answer(machine, "put", "customer", "c", path, "--if-match", 3) == (
        REFUSED,
        "",
        "the record has been changed since\n",
    )
    assert (
        answer(machine, "put", "customer", "c", path, "--if-match", 1)[1]
        == "customer c: changed, version 2\n"
    )


CHANGES = [
    pytest.param(
        ("end", "f", "--at", SOON), f"subscription f: changed, end {SOON}, version 2\n", id="an end to come"
    ),
    pytest.param(
        ("end", "f"), "subscription f: changed, end 2026-03-01T12:00:00Z, version 2\n", id="an end, now"
    ),
    pytest.param(
        ("change-plan", "f", "q", "--at", SOON),
        f"subscription f: changed, plan q, since {SOON}, version 2\n",
        id="another plan, later",
    ),
    pytest.param(
        ("change-plan", "f", "q"),
        "subscription f: changed, plan q, since 2026-03-01T12:00:00Z, version 2\n",
        id="another plan, now",
    ),
    pytest.param(
        ("delete", "subscription", "f"), "subscription f: deleted\n", id="a subscription never used"
    ),
    pytest.param(
        ("delete", "meter", "fax"),
        "meter fax: deleted from 2026-03-01T12:05:20Z on\n",
        id="a meter, in 5 minutes",
    ),
    pytest.param(("delete", "plan", "q"), "plan q: deleted\n", id="a plan that nobody has named"),
]


@pytest.mark.parametrize(("arguments", "expected"), CHANGES)
def test_what_a_change_tells(machine: Machine, arguments: tuple[str, ...], expected: str) -> None:
    assert answer(machine, *arguments) == (0, expected, "")


RECOUNTED = [
    pytest.param(
        ("end", "s", "--at", "2026-02-01T00:00:00Z"),
        "subscription s: changed, end 2026-02-01T00:00:00Z, version 2\n",
        id="an end",
    ),
    pytest.param(
        ("put", "subscription", "s", "FILE"), "subscription s: changed, version 2\n", id="another record"
    ),
]


@pytest.mark.parametrize(("arguments", "expected"), RECOUNTED)
def test_a_change_that_moves_counted_usage_names_its_recount(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], expected: str
) -> None:
    assert machine.of("import", machine.usage("usage.jsonl", row("t"))).exit_code == 0
    path = machine.path / "s.yaml"
    record = "customer: c\nplan: p\ncurrency: USD\nstart: %s\nline_items: [{id: i, price: calls}]\n"
    path.write_text(record % "2026-02-01T00:00:00Z")
    arguments = tuple(str(path) if each == "FILE" else each for each in arguments)
    monkeypatch.setattr(anew, "MOST_LOG", 0)
    stored = machine.items()
    refused = answer(machine, *arguments)
    assert (refused[0], refused[1]) == (REFUSED, "")
    assert "more than 20 MB of events would be read" in refused[2]
    assert machine.items() == stored
    code, out, err = answer(machine, *arguments, "--force")
    (recount,) = read_recounts(machine.table, ORGANIZATION)
    since = format_instant(recount.since)
    told = (
        f"recount {recount.id}: all events in the log are counted anew, for usage from {since} on; "
        f"`catalogue recounts {recount.id}` shows how far it is\n"
    )
    assert (code, out, err) == (0, expected + told, "")
    assert answer(machine, "recounts", recount.id)[1].startswith(f"counting\t{recount.id}\tusage of")
    assert answer(machine, "status")[1].startswith(f"counting\t{recount.id}\tusage of subscription s")
    machine.recount()
    assert answer(machine, "status")[1].endswith("no recounts\n")
    assert answer(machine, "recounts")[1].startswith(f"counted\t{recount.id}\tusage of subscription s")
    assert machine.of("rebuild").stdout.endswith("nothing differs: swapped\n")


def test_a_plan_that_is_but_a_name_is_followed_by_totals(machine: Machine) -> None:
    assert machine.of("import", machine.usage("usage.jsonl", row("t"))).exit_code == 0
    code, out, err = answer(machine, "change-plan", "s", "q", "--at", "2026-02-01T00:00:00Z")
    (recount,) = read_recounts(machine.table, ORGANIZATION)
    told = (
        "subscription s: changed, plan q, since 2026-02-01T00:00:00Z, version 2\n"
        f"recount {recount.id}: totals follow the plan's name of subscription s from 2026-02-01T00:00:00Z on; "
        f"`catalogue recounts {recount.id}` shows how far it is\n"
    )
    assert (code, out, err) == (0, told, "")
    machine.recount()
    assert answer(machine, "status")[1].endswith("no recounts\n")
    assert machine.of("rebuild").stdout.endswith("nothing differs: swapped\n")


def test_where_nothing_is_counted_anew_there_are_no_recounts(machine: Machine) -> None:
    assert answer(machine, "recounts") == (0, "no recounts\n", "")
    assert answer(machine, "recounts", "--json") == (0, "", "")


REFUSALS = [
    pytest.param(("get", "plan", "x"), "there is no plan 'x'\n", id="get"),
    pytest.param(("end", "x"), "there is no subscription 'x'\n", id="end"),
    pytest.param(("change-plan", "f", "x"), "plan: there is no plan 'x'\n", id="change-plan"),
    pytest.param(("delete", "price", "calls"), "a price stays: take it out of plans", id="a price"),
    pytest.param(("delete", "customer", "c"), "subscription 'f' is the customer's", id="a customer in use"),
    pytest.param(("recounts", "x"), "there is no recount 'x'\n", id="recounts"),
]


@pytest.mark.parametrize(("arguments", "expected"), REFUSALS)
def test_what_cannot_be_done_says_why(machine: Machine, arguments: tuple[str, ...], expected: str) -> None:
    assert machine.of("import", machine.usage("usage.jsonl", row("t"))).exit_code == 0
    stored = machine.items()
    code, out, err = answer(machine, *arguments)
    assert (code, out, err[: len(expected)]) == (REFUSED, "", expected)
    assert machine.items() == stored


@pytest.mark.parametrize(
    "arguments",
    [("list", "plan", "--customer", "c"), ("list", "fruit"), ("end", "f", "--at", "soon")],
    ids=["a filter for another kind", "no kind", "no instant"],
)
def test_what_is_not_understood(machine: Machine, arguments: tuple[str, ...]) -> None:
    assert answer(machine, *arguments)[0] == NOT_UNDERSTOOD


def test_status_names_what_is_still_to_be_done(machine: Machine) -> None:
    replay(machine.table, ORGANIZATION, lambda: machine.now)
    assert answer(machine, "status") == (0, "no recounts\n", "")
    machine.table.update(
        keys.subscription(ORGANIZATION, "f"),
        "SET due_pk = :due, due_at = :at",
        {":due": {"S": keys.unwoken(ORGANIZATION)}, ":at": {"S": "2026-03-01T12:00:00Z"}},
    )
    waiting = row("u", external_subscription_id="f", code="fax", timestamp="2026-02-15T00:00:00Z")
    machine.of("import", machine.usage("usage.jsonl", waiting))
    replay(machine.table, ORGANIZATION, lambda: machine.now)
    assert answer(machine, "status")[1] == "to wake\tsubscription f\nno recounts\n"
    assert answer(machine, "change-plan", "f", "q", "--at", SOON)[0] == 0
    assert answer(machine, "status")[1] == "to try\tsubscription f\nno recounts\n"
    assert json.loads(answer(machine, "status", "--json")[1]) == {
        "to_wake": [],
        "to_try": [{"by": "subscription", "external_id": "f"}],
        "recounts": [],
    }


def test_a_plan_is_put_for_all_and_status_tells_how_far_it_is(machine: Machine, tmp_path: Path) -> None:
    plan = answer(machine, "get", "plan", "p")[1]
    file = tmp_path / "p.yaml"
    file.write_text(plan)
    status, said, _ = answer(machine, "put", "plan", "p", str(file), "--applies-to-all", "--at", SOON)
    (recount,) = read_recounts(machine.table, ORGANIZATION)

    assert status == 0
    assert said.splitlines() == [
        "plan p: the same already, version 1",
        (
            f"recount {recount.id}: subscriptions follow plan p from {SOON} on; "
            f"`catalogue recounts {recount.id}` shows how far it is"
        ),
    ]
    shown = f"recounting\t{recount.id}\tplan p version 1 from {SOON} on\t0 follow, 0 refused\n"
    assert shown in answer(machine, "status")[1]
    (told,) = json.loads(answer(machine, "status", "--json")[1])["recounts"]
    assert (told["id"], told["done"]) == (recount.id, False)
    carry_all_on(machine.table, lambda: machine.now + SETTLED, machine.now + HOUR)
    assert "no recounts\n" in answer(machine, "status")[1]


def test_only_a_plan_is_put_for_all(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("name: x")
    assert answer(machine, "put", "customer", "c", str(file), "--applies-to-all")[0] == NOT_UNDERSTOOD
    assert answer(machine, "put", "plan", "p", str(file), "--at", SOON)[0] == NOT_UNDERSTOOD


def test_an_export_is_a_folder_that_changes_nothing(machine: Machine) -> None:
    assert answer(machine, "end", "f", "--at", SOON)[0] == 0
    stored = machine.items()
    folder = machine.path / "export"
    assert answer(machine, "export", folder) == (
        0,
        f"{folder}: 3 meters, 3 prices, 2 plans, 1 customers, 2 subscriptions\n",
        "",
    )
    assert machine.run("load", folder).stdout == "loaded already: nothing to change\n"
    assert machine.items() == stored
    assert answer(machine, "export", folder)[0] == REFUSED, "it is not empty"
