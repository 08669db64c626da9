"""The commands that put right what went wrong: what they say, and their exit status."""

import json
from dataclasses import replace

import pytest
from support.fake_backend import FakeBackend
from typer.testing import CliRunner, Result

from meterstone.usage.instant import parse_instant
from meterstone_cli import __main__ as program
from meterstone_cli.backend import (
    ClosedImport,
    Difference,
    ImportRecord,
    ImportState,
    PoisonRecord,
    UncountedEvent,
    UncountedNumbers,
)

ORGANIZATION = "6f9e0e0e-0000-4000-8000-000000000001"
AT, SINCE = parse_instant("2026-03-01T12:00:00Z"), parse_instant("2026-03-01T12:00:01.5Z")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()
    monkeypatch.setattr(program, "open_backend", lambda _: fake)
    return fake


def run(*arguments: str) -> Result:
    return CliRunner().invoke(program.app, [*arguments, "-o", ORGANIZATION])


FAULT = {"meter": "size", "property": "mb", "why": "property 'mb': not a number"}
FAULT_TOLD = "meter size: property 'mb': not a number"
TIMES = "2026-03-01T12:00:00Z\t2026-03-01T12:00:01.5Z"


def listed_events() -> list[UncountedEvent]:
    """Make one event that is not priced, and others that do not count."""
    return [
        UncountedEvent("t1", "acme", None, "calls", AT, SINCE, "line_item"),
        UncountedEvent("t\t2", None, "c 1", "new\nline", AT, SINCE, "customer"),
        UncountedEvent("t3", "acme", None, "load", AT, SINCE, "value", [FAULT]),
        UncountedEvent("t4", "acme", None, "load", AT, SINCE, "value", [FAULT], counts=True),
    ]


@pytest.mark.parametrize("name", ["uncounted", "unmatched"])
def test_events_that_do_not_count_are_listed_and_what_is_not_priced_apart(
    backend: FakeBackend, name: str
) -> None:
    backend.put_by = listed_events()
    found = run(name)
    assert found.stdout.splitlines() == [
        f"t\\t2\tcustomer c 1\tnew\\nline\t{TIMES}\tcustomer",
        f"t3\tsubscription acme\tload\t{TIMES}\tvalue\t{FAULT_TOLD}",
        f"t4\tsubscription acme\tload\t{TIMES}\tvalue\t{FAULT_TOLD}\tcounted by another meter",
        f"t1\tsubscription acme\tcalls\t{TIMES}\tline_item",
    ]
    assert found.stderr == "not priced:\n"


@pytest.mark.parametrize(
    ("reason", "ids"),
    [
        pytest.param("line_item", ["t1"], id="not priced"),
        pytest.param("customer", ["t\\t2"], id="nobody"),
        pytest.param("value", ["t3", "t4"], id="unreadable"),
        pytest.param("time", [], id="none"),
    ],
)
def test_those_of_one_reason_are_listed_alone(backend: FakeBackend, reason: str, ids: list[str]) -> None:
    backend.put_by = listed_events()
    backend.catalogues[ORGANIZATION] = None  # type: ignore[assignment]
    found = run("uncounted", "--reason", reason)
    assert [line.split("\t")[0] for line in found.stdout.splitlines()] == ids
    assert (found.exit_code, found.stderr) == (0, "")


def test_a_reason_that_there_is_not_is_not_understood(backend: FakeBackend) -> None:
    assert run("uncounted", "--reason", "weather").exit_code == 2


def test_the_numbers_are_summed_up(backend: FakeBackend) -> None:
    backend.catalogues[ORGANIZATION] = None  # type: ignore[assignment]
    backend.numbers = UncountedNumbers({"time": 2, "line_item": 5, "value": 3}, 4, ["fax", "new\nline"])
    assert run("uncounted", "--summary").stdout.splitlines() == [
        "time\t2",
        "value\t3",
        "value, counted by another meter\t4",
        "not priced (line_item)\t5",
        "meter that no subscription prices\tfax",
        "meter that no subscription prices\tnew\\nline",
    ]
    assert run("uncounted", "--summary", "--reason", "time").stdout == "time\t2\n"
    assert json.loads(run("uncounted", "--summary", "--json").stdout) == {
        "by_reason": {"time": 2, "line_item": 5, "value": 3},
        "counted_elsewhere": 4,
        "unpriced_meters": ["fax", "new\nline"],
    }


def test_events_that_do_not_count_are_listed_as_json(backend: FakeBackend) -> None:
    backend.put_by = listed_events()
    second, third, _, first = run("uncounted", "--json").stdout.splitlines()
    assert json.loads(third)["meters"] == [FAULT]
    assert json.loads(first) == {
        "id": "t1",
        "subscription": "acme",
        "customer": None,
        "code": "calls",
        "time": "2026-03-01T12:00:00Z",
        "since": "2026-03-01T12:00:01.5Z",
        "reason": "line_item",
        "meters": [],
        "counts": False,
    }
    assert json.loads(second)["code"] == "new\nline"


OPEN = ImportRecord(("usage.jsonl", "ab" * 32), AT, 5000, ImportState.OPEN)
FINISHED = ImportRecord(("usage.jsonl", "ac" * 32), SINCE, 70, ImportState.FINISHED)
CLOSED = ImportRecord(("new\nline", "cd" * 32), SINCE, 12, ImportState.CLOSED)


def test_imports_are_listed(backend: FakeBackend) -> None:
    backend.records = [OPEN, FINISHED, CLOSED]
    assert run("imports").stdout.splitlines() == [
        "usage.jsonl\tabababababababab\t2026-03-01T12:00:00Z\t5000\topen",
        "usage.jsonl\tacacacacacacacac\t2026-03-01T12:00:01.5Z\t70\tfinished",
        "new\\nline\tcdcdcdcdcdcdcdcd\t2026-03-01T12:00:01.5Z\t12\tclosed",
    ]
    assert json.loads(run("imports", "--json").stdout.splitlines()[0]) == {
        "name": "usage.jsonl",
        "digest": "ab" * 32,
        "began": "2026-03-01T12:00:00Z",
        "line": 5000,
        "state": "open",
    }


def test_that_usage_was_counted_by_older_rules_is_said_beside_the_list(backend: FakeBackend) -> None:
    backend.records, backend.old = [OPEN], {ORGANIZATION}
    result = run("imports", "--json")
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == (
        "usage was counted by the rules of an older version: "
        f"`meterstone rebuild --organization {ORGANIZATION}` makes it right; "
        "with --dry-run it lists what changes\n"
    )


@pytest.mark.parametrize("which", ["usage.jsonl", "ab", "ab" * 32])
def test_the_open_import_of_a_name_or_digest_is_closed(backend: FakeBackend, which: str) -> None:
    backend.records = [FINISHED, OPEN, CLOSED]
    backend.closings = {OPEN.source: ClosedImport(5123, 120, 2, {"meter m: no value": 1})}
    result = run("imports", "--close", which)
    assert (result.exit_code, result.stdout.splitlines(), result.stderr) == (
        0,
        [
            "usage.jsonl: closed, the last line taken is 5123",
            "  120 events that were logged behind line 5000 are counted",
            "  2 are for no line item yet: `uncounted` lists them, and they count once one is",
            "  1 were not counted: meter m: no value",
            "  should the file be found, import it: what was not taken is counted then",
        ],
        "reading the event log\n",
    )


def test_an_import_that_goes_on_to_its_end_is_not_closed(backend: FakeBackend) -> None:
    backend.records = [OPEN]
    assert run("imports", "--close", "ab").stdout == "usage.jsonl: was finished meanwhile\n"


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("other", ["there is no import of other"]),
        ("", ["there is no import of "]),
        ("ac", ["the import of ac is finished: there is nothing to close"]),
        ("new\nline", ["the import of new\\nline is closed: there is nothing to close"]),
        (
            "ab",
            [
                "2 open imports are called ab: name one by its digest",
                "usage.jsonl\tabababababababab\t2026-03-01T12:00:00Z\t5000\topen",
                "usage.jsonl\tabcdabcdabcdabcd\t2026-03-01T12:00:00Z\t5000\topen",
            ],
        ),
    ],
)
def test_what_cannot_be_closed(backend: FakeBackend, which: str, said: list[str]) -> None:
    other = replace(OPEN, source=("usage.jsonl", "abcd" * 16))
    backend.records = [OPEN, other, FINISHED, CLOSED]
    result = run("imports", "--close", which)
    assert (result.exit_code, result.stdout, result.stderr.splitlines()) == (program.REFUSED, "", said)


def test_quarantined_records_are_listed_with_the_reason(backend: FakeBackend) -> None:
    backend.quarantine = [PoisonRecord("abc", "KeyError: 'id'", SINCE, '{"x": 1}')]
    plain = CliRunner().invoke(program.app, ["poison"])
    assert plain.stdout == "abc\t2026-03-01T12:00:01.5Z\tKeyError: 'id'\n"
    as_json = CliRunner().invoke(program.app, ["poison", "--json"])
    assert json.loads(as_json.stdout)["record"] == '{"x": 1}'


@pytest.mark.usefixtures("backend")
def test_a_replay_says_what_became_of_the_events() -> None:
    assert run("replay").stdout.splitlines() == [
        "3 counted, 0 still match nothing",
        "  1 were withdrawn",
        "  2 were not counted: meter m: no value",
    ]


DIFFERENCES = [
    Difference("", "c\n", "s", "i", "calls", "2026-03-01", "units USD", "", "6"),
    Difference("all", "", "", "", "calls", "2026-03-01", "units USD", "5", ""),
    Difference("plan p", "", "", "", "calls", "2026-03-01", "units USD", "5", "7"),
]


def test_a_rebuild_lists_what_differs(backend: FakeBackend) -> None:
    result = run("rebuild")
    assert (result.stdout, result.stderr) == (
        "7 events counted, nothing differs: swapped\n",
        "counting the event log\n",
    )
    backend.differences = DIFFERENCES
    assert run("rebuild", "--dry-run").stdout.splitlines() == [
        "customer\tsubscription\tline item\tmetric\tday\twhat\tbefore\tafter",
        "c\\n\ts\ti\tcalls\t2026-03-01\tunits USD\t-\t6",
        "all\t-\t-\tcalls\t2026-03-01\tunits USD\t5\t-",
        "all of plan p\t-\t-\tcalls\t2026-03-01\tunits USD\t5\t7",
        "7 events counted, 3 differ: not swapped",
    ]


def test_a_rebuild_lists_what_differs_as_json(backend: FakeBackend) -> None:
    assert run("rebuild", "--json").stdout == '{"events": 7, "differences": 0, "swapped": true}\n'
    backend.differences = DIFFERENCES
    first, *_, last = map(json.loads, run("rebuild", "--dry-run", "--json").stdout.splitlines())
    assert first == {
        "group": "",
        "customer": "c\n",
        "subscription": "s",
        "line_item": "i",
        "metric": "calls",
        "day": "2026-03-01",
        "what": "units USD",
        "before": "",
        "after": "6",
    }
    assert last == {"events": 7, "differences": 3, "swapped": False}


def test_a_rebuild_can_be_given_up(backend: FakeBackend) -> None:
    assert run("rebuild", "--abandon").stdout == "there is no rebuild any more\n"
    assert backend.abandoned == 1


def test_a_rebuild_is_not_compared_and_given_up_at_once(backend: FakeBackend) -> None:
    result = run("rebuild", "--dry-run", "--abandon")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "--dry-run compares, --abandon gives up: name one of them\n"
    assert not backend.abandoned


def test_events_are_withdrawn(backend: FakeBackend) -> None:
    result = run("withdraw", "--subscription", "acme", "t1", "t2")
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        ["2 withdrawn, 0 were withdrawn before", "7 events counted, nothing differs: swapped"],
    )
    later = run("withdraw", "--customer", "c", "--no-rebuild", "t2", "t3", "no1")
    assert (later.exit_code, later.stdout.splitlines(), later.stderr) == (
        program.REFUSED,
        ["1 withdrawn, 1 were withdrawn before", "they count as before until `rebuild` is run"],
        "there is no event no1 of customer c\n",
    )
    assert backend.withdrawn == ["t1", "t2", "t3"]


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("whose", [(), ("--subscription", "a", "--customer", "b")], ids=["nobody's", "both"])
def test_a_withdrawal_says_whose_events(whose: tuple[str, ...]) -> None:
    result = run("withdraw", *whose, "t1")
    assert (result.exit_code, result.stderr) == (2, "name either a --subscription or a --customer\n")


@pytest.mark.parametrize(
    "command", [("replay",), ("rebuild",), ("rebuild", "--abandon"), ("imports",)], ids="-".join
)
def test_what_stands_in_the_way_is_said(backend: FakeBackend, command: tuple[str, ...]) -> None:
    backend.busy = "a rebuild is running"
    result = run(*command)
    assert (result.exit_code, result.stderr) == (program.REFUSED, "a rebuild is running\n")


FOUND = {
    "transaction_id": "t\t1",
    "code": "calls",
    "timestamp": "2026-03-01T12:00:00.000Z",
    "external_subscription_id": "acme",
    "meterstone": {
        "state": "counted",
        "counts": [
            {
                "subscription_id": "sub",
                "line_item_id": "item",
                "meter": "sum",
                "billing_period": {"start": "2026-03-01T00:00:00Z", "end": None},
                "quantity": "2.5",
            },
            {
                "subscription_id": "sub",
                "line_item_id": "other",
                "meter": "users",
                "billing_period": {"start": "2026-03-01T00:00:00Z", "end": None},
                "quantity": None,
                "distinct_value": "ana",
            },
        ],
        "not_counted": [{"reason": "value", "meter": "max", "property": "v", "detail": "not a number"}],
    },
}
OF_CUSTOMER = FOUND | {
    "external_customer_id": "c 1",
    "external_subscription_id": "",
    "meterstone": {"state": "not_counted", "counts": [], "not_counted": [{"reason": "time"}]},
}


def test_an_event_is_told_of(backend: FakeBackend) -> None:
    backend.found = {("t1", None): FOUND, ("t1", ("c", "c 1")): OF_CUSTOMER, ("t1", ("s", "acme")): FOUND}
    assert run("event", "t1").stdout.splitlines() == [
        "t\\t1\tsubscription acme\tcalls\t2026-03-01T12:00:00.000Z\tcounted",
        "  counts\tsub\titem\tsum\t2.5\t2026-03-01T00:00:00Z",
        "  counts\tsub\tother\tusers\tvalue ana\t2026-03-01T00:00:00Z",
        "  does not count\tvalue\tmeter max: not a number",
    ]
    assert run("event", "t1", "--customer", "c 1").stdout.splitlines() == [
        "t\\t1\tcustomer c 1\tcalls\t2026-03-01T12:00:00.000Z\tnot_counted",
        "  does not count\ttime",
    ]
    assert json.loads(run("event", "t1", "--subscription", "acme", "--json").stdout) == FOUND


def test_an_event_that_there_is_not(backend: FakeBackend) -> None:
    found = run("event", "t\n2")
    assert (found.exit_code, found.stderr) == (1, "there is no event t\\n2\n")
    assert run("event", "t", "--subscription", "a", "--customer", "b").exit_code == 2
