"""The commands: what they say, and the exit status by which a script can tell what happened."""

import gzip
import json
import os
import re
from pathlib import Path

import pytest
from botocore.exceptions import NoCredentialsError
from moto import mock_aws

from meterstone.catalogue import anew
from meterstone.store.catalogue.accounts import Accounts
from meterstone.store.catalogue.api_keys import list_keys
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.dynamodb.table import StoreUnavailableError
from meterstone.store.operations.import_records import ImportRecord, Records, Source
from meterstone.store.operations.import_run import ImportRun
from meterstone_cli.catalogue import read_catalogue
from meterstone_cli.exit_status import REFUSED, UNAVAILABLE
from meterstone_cli.files import demo
from meterstone_cli.tree import DEMO
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
        ("plan: p", "plan: [{value: p}, {value: q, since: 2026-01-20T00:00:00Z}]", "2026-01-20T00:00:00Z", 2),
        ("price: calls", "price: calls, end: 2026-01-31T00:00:00Z", "2026-01-31T00:00:00Z", 1),
        ("{id: j", "{id: k, price: fax}\n  - {id: j", "2026-01-01T00:00:00Z", 3),
    ],
    ids=["a later start", "another plan", "a line item ended", "a line item that was forgotten"],
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
    (loaded.folder / "plans.yaml").write_text("- {code: p}\n- {code: q}\n")
    (loaded.folder / "customers.yaml").write_text("- {id: c, country: NO}\n- {id: d}\n")
    begin = "- {id: t, customer: d, plan: q, currency: USD, start: 2026-01-01T00:00:00Z, line_items: []}\n"
    path = loaded.folder / "subscriptions.yaml"
    path.write_text(path.read_text() + begin)
    assert loaded.of("import", loaded.usage("usage.jsonl", row("t"))).exit_code == 0
    (loaded.folder / "customers.yaml").write_text(
        "- {id: c, country: [{value: NO, since: 2026-01-05T00:00:00Z}]}\n- {id: d}\n"
    )
    result = loaded.load()
    assert result.exit_code == REFUSED
    assert result.stdout == "added: 1 plans, 1 customers\n"
    assert result.stderr.splitlines() == [
        (
            "customers.yaml:1: customers[0].country (id 'c'): usage was counted by what holds before then; "
            "the earliest possible instant is 2026-03-01T12:00:00Z"
        ),
        _MEND,
    ]
    (loaded.folder / "customers.yaml").write_text("- {id: c}\n- {id: d}\n")
    assert loaded.load().stdout == "added: 1 subscriptions\n"


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


def test_usage_is_counted_once_and_bad_rows_are_rejected(loaded: Machine, tmp_path: Path) -> None:
    usage = loaded.usage(
        "usage.jsonl",
        *(row("1"), row("1"), row("1", code="y"), row("2", external_subscription_id="t"), "oops"),
    )
    result = loaded.of("import", usage)
    aside = tmp_path / "usage.jsonl.aside.jsonl"
    assert result.exit_code == REFUSED
    assert result.stdout.splitlines() == [
        "usage.jsonl: 1 taken, 1 counted, 0 not counted, 1 were there already, 3 put aside",
        f"  put aside in {aside}",
        "    1 subscription: there is no subscription of that id",
    ]
    kept = [json.loads(line) for line in aside.read_text().splitlines()]
    assert sorted((each["line"], each["reason"]) for each in kept) == [
        (3, "another event has this transaction id"),
        (4, "there is no subscription 't'"),
        (5, "is not JSON: Expecting value (column 1)"),
    ]
    again = loaded.of("import", usage)
    assert (again.exit_code, again.stdout.splitlines()) == (
        REFUSED,
        [
            "usage.jsonl: imported already, nothing is counted twice",
            "  3 of its rows were put aside then, or no meter could read them: `uncounted` lists those",
        ],
    )

    corrected = json.dumps(row("3")).replace('"', r"\"")
    aside.write_text(aside.read_text().replace(r"\"t\"", r"\"s\"").replace("oops", corrected))
    third = loaded.of("import", aside)
    assert "2 taken, 2 counted, 0 not counted, 0 were there already, 1 put aside" in third.stdout
    assert (tmp_path / "usage.jsonl.aside.jsonl.aside.jsonl").exists()


def test_what_does_not_count_is_said(loaded: Machine) -> None:
    path = loaded.usage("usage.jsonl", *(row(f"t{n}", code="fax" if n < 2 else "x") for n in range(5)))
    result = loaded.of("import", path)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "usage.jsonl: 5 taken, 3 counted, 2 not counted, 0 were there already, 0 put aside",
            "  2 line_item: not priced: no line item is for it; it counts once one is",
            "    line 1, t0: line_item",
            "    line 2, t1: line_item",
        ],
    )


@pytest.mark.parametrize(
    ("bad", "exit_code"),
    [
        pytest.param(row("t0"), 0, id="nothing"),
        pytest.param(row("t0", code="fax"), 0, id="a row that waits for a line item"),
        pytest.param(row("t0", code="load"), REFUSED, id="a row that no meter can read"),
        pytest.param(row("t0", external_subscription_id="t"), REFUSED, id="a row of no subscription"),
        pytest.param("oops", REFUSED, id="a row that is no event"),
    ],
)
def test_a_file_that_is_imported_again_has_the_exit_status_of_before(
    loaded: Machine, bad: object, exit_code: int
) -> None:
    path = loaded.usage("usage.jsonl", bad, row("t1"), row("t2"))
    assert [loaded.of("import", path).exit_code for _ in range(3)] == [exit_code] * 3


def test_what_a_stopped_import_put_aside_is_remembered(
    loaded: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterstone.store.operations.imports._BATCH", 2)
    rows = ("oops", row("t0", code="load"), row("t1"), row("t2"))
    path = loaded.usage("usage.jsonl", *rows)
    move, calls = ImportRun.move, iter(range(9))

    def stopped(run: ImportRun, record: ImportRecord) -> None:
        if next(calls):
            raise KeyboardInterrupt
        move(run, record)

    monkeypatch.setattr(ImportRun, "move", stopped)
    loaded.of("import", path)
    monkeypatch.setattr(ImportRun, "move", move)
    assert "imported already" not in loaded.of("import", path).stdout
    assert "  2 of its rows were put aside then" in loaded.of("import", path).stdout


def test_a_file_that_breaks_off_leaves_an_import_open_and_says_how_to_go_on(loaded: Machine) -> None:
    whole = loaded.usage("usage.jsonl", *(row(f"t{n}") for n in range(2000)), "oops")
    cut, mended = loaded.path / "cut.jsonl.gz", loaded.path / "mended.jsonl.gz"
    mended.write_bytes(gzip.compress(whole.read_bytes()))
    cut.write_bytes(mended.read_bytes()[:-200])
    result = loaded.of("import", cut)
    assert result.exit_code == REFUSED
    breaks_off, stopped = result.stderr.splitlines()[-2:]
    assert "breaks off after line" in breaks_off
    digest = re.findall(r"imports --close ([0-9a-f]{16})\)", stopped)[0]
    assert "open" in loaded.of("imports").stdout
    assert loaded.of("imports", "--close", digest).exit_code == 0
    assert "imports --close" not in loaded.of("import", mended).stderr
    assert "open" not in loaded.of("imports").stdout


def test_a_row_that_counts_nowhere_because_of_itself_is_named(loaded: Machine) -> None:
    path = loaded.usage("usage.jsonl", row("t0", code="load"), row("t1"), row("t2"))
    result = loaded.of("import", path)
    assert (result.exit_code, result.stdout.splitlines()) == (
        REFUSED,
        [
            "usage.jsonl: 3 taken, 2 counted, 1 not counted, 0 were there already, 0 put aside",
            "  1 value: the meters that are for it cannot read it",
            "    line 1, t0: value: meter load: property 'n' is absent or not a number",
            "  1 could not be read: meter load: property 'n' is absent or not a number",
        ],
    )


def test_rejected_rows_are_never_overwritten(loaded: Machine, tmp_path: Path) -> None:
    for content in ("oops", "oh no"):
        loaded.of("import", loaded.usage("usage.jsonl", content))
    assert json.loads((tmp_path / "usage.jsonl.aside.jsonl").read_text())["row"] == "oops"
    assert json.loads((tmp_path / "usage.jsonl.aside.2.jsonl").read_text())["row"] == "oh no"


@pytest.mark.parametrize(
    "command",
    [
        ("import", __file__),
        ("keys", "create"),
        ("unmatched",),
        ("uncounted", "--summary"),
        ("imports",),
        ("event", "x"),
    ],
    ids=" ".join,
)
def test_an_organization_without_catalogue_is_said_to_have_none(
    machine: Machine, command: tuple[str, ...]
) -> None:
    """Its id may be mistyped: nothing is listed as if there were nothing, and no key made that opens nothing."""
    result = machine.of(*command)
    assert (result.exit_code, result.stdout) == (REFUSED, "")
    assert result.stderr == f"the organization {ORGANIZATION} has no catalogue: load one first\n"
    assert not machine.items()


def test_an_organization_is_named_in_any_case(loaded: Machine) -> None:
    assert loaded.run("keys", "create", "-o", ORGANIZATION.upper()).exit_code == 0
    assert [key.organization_id for key in list_keys(loaded.table)] == [ORGANIZATION]


@pytest.mark.parametrize("command", ["unmatched", "imports"])
def test_nothing_is_listed_where_there_is_nothing(loaded: Machine, command: str) -> None:
    result = loaded.of(command)
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("u.csv", b"a,b\n1,2\n", "its header row has no column transaction_id or event_id"),
        ("u.jsonl.gz", b"junk", "breaks off after line 0: Not a gzipped file (b'ju')"),
    ],
)
def test_no_import_is_begun_of_a_file_that_cannot_be_read(
    loaded: Machine, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    """It would stay open, and stand in the way of every rebuild."""
    (tmp_path / name).write_bytes(content)
    result = loaded.of("import", tmp_path / name)
    assert (result.exit_code, result.stdout) == (REFUSED, "")
    assert result.stderr == f"{tmp_path / name}: {reason}\n"
    assert not Records.read(loaded.table, ORGANIZATION).all


def test_a_file_of_another_kind_is_refused(loaded: Machine, tmp_path: Path) -> None:
    (tmp_path / "u.txt").write_text("")
    result = loaded.of("import", tmp_path / "u.txt")
    assert result.exit_code == REFUSED
    assert result.stderr == f"{tmp_path}/u.txt: is neither .csv nor .jsonl, plain or with .gz\n"


def test_keys_are_made_listed_and_revoked(loaded: Machine) -> None:
    made = loaded.of("keys", "create", "--name", "mine")
    key_id = made.stderr.split()[1]
    assert (made.exit_code, made.stdout[:4]) == (0, "mst_")
    listed = loaded.run("keys", "list")
    assert (
        listed.stdout == f"{key_id}\t{ORGANIZATION}\t2026-03-01T12:00:00Z\t-\tmine\tread,ingest,catalogue\n"
    )
    assert made.stdout.strip() not in listed.stdout
    loaded.now += 1_000_000
    assert loaded.run("keys", "revoke", key_id).stdout == f"{key_id}: revoked\n"
    assert "\t2026-03-01T12:00:01Z\t" in loaded.run("keys", "list").stdout
    unknown = loaded.run("keys", "revoke", "key9")
    assert (unknown.exit_code, unknown.stderr) == (REFUSED, "there is no key key9\n")


@pytest.mark.parametrize(
    ("options", "scopes"),
    [
        pytest.param((), ["read", "ingest", "catalogue"], id="none: all"),
        pytest.param(("--scope", "read"), ["read"], id="one"),
        pytest.param(("--scope", "catalogue", "--scope", "read"), ["read", "catalogue"], id="two"),
        pytest.param(("--scope", "ingest", "--scope", "ingest"), ["ingest"], id="one twice"),
    ],
)
def test_a_key_s_scopes_are_chosen_and_shown(
    loaded: Machine, options: tuple[str, ...], scopes: list[str]
) -> None:
    made = loaded.of("keys", "create", *options, "--json")
    assert json.loads(made.stdout)["scopes"] == scopes
    assert json.loads(loaded.run("keys", "list", "--json").stdout)["scopes"] == scopes
    assert loaded.run("keys", "list").stdout.endswith(f"\t{','.join(scopes)}\n")
    account = Accounts(loaded.table).account(json.loads(made.stdout)["key"])
    assert account is not None
    assert account.scopes == set(scopes)


def test_a_key_is_shown_with_its_scopes(loaded: Machine) -> None:
    said = loaded.of("keys", "create", "--scope", "read").stderr
    assert "with the scopes read;" in said


@pytest.mark.parametrize("scope", ["write", "READ", "read,ingest", "", "all"])
def test_an_unknown_scope_is_refused_by_name(loaded: Machine, scope: str) -> None:
    refused = loaded.of("keys", "create", "--scope", "read", "--scope", scope)
    assert refused.exit_code == 2
    assert f"'{scope}' is not one of 'read', 'ingest', 'catalogue'" in refused.stderr
    assert not list_keys(loaded.table)


def test_a_table_is_made_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    # An engine of other tests may be running: the mock stands for AWS.
    monkeypatch.delenv("AWS_ENDPOINT_URL_DYNAMODB", raising=False)
    with mock_aws():
        assert machine.run("table", "create", "--table", "t").stdout == "t: created\n"
        assert machine.run("table", "create", "--table", "t").stdout == "t: is there already\n"


@pytest.mark.parametrize(
    "command", [("keys", "list"), ("import", __file__, "-o", ORGANIZATION)], ids=["read", "written"]
)
def test_an_unavailable_store_has_its_own_exit_status(
    loaded: Machine, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StoreUnavailableError("get: Timeout") from NoCredentialsError()

    for name in ("get", "query", "batch_get"):
        monkeypatch.setattr(loaded.table, name, refuse)
    result = loaded.run(*command)
    assert result.exit_code == UNAVAILABLE
    assert result.stderr == "the table does not answer: Unable to locate credentials\n"


def test_a_load_from_whose_first_write_the_store_is_away_says_so(machine: Machine) -> None:
    machine.table.faults = Faults(unavailable=lambda _: True)
    result = machine.load()
    assert result.exit_code == UNAVAILABLE
    assert result.stderr.startswith("the table does not answer: ")
    assert not machine.items()


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("load",),
        ("load", "/nowhere"),
        ("serve", "--port", "70000"),
        ("keys", "create"),
        ("import", "-x"),
    ],
)
def test_usage_errors(machine: Machine, arguments: tuple[str, ...]) -> None:
    assert machine.run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "command",
    [(), ("start",), ("load",), ("import",), ("keys", "create"), ("catalogue", "check"), ("serve",)],
)
def test_help(machine: Machine, command: tuple[str, ...]) -> None:
    result = machine.run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_the_table_needs_a_region(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("TABLE_NAME", "t")
    result = machine.run("keys", "list")
    assert result.exit_code == UNAVAILABLE
    assert result.stderr.startswith(
        "You must specify a region. Region and credentials come from the environment"
    )


def test_the_demo_loads_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_rows", _few(demo._rows))
    first, second = machine.run("demo"), machine.run("demo")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stderr.count("50 events counted") == 8
    assert second.stderr.count("loaded already") == 8
    organization = read_catalogue(DEMO / "catalogue")[0].organization.id
    assert second.stdout == f"{organization}\n"


def _few(rows: object) -> object:
    def few(path: Path) -> tuple[list[str], str]:
        found, digest = rows(path)  # type: ignore[operator]
        return found[-50:], digest

    return few


def test_keys_are_listed_of_one_organization(loaded: Machine) -> None:
    other = "7f9e0e0e-0000-4000-8000-000000000002"
    loaded.change("organization", ORGANIZATION, other)
    loaded.change("subscriptions", "id: s", "id: other")
    assert loaded.load().exit_code == 0
    for organization in (ORGANIZATION, other):
        assert loaded.run("keys", "create", "-o", organization, "--name", organization[0]).exit_code == 0

    def names(*options: str) -> list[str]:
        return [line.split("\t")[4] for line in loaded.run("keys", "list", *options).stdout.splitlines()]

    assert sorted(names()) == ["6", "7"]
    assert names("-o", other.upper()) == ["7"]
    assert names("--organization", ORGANIZATION) == ["6"]
    unknown = loaded.run("keys", "list", "-o", "8f9e0e0e-0000-4000-8000-000000000003")
    assert (unknown.exit_code, unknown.stdout) == (REFUSED, "")
    assert "has no catalogue" in unknown.stderr
