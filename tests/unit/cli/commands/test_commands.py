"""The commands: what they say, and the exit status by which a script can tell what happened."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from meterstone.usage.instant import parse_instant
from meterstone.usage.meter import Event
from meterstone_cli import __main__ as program
from meterstone_cli.backend import BackendBusyError, BackendUnavailableError, Difference
from meterstone_cli.catalogue import read_catalogue
from meterstone_cli.dynamodb import DynamoDB
from meterstone_cli.files import demo
from meterstone_cli.files.usage_files import UsageEvent
from meterstone_cli.tree import DEMO
from support.fake_backend import FakeBackend
from support.memory_table import MemoryTable

NOW = parse_instant("2026-03-01T12:00:00Z")
ORGANIZATION = "6f9e0e0e-0000-4000-8000-000000000001"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()
    monkeypatch.setattr(program, "open_backend", lambda _: fake)
    monkeypatch.setattr("meterstone.clock.now", lambda: NOW)
    return fake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "catalogue"
    found.mkdir()
    (found / "organization.yaml").write_text(f"id: {ORGANIZATION}")
    (found / "customers.yaml").write_text("- {id: c}")
    (found / "plans.yaml").write_text("- {code: p}")
    (found / "subscriptions.yaml").write_text(
        "- {id: s, customer: c, plan: p, currency: USD, start: 2026-01-01T00:00:00Z}"
    )
    return found


def run(*arguments: object) -> Result:
    return CliRunner().invoke(program.app, [str(each) for each in arguments])


def event(identity: str, **changes: object) -> str:
    row = {"transaction_id": identity, "code": "x", "external_subscription_id": "s", "timestamp": 0}
    return json.dumps(row | changes)


def test_a_catalogue_is_checked_without_a_table(folder: Path) -> None:
    result = run("catalogue", "check", folder)
    assert (result.exit_code, result.stdout) == (
        0,
        "1 customers, 1 plans, 0 meters, 0 prices, 1 subscriptions\n",
    )


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("command", [("catalogue", "check"), ("load",)])
def test_a_bad_catalogue_is_refused_with_every_reason(folder: Path, command: tuple[str, ...]) -> None:
    (folder / "plans.yaml").write_text("- {name: P}")
    result = run(*command, folder)
    assert (result.exit_code, result.stdout) == (program.REFUSED, "")
    assert result.stderr.splitlines() == [
        "plans.yaml:1: plans[0].code: is required",
        "plans.yaml: 1 reference to plans was not checked: not all ids in this file could be read",
    ]


def test_what_a_file_says_cannot_move_the_cursor(folder: Path) -> None:
    (folder / "plans.json").write_text(json.dumps([{"code": "a", "\x1b[2J" + "x" * 1000: 1}]))
    result = run("catalogue", "check", folder)
    assert result.exit_code == program.REFUSED
    assert r"plans.json:1: plans[0].\x1b[2Jxxx" in result.stderr
    assert "\x1b" not in result.stderr
    assert len(result.stderr) < 1000


def test_loading_twice_changes_nothing(backend: FakeBackend, folder: Path) -> None:
    first, second = run("load", folder), run("load", folder)
    assert first.stdout == "added: 1 organization, 1 plans, 1 customers, 1 subscriptions\n"
    assert second.stdout == "loaded already: nothing to change\n"
    assert (first.exit_code, second.exit_code, backend.written) == (0, 0, 1)


def test_a_catalogue_that_was_not_written_to_its_end_is_written_again(
    backend: FakeBackend, folder: Path
) -> None:
    run("load", folder)
    backend.stopped.add(ORGANIZATION)
    result = run("load", folder)
    assert (result.exit_code, backend.written) == (0, 2)


def test_usage_that_was_counted_while_the_catalogue_was_written_is_told(
    backend: FakeBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that is taken as long as nothing is counted, and the first event, at the same time."""
    run("load", folder)
    subscriptions = (folder / "subscriptions.yaml").read_text()
    (folder / "subscriptions.yaml").write_text(subscriptions.replace("2026-01-01", "2026-01-02"))
    monkeypatch.setattr(backend, "has_usage", lambda *_: backend.written > 1)
    result = run("load", folder)
    assert (result.exit_code, backend.written) == (program.REFUSED, 2)
    first, *problems = result.stderr.splitlines()
    assert first.endswith("while this one was being written: run rebuild, because of")
    assert problems
    assert all(each.startswith("subscriptions.yaml:1: subscriptions[0].") for each in problems)


def test_what_begins_in_the_past_is_said_if_events_have_come(backend: FakeBackend, folder: Path) -> None:
    (folder / "meters.yaml").write_text("- {id: m, code: x, aggregation: COUNT}")
    (folder / "prices.yaml").write_text(
        "- {id: p, currency: usd, billing_model: FLAT_FEE, amount: 1, meter_id: m}"
    )
    run("load", folder)
    begin = "- {id: %s, customer: c, plan: p, currency: USD, start: 2026-01-01T00:00:00Z, line_items: [%s]}\n"
    items = ", ".join(
        f"{{id: %si{number:02}, price: p, start: 2026-01-{number:02}T00:00:00Z, "
        f"end: 2026-01-{number:02}T12:00:00Z}}"
        for number in range(1, 24)
    )
    subscriptions = (
        (folder / "subscriptions.yaml").read_text() + "\n" + begin % ("t", items.replace("%s", "t"))
    )
    (folder / "subscriptions.yaml").write_text(subscriptions)
    backend.events[ORGANIZATION, "s", "t1"] = UsageEvent("s", None, Event("t1", "x", 0, {}))
    assert run("load", folder).stdout == "added: 1 subscriptions\n"
    backend.events[ORGANIZATION, "u", "t1"] = UsageEvent("u", None, Event("t1", "x", 0, {}))
    more = begin % ("u", items.replace("%s", "u")) + begin % ("v", "{id: j, price: p}")
    (folder / "subscriptions.yaml").write_text(subscriptions + more)
    lines = run("load", folder).stdout.splitlines()
    assert lines[:3] == [
        "added: 2 subscriptions",
        "these begin in the past, and events for them may have come already:",
        "  ui01 of subscription u: 2026-01-01T00:00:00Z",
    ]
    assert lines[21:] == [
        "  ui20 of subscription u: 2026-01-20T00:00:00Z",
        "  and 3 more",
        "`replay` counts the events that were put by; `rebuild` counts all that are in the log",
    ]


@pytest.fixture
def forgotten(backend: FakeBackend, folder: Path) -> Path:
    """Load a catalogue, have usage counted, and add what it forgot."""
    run("load", folder)
    backend.events[ORGANIZATION, "s", "t1"] = UsageEvent("s", None, Event("t1", "x", 0, {}))
    (folder / "meters.yaml").write_text("- {id: m, code: x, aggregation: COUNT}")
    (folder / "prices.yaml").write_text(
        "- {id: p, currency: usd, billing_model: FLAT_FEE, amount: 1, meter_id: m}"
    )
    subscriptions = (folder / "subscriptions.yaml").read_text()
    (folder / "subscriptions.yaml").write_text(
        subscriptions.replace("}", ", line_items: [{id: i, price: p}]}")
    )
    backend.calls.clear()
    return folder


def test_what_was_forgotten_is_refused_unless_all_is_counted_again(
    backend: FakeBackend, forgotten: Path
) -> None:
    refused = run("load", forgotten)
    assert (refused.exit_code, refused.stdout, refused.stderr, backend.calls) == (
        program.REFUSED,
        "",
        (
            "subscriptions.yaml:1: subscriptions[0].line_items[0].start (id 's'): this new line item would take "
            "effect before now, and usage has been counted; --recompute takes it\n"
        ),
        [],
    )
    backend.differences = [Difference("", "c", "s", "i", "x", "2026-01-01", "counted", "", "6")]
    taken = run("load", forgotten, "--recompute")
    assert (taken.exit_code, taken.stdout.splitlines(), taken.stderr.splitlines()) == (
        0,
        [
            "added: 1 meters, 1 prices; changed: 1 subscriptions",
            "these begin in the past, and events for them may have come already:",
            "  i of subscription s: 2026-01-01T00:00:00Z",
            "3 counted, 0 still match nothing",
            "  1 were withdrawn",
            "  2 were not counted: meter m: no value",
            "customer\tsubscription\tline item\tmetric\tday\twhat\tbefore\tafter",
            "c\ts\ti\tx\t2026-01-01\tcounted\t-\t6",
            "7 events counted, 1 differ: swapped",
        ],
        ["counting the event log"],
    )
    assert backend.calls == ["make way", "write", "replay", "rebuild"]


def test_a_recompute_that_was_stopped_goes_on(backend: FakeBackend, forgotten: Path) -> None:
    """Whether it was is not known: what is loaded already is counted again, too."""
    run("load", forgotten, "--recompute")
    again = run("load", forgotten, "--recompute")
    assert again.stdout.splitlines()[:2] == [
        "loaded already: nothing to change",
        "3 counted, 0 still match nothing",
    ]
    assert backend.calls[4:] == ["make way", "replay", "rebuild"]


def test_a_recompute_takes_nothing_else_that_is_refused(backend: FakeBackend, forgotten: Path) -> None:
    (forgotten / "plans.yaml").write_text("- {code: q}")
    (forgotten / "subscriptions.yaml").write_text(
        (forgotten / "subscriptions.yaml").read_text().replace("plan: p", "plan: q")
    )
    result = run("load", forgotten, "--recompute")
    assert (result.exit_code, backend.calls, result.stderr.splitlines()) == (
        program.REFUSED,
        [],
        [
            "plans 'p': is stored and cannot be removed: history may need it; end it instead",
            (
                "subscriptions.yaml:1: subscriptions[0].plan (id 's'): this change would take effect before now, "
                "and usage has been counted"
            ),
        ],
    )


def test_what_stands_in_a_recomputes_way_is_said_before_anything_is_written(
    backend: FakeBackend, forgotten: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object) -> None:
        raise BackendBusyError("the import of f is running")

    monkeypatch.setattr(backend, "make_way", busy)
    result = run("load", forgotten, "--recompute")
    assert (result.exit_code, result.stdout, result.stderr, backend.calls) == (
        program.REFUSED,
        "",
        "the import of f is running\n",
        [],
    )


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (BackendBusyError("a withdraw is running"), program.REFUSED, "a withdraw is running"),
        (
            BackendUnavailableError("the table does not answer"),
            program.UNAVAILABLE,
            "the table does not answer",
        ),
        (KeyboardInterrupt(), program.INTERRUPTED, "Interrupted"),
    ],
    ids=["busy", "unavailable", "interrupted"],
)
@pytest.mark.parametrize("step", ["replay", "rebuild"])
def test_what_comes_between_the_catalogue_and_its_recompute_is_said(
    backend: FakeBackend,
    forgotten: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: BaseException,
    status: int,
    told: str,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(backend, step, fails)
    result = run("load", forgotten, "--recompute")
    assert (result.exit_code, result.stderr.splitlines()) == (
        status,
        [
            (
                "the catalogue is loaded, but not all is counted by it: run `load --recompute` again, "
                "or `replay` and then `rebuild`, because of"
            ),
            told,
        ],
    )
    assert "write" in backend.calls


def test_a_refused_change_writes_nothing(backend: FakeBackend, folder: Path) -> None:
    run("load", folder)
    (folder / "plans.yaml").write_text("- {code: p}\n- {code: q}")
    (folder / "customers.yaml").write_text("- {id: d}")
    (folder / "subscriptions.yaml").write_text("[]")
    result = run("load", folder)
    assert (result.exit_code, backend.written) == (program.REFUSED, 1)
    assert result.stderr.splitlines() == [
        f"{kind}: is stored and cannot be removed: history may need it; end it instead"
        for kind in ("customers 'c'", "subscriptions 's'")
    ]


def test_usage_is_counted_once_and_bad_rows_are_rejected(
    backend: FakeBackend, folder: Path, tmp_path: Path
) -> None:
    run("load", folder)
    usage = tmp_path / "usage.jsonl"
    lines = [event("1"), event("1"), event("1", code="y"), event("2", external_subscription_id="t"), "oops"]
    usage.write_text("\n".join(lines))
    result = run("import", usage, "--organization", ORGANIZATION)
    aside = tmp_path / "usage.jsonl.aside.jsonl"
    assert result.exit_code == program.REFUSED
    assert result.stdout.splitlines() == [
        "usage.jsonl: 1 taken, 1 counted, 0 not counted, 1 were there already, 3 put aside",
        f"  put aside in {aside}",
    ]
    kept = [json.loads(line) for line in aside.read_text().splitlines()]
    assert [(each["line"], each["reason"]) for each in kept] == [
        (3, "another event has this transaction id"),
        (4, "there is no subscription 't'"),
        (5, "is not JSON: Expecting value (column 1)"),
    ]
    again = run("import", usage, "--organization", ORGANIZATION)
    assert (again.exit_code, again.stdout) == (0, "usage.jsonl: imported already, nothing is counted twice\n")
    assert len(backend.events) == 1

    aside.write_text(
        aside.read_text().replace(r"\"t\"", r"\"s\"").replace("oops", event("3").replace('"', r"\""))
    )
    third = run("import", aside, "--organization", ORGANIZATION)
    assert "2 taken, 2 counted, 0 not counted, 0 were there already, 1 put aside" in third.stdout
    assert (tmp_path / "usage.jsonl.aside.jsonl.aside.jsonl").exists()


def test_what_does_not_count_is_said(backend: FakeBackend, folder: Path, tmp_path: Path) -> None:
    run("load", folder)
    path = tmp_path / "usage.jsonl"
    path.write_text("".join(event(f"t{number}") + "\n" for number in range(5)))
    backend.strangers, backend.unusable = 2, {"meter m: no value": 1}
    result = run("import", "-o", ORGANIZATION, path)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "usage.jsonl: 5 taken, 3 counted, 2 not counted, 0 were there already, 0 put aside",
            "  2 line_item: not priced: no line item is for it; it counts once one is",
            "  1 could not be read: meter m: no value",
        ],
    )


def test_a_row_that_counts_nowhere_because_of_itself_is_named(
    backend: FakeBackend, folder: Path, tmp_path: Path
) -> None:
    run("load", folder)
    path = tmp_path / "usage.jsonl"
    path.write_text("".join(event(f"t{number}") + "\n" for number in range(3)))
    backend.unreadable = {"t0": 1}
    result = run("import", "-o", ORGANIZATION, path)
    assert (result.exit_code, result.stdout.splitlines()) == (
        program.REFUSED,
        [
            "usage.jsonl: 3 taken, 2 counted, 1 not counted, 0 were there already, 0 put aside",
            "  1 value: the meters that are for it cannot read it",
            "    line 1, t0: value: meter m: no value",
        ],
    )


def test_rejected_rows_are_never_overwritten(backend: FakeBackend, folder: Path, tmp_path: Path) -> None:
    run("load", folder)
    usage = tmp_path / "usage.jsonl"
    for content in ("oops", "oh no"):
        usage.write_text(content)
        run("import", usage, "-o", ORGANIZATION)
    assert json.loads((tmp_path / "usage.jsonl.aside.jsonl").read_text())["row"] == "oops"
    assert json.loads((tmp_path / "usage.jsonl.aside.2.jsonl").read_text())["row"] == "oh no"


@pytest.mark.parametrize(
    "command", [("import", __file__), ("keys", "create"), ("unmatched",), ("imports",)], ids=" ".join
)
def test_an_organization_without_catalogue_is_said_to_have_none(
    backend: FakeBackend, command: tuple[str, ...]
) -> None:
    """Its id may be mistyped: nothing is listed as if there were nothing, and no key made that opens nothing."""
    result = run(*command, "-o", ORGANIZATION)
    assert (result.exit_code, result.stdout) == (program.REFUSED, "")
    assert result.stderr == f"the organization {ORGANIZATION} has no catalogue: load one first\n"
    assert not backend.keys


@pytest.mark.parametrize("command", [("event", "x"), ("uncounted",), ("imports",)], ids=" ".join)
def test_an_organization_without_catalogue_is_no_fault_of_the_store(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(program, "open_backend", lambda _: DynamoDB(MemoryTable()))
    result = run(*command, "-o", ORGANIZATION)
    assert (result.exit_code, result.stdout) == (program.REFUSED, "")
    assert result.stderr == f"the organization {ORGANIZATION} has no catalogue: load one first\n"


def test_an_organization_is_named_in_any_case(backend: FakeBackend, folder: Path) -> None:
    run("load", folder)
    assert run("keys", "create", "-o", ORGANIZATION.upper()).exit_code == 0
    assert [key.organization_id for key in backend.keys.values()] == [ORGANIZATION]


@pytest.mark.parametrize("command", ["unmatched", "imports"])
def test_nothing_is_listed_where_there_is_nothing(backend: FakeBackend, folder: Path, command: str) -> None:
    run("load", folder)
    result = run(command, "-o", ORGANIZATION)
    assert (result.exit_code, result.output) == (0, "")
    assert backend.written == 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("u.csv", b"a,b\n1,2\n", "its header row has no column transaction_id or event_id"),
        ("u.jsonl.gz", b"junk", "breaks off after line 0: Not a gzipped file (b'ju')"),
    ],
)
def test_no_import_is_begun_of_a_file_that_cannot_be_read(
    backend: FakeBackend,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
    reason: str,
) -> None:
    """It would stay open, and stand in the way of every rebuild."""
    run("load", folder)
    begun: list[object] = []
    monkeypatch.setattr(backend, "import_events", lambda *given, **_: begun.append(given))
    (tmp_path / name).write_bytes(content)
    result = run("import", tmp_path / name, "-o", ORGANIZATION)
    assert (result.exit_code, result.stdout, begun) == (program.REFUSED, "", [])
    assert result.stderr == f"{tmp_path / name}: {reason}\n"


@pytest.mark.usefixtures("backend")
def test_a_file_of_another_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    run("load", folder)
    (tmp_path / "u.txt").write_text("")
    result = run("import", tmp_path / "u.txt", "-o", ORGANIZATION)
    assert result.exit_code == program.REFUSED
    assert result.stderr == f"{tmp_path}/u.txt: is neither .csv nor .jsonl, plain or with .gz\n"


@pytest.mark.usefixtures("backend")
def test_keys_are_made_listed_and_revoked(folder: Path) -> None:
    run("load", folder)
    made = run("keys", "create", "-o", ORGANIZATION, "--name", "mine")
    assert (made.exit_code, made.stdout) == (0, "secret of key1\n")
    listed = run("keys", "list")
    assert listed.stdout == f"key1\t{ORGANIZATION}\t1970-01-01T00:00:00Z\t-\tmine\n"
    assert "secret" not in listed.stdout
    assert run("keys", "revoke", "key1").stdout == "key1: revoked\n"
    assert "\t1970-01-01T00:00:01Z\t" in run("keys", "list").stdout
    unknown = run("keys", "revoke", "key9")
    assert (unknown.exit_code, unknown.stderr) == (program.REFUSED, "there is no key key9\n")


@pytest.mark.usefixtures("backend")
def test_a_table_is_made_once() -> None:
    assert run("table", "create", "--table", "t").stdout == "t: created\n"
    assert run("table", "create", "--table", "t").stdout == "t: is there already\n"


@pytest.mark.parametrize(
    "arguments", [("keys", "list"), ("table", "create"), ("import", __file__, "-o", ORGANIZATION)]
)
def test_an_unavailable_store_has_its_own_exit_status(
    backend: FakeBackend, arguments: tuple[str, ...]
) -> None:
    backend.down = True
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (program.UNAVAILABLE, "the table does not answer\n")


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
def test_usage_errors(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    "command",
    [(), ("start",), ("load",), ("import",), ("keys", "create"), ("catalogue", "check"), ("serve",)],
)
def test_help(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_the_table_needs_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("TABLE_NAME", "t")
    result = run("keys", "list")
    assert result.exit_code == program.UNAVAILABLE
    assert result.stderr.startswith(
        "You must specify a region. Region and credentials come from the environment"
    )


def test_the_demo_loads_once(backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_rows", _few(demo._rows))
    first, second = run("demo"), run("demo")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert len(backend.events) == 8 * 50
    assert first.stderr.count("50 events counted") == 8
    assert second.stderr.count("loaded already") == 8
    organization = read_catalogue(DEMO / "catalogue")[0].organization.id
    assert second.stdout == f"{organization}\n"


def _few(rows: object) -> object:
    def few(path: Path) -> tuple[list[str], str]:
        found, digest = rows(path)  # type: ignore[operator]
        return found[-50:], digest

    return few
