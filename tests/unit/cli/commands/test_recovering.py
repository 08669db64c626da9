"""The commands that put right what went wrong: what they say, and their exit status."""

import json
from collections.abc import Callable
from copy import replace

import pytest

from meterstone.store.dynamodb.lease import leased
from meterstone.store.events.quarantine import Poison
from meterstone.store.operations.differences import Difference
from meterstone.store.operations.import_records import ImportRecord, Records, Source
from meterstone.store.operations.rebuild import RebuildReport
from meterstone.store.operations.replay import ReplayReport
from meterstone.usage.instant import MINUTE, parse_instant
from meterstone_cli.commands import events, recovering
from meterstone_cli.exit_status import REFUSED
from support.commands import ORGANIZATION, Machine, row

AT, SINCE = parse_instant("2026-03-01T12:00:00Z"), parse_instant("2026-03-01T12:00:01.5Z")


@pytest.fixture
def machine(machine: Machine) -> Machine:
    assert machine.load().exit_code == 0
    return machine


FAULT_TOLD = "meter load: property 'n' is absent or not a number"
FAULT = {"meter": "load", "property": "n", "why": "property 'n' is absent or not a number"}
TIMES = "2026-02-01T00:00:00Z\t2026-03-01T12:00:00Z"


@pytest.fixture
def uncounted(machine: Machine) -> Machine:
    """Have events that are not priced, and others that do not count; one of these counts by another meter."""
    machine.change("meters", "{id: fax,", "{id: loads, code: load, aggregation: COUNT}\n- {id: fax,")
    machine.change(
        "prices",
        "- {id: fax,",
        "- {id: loads, currency: usd, billing_model: FLAT_FEE, amount: 1, meter_id: loads}\n- {id: fax,",
    )
    path = machine.folder / "subscriptions.yaml"
    path.write_text(
        f"{path.read_text()}- {{id: t, customer: c, plan: p, currency: USD, start: 2026-01-01T00:00:00Z,"
        " line_items: [{id: k, price: load}, {id: l, price: loads}]}\n"
    )
    assert machine.load().exit_code == 0
    usage = machine.usage(
        "usage.jsonl",
        row("t1", code="fax"),
        row("t2", code="telex"),
        row("t3", code="load"),
        row("t4", code="load", external_subscription_id="t"),
    )
    assert machine.of("import", usage).exit_code == REFUSED
    return machine


@pytest.mark.parametrize("name", ["uncounted", "unmatched"])
def test_events_that_do_not_count_are_listed_and_what_is_not_priced_apart(
    uncounted: Machine, name: str
) -> None:
    found = uncounted.of(name)
    assert found.stdout.splitlines() == [
        f"t2\tsubscription s\ttelex\t{TIMES}\tcode",
        f"t3\tsubscription s\tload\t{TIMES}\tvalue\t{FAULT_TOLD}",
        f"t4\tsubscription t\tload\t{TIMES}\tvalue\t{FAULT_TOLD}\tcounted by another meter",
        f"t1\tsubscription s\tfax\t{TIMES}\tline_item",
    ]
    assert found.stderr == "not priced:\n"


@pytest.mark.parametrize(
    ("reason", "ids"),
    [
        pytest.param("line_item", ["t1"], id="not priced"),
        pytest.param("code", ["t2"], id="no meter"),
        pytest.param("value", ["t3", "t4"], id="unreadable"),
        pytest.param("time", [], id="none"),
    ],
)
def test_those_of_one_reason_are_listed_alone(uncounted: Machine, reason: str, ids: list[str]) -> None:
    found = uncounted.of("uncounted", "--reason", reason)
    assert [line.split("\t")[0] for line in found.stdout.splitlines()] == ids
    assert (found.exit_code, found.stderr) == (0, "")


def test_more_events_than_are_read_at_once_are_listed_once_each(machine: Machine) -> None:
    rows = [row(f"t{number}", code="telex") for number in range(250)]
    rows += [row(f"v{number}", code="load") for number in range(130)]
    rows += [row(f"f{number}", code="fax") for number in range(230)]
    assert machine.of("import", machine.usage("usage.jsonl", *rows)).exit_code == REFUSED
    ids = [line.split("\t")[0] for line in machine.of("uncounted").stdout.splitlines()]
    assert sorted(ids) == sorted(each["transaction_id"] for each in rows)
    assert [each[0] for each in ids] == ["t"] * 250 + ["v"] * 130 + ["f"] * 230


def test_a_reason_that_there_is_not_is_not_understood(machine: Machine) -> None:
    assert machine.of("uncounted", "--reason", "weather").exit_code == 2


def test_the_numbers_are_summed_up(uncounted: Machine) -> None:
    lines = uncounted.of("uncounted", "--summary").stdout.splitlines()
    assert [each for each in lines if not each.endswith("\t0")] == [
        "code\t1",
        "value\t1",
        "value, counted by another meter\t1",
        "not priced (line_item)\t1",
        "meter that no subscription prices\tfax",
    ]
    assert uncounted.of("uncounted", "--summary", "--reason", "code").stdout == "code\t1\n"
    found = json.loads(uncounted.of("uncounted", "--summary", "--json").stdout)
    assert {name: number for name, number in found["by_reason"].items() if number} == {
        "code": 1,
        "line_item": 1,
        "value": 1,
    }
    assert (found["counted_elsewhere"], found["unpriced_meters"]) == (1, ["fax"])


def test_events_that_do_not_count_are_listed_as_json(uncounted: Machine) -> None:
    second, third, fourth, first = map(json.loads, uncounted.of("uncounted", "--json").stdout.splitlines())
    assert (second["code"], second["reason"]) == ("telex", "code")
    assert (third["meters"], third["counts"]) == ([FAULT], False)
    assert (fourth["meters"], fourth["counts"]) == ([FAULT], True)
    assert first == {
        "id": "t1",
        "subscription": "s",
        "customer": None,
        "code": "fax",
        "time": "2026-02-01T00:00:00Z",
        "since": "2026-03-01T12:00:00Z",
        "reason": "line_item",
        "meters": [],
        "counts": False,
    }


OPEN = ImportRecord(Source("usage.jsonl", "ab" * 32), AT, run=1, line=5000)
FINISHED = ImportRecord(Source("usage.jsonl", "ac" * 32), SINCE, run=1, line=70, done=True)
CLOSED = ImportRecord(Source("new\nline", "cd" * 32), SINCE, run=2, line=10, closed=2, taken=12)


def record(machine: Machine, *records: ImportRecord) -> None:
    for each in records:
        each.write(machine.table, ORGANIZATION)


def test_imports_are_listed(machine: Machine) -> None:
    record(machine, OPEN, FINISHED, CLOSED)
    assert machine.of("imports").stdout.splitlines() == [
        "usage.jsonl\tabababababababab\t2026-03-01T12:00:00Z\t5000\topen",
        "new\\nline\tcdcdcdcdcdcdcdcd\t2026-03-01T12:00:01.5Z\t12\tclosed",
        "usage.jsonl\tacacacacacacacac\t2026-03-01T12:00:01.5Z\t70\tfinished",
    ]
    assert json.loads(machine.of("imports", "--json").stdout.splitlines()[0]) == {
        "name": "usage.jsonl",
        "digest": "ab" * 32,
        "began": "2026-03-01T12:00:00Z",
        "line": 5000,
        "state": "open",
    }


def test_that_usage_was_counted_by_older_rules_is_said_beside_the_list(machine: Machine) -> None:
    record(machine, OPEN)
    machine.set_profile("SET counted_by = :rules", {":rules": {"N": "1"}})
    result = machine.of("imports", "--json")
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == (
        "usage was counted by the rules of an older version: "
        f"`meterstone rebuild --organization {ORGANIZATION}` makes it right; "
        "with --dry-run it lists what changes\n"
    )


@pytest.fixture
def stopped(machine: Machine) -> Machine:
    """Have an import log 3 events and be stopped before it counts them."""
    usage = machine.usage("usage.jsonl", row("t1"), row("t2", code="fax"), row("t3", code="load"))
    first = machine.table.writes + 5
    machine.table.faults = replace(machine.table.faults, unavailable=lambda number: number >= first)
    assert machine.of("import", usage).exit_code != 0
    machine.table.faults = replace(machine.table.faults, unavailable=lambda _: False)
    return machine


@pytest.mark.parametrize(
    "named", [lambda each: each.name, lambda each: each.digest[:4]], ids=["name", "digest"]
)
def test_the_open_import_of_a_name_or_digest_is_closed(
    stopped: Machine, named: Callable[[Source], str]
) -> None:
    record(stopped, FINISHED, CLOSED)
    (open_,) = [each for each in Records.read(stopped.table, ORGANIZATION).all if each.open]
    result = stopped.of("imports", "--close", named(open_.source))
    assert (result.exit_code, result.stdout.splitlines(), result.stderr) == (
        0,
        [
            "usage.jsonl: closed, the last line taken is 3",
            "  1 events that were logged behind line 0 are counted",
            "  1 are for no line item yet: `uncounted` lists them, and they count once one is",
            f"  1 were not counted: {FAULT_TOLD}",
            "  should the file be found, import it: what was not taken is counted then",
        ],
        "reading the event log\n",
    )


def test_an_import_that_goes_on_to_its_end_is_not_closed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(machine, OPEN)
    monkeypatch.setattr(
        "meterstone_cli.commands.importing.refuse_a_wrong_clock",
        lambda table: OPEN._replace(done=True, version=1).write(table, ORGANIZATION),
    )
    assert machine.of("imports", "--close", "ab").stdout == "usage.jsonl: was finished meanwhile\n"


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
def test_what_cannot_be_closed(machine: Machine, which: str, said: list[str]) -> None:
    other = OPEN._replace(source=Source("usage.jsonl", "abcd" * 16))
    record(machine, OPEN, other, FINISHED, CLOSED)
    result = machine.of("imports", "--close", which)
    assert (result.exit_code, result.stdout, result.stderr.splitlines()) == (REFUSED, "", said)


def test_quarantined_records_are_listed_with_the_reason(machine: Machine) -> None:
    poison = Poison.of({"x": 1}, "KeyError: 'id'", SINCE)
    machine.table.put(poison.item())
    plain = machine.run("poison")
    assert plain.stdout == f"{poison.digest}\t2026-03-01T12:00:01.5Z\tKeyError: 'id'\n"
    assert json.loads(machine.run("poison", "--json").stdout) == {
        "id": poison.digest,
        "reason": "KeyError: 'id'",
        "since": "2026-03-01T12:00:01.5Z",
        "record": '{"x": 1}',
    }
    assert machine.run("poison", "--forget", poison.digest).stdout == ""
    assert machine.run("poison").stdout == ""


def test_a_replay_counts_what_a_line_item_is_for_by_now(machine: Machine) -> None:
    usage = machine.usage("usage.jsonl", row("t1", code="fax"), row("t2", code="telex"))
    assert machine.of("import", usage).exit_code == 0
    path = machine.folder / "subscriptions.yaml"
    path.write_text(path.read_text() + "  - {id: k, price: fax, start: 2026-01-02T00:00:00Z}\n")
    assert machine.load().exit_code == 0
    assert machine.of("replay").stdout.splitlines() == ["1 counted, 1 still match nothing"]


def test_a_replay_says_what_became_of_the_events(capsys: pytest.CaptureFixture[str]) -> None:
    report = ReplayReport(
        3, [("t1", "meter m: no value"), ("t2", "meter m: no value")], withdrawn=1, waiting=4
    )
    recovering.tell_replayed(report)
    assert capsys.readouterr().out.splitlines() == [
        "3 counted, 4 still match nothing",
        "  1 were withdrawn",
        "  2 were not counted: meter m: no value",
    ]


DIFFERENCES = [
    Difference("", "c\n", "s", "i", "calls", "2026-03-01", "units USD", "", "6"),
    Difference("all", "", "", "", "calls", "2026-03-01", "units USD", "5", ""),
    Difference("plan p", "", "", "", "calls", "2026-03-01", "units USD", "5", "7"),
]


@pytest.fixture
def differing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Have a rebuild find what no rebuild should: something that differs."""
    monkeypatch.setattr(
        "meterstone.store.operations.rebuild.rebuild",
        lambda *_, swap: RebuildReport("2", 7, DIFFERENCES, swapped=swap),
    )
    return machine


def test_a_rebuild_tells_how_far_it_is_and_what_it_counted(machine: Machine) -> None:
    assert machine.of("import", machine.usage("usage.jsonl", row("t1"), row("t2"))).exit_code == 0
    generation = machine.account.generation
    result = machine.of("rebuild")
    assert result.stdout == "2 events counted, nothing differs: swapped\n"
    assert "counting the event log" in result.stderr
    assert machine.account.generation != generation
    assert machine.of("rebuild", "--json").stdout == '{"events": 2, "differences": 0, "swapped": true}\n'


def test_a_rebuild_lists_what_differs(differing: Machine) -> None:
    assert differing.of("rebuild", "--dry-run").stdout.splitlines() == [
        "customer\tsubscription\tline item\tmetric\tday\twhat\tbefore\tafter",
        "c\\n\ts\ti\tcalls\t2026-03-01\tunits USD\t-\t6",
        "all\t-\t-\tcalls\t2026-03-01\tunits USD\t5\t-",
        "all of plan p\t-\t-\tcalls\t2026-03-01\tunits USD\t5\t7",
        "7 events counted, 3 differ: not swapped",
    ]


def test_a_rebuild_lists_what_differs_as_json(differing: Machine) -> None:
    first, *_, last = map(json.loads, differing.of("rebuild", "--dry-run", "--json").stdout.splitlines())
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


def test_a_rebuild_can_be_given_up(machine: Machine) -> None:
    first = machine.table.writes + 3
    machine.table.faults = replace(machine.table.faults, unavailable=lambda number: number >= first)
    assert machine.of("rebuild").exit_code != 0
    machine.table.faults = replace(machine.table.faults, unavailable=lambda _: False)
    assert machine.account.next is not None
    machine.now += 5 * MINUTE
    assert machine.of("rebuild", "--abandon").stdout == "there is no rebuild any more\n"
    assert machine.account.next is None


def test_a_rebuild_is_not_compared_and_given_up_at_once(machine: Machine) -> None:
    stored = machine.items()
    result = machine.of("rebuild", "--dry-run", "--abandon")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "--dry-run compares, --abandon gives up: name one of them\n"
    assert machine.items() == stored


def test_events_are_withdrawn(machine: Machine) -> None:
    usage = machine.usage("usage.jsonl", *(row(f"t{number}") for number in range(1, 5)))
    assert machine.of("import", usage).exit_code == 0
    soon = "the function that counts takes them out of the answers within seconds"
    result = machine.of("withdraw", "--subscription", "s", "t1", "t2")
    told = result.exit_code, result.stdout.splitlines()
    assert told == (0, ["2 withdrawn, 0 were withdrawn before", soon])
    later = machine.of("withdraw", "--subscription", "s", "t2", "t3", "no1")
    assert (later.exit_code, later.stdout.splitlines(), later.stderr) == (
        REFUSED,
        ["1 withdrawn, 1 were withdrawn before", soon],
        "there is no event no1 of subscription s\n",
    )
    again = machine.of("withdraw", "--subscription", "s", "t1")
    assert (again.exit_code, again.stdout) == (0, "0 withdrawn, 1 were withdrawn before\n")


@pytest.mark.parametrize("whose", [(), ("--subscription", "a", "--customer", "b")], ids=["nobody's", "both"])
def test_a_withdrawal_says_whose_events(machine: Machine, whose: tuple[str, ...]) -> None:
    result = machine.of("withdraw", *whose, "t1")
    assert (result.exit_code, result.stderr) == (2, "name either a --subscription or a --customer\n")


@pytest.mark.parametrize(
    "command",
    [("replay",), ("rebuild",), ("rebuild", "--abandon")],
    ids=" ".join,
)
def test_what_stands_in_the_way_is_said(machine: Machine, command: tuple[str, ...]) -> None:
    with leased(machine.table, ORGANIZATION, "rebuild", lambda: machine.now):
        result = machine.of(*command)
    assert result.exit_code == REFUSED
    assert result.stderr.startswith("a rebuild is running")


def test_an_event_is_told_of(machine: Machine) -> None:
    """What the API answers of an event has its tests beside the contract; here it becomes lines."""
    usage = machine.usage(
        "usage.jsonl",
        row("t1"),
        row("t2", code="load", properties={"n": 2.5}),
        row("t2", external_subscription_id=None, external_customer_id="c", code="load"),
        row("t3", code="fax"),
    )
    assert machine.of("import", usage).exit_code == REFUSED
    begin = "2026-02-01T00:00:00Z"
    assert machine.of("event", "t1").stdout.splitlines() == [
        "t1\tsubscription s\tx\t2026-02-01T00:00:00.000Z\tcounted",
        f"  counts\ts\ti\tx\t1\t{begin}",
    ]
    assert machine.of("event", "t2", "--subscription", "s").stdout.splitlines() == [
        "t2\tsubscription s\tload\t2026-02-01T00:00:00.000Z\tcounted",
        f"  counts\ts\tj\tload\t2.5\t{begin}",
    ]
    assert machine.of("event", "t2", "--customer", "c").stdout.splitlines() == [
        "t2\tcustomer c\tload\t2026-02-01T00:00:00.000Z\tnot_counted",
        f"  does not count\tvalue\t{FAULT_TOLD}",
    ]
    assert machine.of("event", "t3").stdout.splitlines()[1:] == ["  does not count\tline_item"]
    found = json.loads(machine.of("event", "t3", "--json").stdout)
    assert (found["transaction_id"], found["meterstone"]["state"]) == ("t3", "not_counted")
    unclear = machine.of("event", "t2")
    assert (unclear.exit_code, unclear.stderr) == (
        REFUSED,
        "say whose event it is: --subscription or --customer\n",
    )


def test_a_value_that_is_counted_once_is_told() -> None:
    """A distinct value has no quantity of its own."""
    told = {
        "state": "counted",
        "counts": [
            {
                "subscription_id": "sub",
                "line_item_id": "other",
                "meter": "users",
                "billing_period": {"start": "2026-03-01T00:00:00Z", "end": None},
                "quantity": None,
                "distinct_value": "ana",
            }
        ],
        "not_counted": [],
    }
    found = {
        "transaction_id": "t1",
        "code": "calls",
        "timestamp": "2026-03-01T12:00:00.000Z",
        "external_subscription_id": "acme",
        "meterstone": told,
    }
    assert list(events._lines_of_event(found)) == [
        "t1\tsubscription acme\tcalls\t2026-03-01T12:00:00.000Z\tcounted",
        "  counts\tsub\tother\tusers\tvalue ana\t2026-03-01T00:00:00Z",
    ]


def test_an_event_that_there_is_not(machine: Machine) -> None:
    found = machine.of("event", "t\n2")
    assert (found.exit_code, found.stderr) == (1, "there is no event t\\n2\n")
    assert machine.of("event", "t", "--subscription", "a", "--customer", "b").exit_code == 2
