"""Usage files: what a row means, and that none is lost."""

import gzip
import json
import tracemalloc
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterstone.usage.instant import SECOND, parse_instant
from meterstone.usage.meter import Event, Property
from meterstone_cli.files.usage_files import (
    LONGEST_ROW,
    Aside,
    BadRow,
    UnreadableUsageError,
    UsageEvent,
    read_usage,
    row_of,
    sha256,
)

NOW = parse_instant("2026-03-01T12:00:00Z")
AT = parse_instant("2026-03-01T00:00:00Z")
GOOD = {
    "transaction_id": "t1",
    "code": "calls",
    "external_subscription_id": "s1",
    "timestamp": "2026-03-01T00:00:00Z",
}
HEADER = "transaction_id,code,external_subscription_id,timestamp"


def rows(path: Path, content: str | bytes) -> list[tuple[int, UsageEvent | BadRow]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_usage(path, NOW))


def json_row(**changes: object) -> str:
    return json.dumps({name: value for name, value in (GOOD | changes).items() if value is not None})


def one(path: Path, row: str) -> UsageEvent | BadRow:
    ((line, found),) = rows(path, row + "\n")
    assert line == 1
    return found


@pytest.mark.parametrize(
    ("timestamp", "at"),
    [
        ('"2026-03-01T01:00:00+01:00"', AT),
        ('"2026-03-01T00:00:00.1234567Z"', AT + 123_456),
        ('"2026-03-01T00:00:00"', AT),
        ("1772323200", AT),
        ('"1772323200"', AT),
        ("1772323200.5", AT + SECOND // 2),
        ('"1772323200.0000019"', AT + 1),
        ("-0.0000001", -1),
        ("1700000000.999999999999999", 1_700_000_000_999_999),
        ("0", 0),
    ],
)
def test_timestamps(tmp_path: Path, timestamp: str, at: int) -> None:
    row = json_row(timestamp="?").replace('"?"', timestamp)
    found = one(tmp_path / "u.jsonl", row)
    assert isinstance(found, UsageEvent)
    assert found.event.at == at


def test_lago_and_flexprice_names_mean_the_same(tmp_path: Path) -> None:
    lago = '{"transaction_id":"t","code":"c","external_subscription_id":"s","timestamp":0,"properties":{"n":0.10}}'
    flexprice = '{"event_id":"t","event_name":"c","external_customer_id":"k","timestamp":0,"source":"x"}'
    path = tmp_path / "u.jsonl"
    assert rows(path, f"{lago}\n\n  \n{flexprice}") == [
        (1, UsageEvent("s", None, Event("t", "c", 0, {"n": Decimal("0.10")}))),
        (4, UsageEvent(None, "k", Event("t", "c", 0, {}))),
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (
            json_row(transaction_id=None),
            "has no transaction_id (or event_id), without which a repeat could not be told",
        ),
        (json_row(code=None), "has no code (or event_name)"),
        (
            json_row(external_subscription_id=None),
            "has neither external_subscription_id nor external_customer_id",
        ),
        (json_row(timestamp=None), "has no timestamp"),
        (json_row(timestamp=True), "timestamp must be RFC 3339 or a number of seconds"),
        (json_row(timestamp="2023-02-29T00:00:00Z"), "timestamp: no such day"),
        (json_row(timestamp="0000-01-01T00:00:00Z"), "timestamp: no such day"),
        (json_row(timestamp="2026-03-01"), "timestamp: not an RFC 3339 date and time"),
        (json_row(timestamp=999_999_999_999_999), "timestamp: outside the years 1 to 9999"),
        (json_row(timestamp="9" * 101), "timestamp: a number has at most 100 characters"),
        (json_row(timestamp=1_772_366_400_000), "timestamp: is in milliseconds: give seconds"),
        (json_row(timestamp="1772366400000"), "timestamp: is in milliseconds: give seconds"),
        (json_row(timestamp=1_772_366_400_000_000), "timestamp: is in microseconds: give seconds"),
        (json_row(timestamp="9" * 18), "timestamp: outside the years 1 to 9999"),
        (
            json_row(timestamp="2026-03-01T12:05:01Z"),
            "its timestamp is more than 5 minutes ahead of the clock",
        ),
        (json_row(transaction_id=""), "transaction_id must not be empty"),
        (json_row(transaction_id="x" * 256), "transaction_id has 256 characters, 255 are allowed"),
        (json_row(transaction_id="a\u0000b"), "transaction_id must not hold the control character U+0000"),
        (json_row(transaction_id=" t"), "transaction_id must not begin or end with white space"),
        (json_row(transaction_id=7), "transaction_id must be text"),
        (json_row(external_subscription_id=["s"]), "external_subscription_id must be text"),
        (json_row(event_id="other"), "transaction_id and event_id differ"),
        (json_row(event_name="other"), "code and event_name differ"),
        (json_row(properties=[1]), "properties must be an object"),
        (
            json_row(properties="?").replace('"?"', '{"n": 1e400}'),
            "the number 1e400: the exponent of a number is at most 100",
        ),
        (
            json_row(properties="?").replace('"?"', '{"n": 1e99999999999999999999}'),
            "the number 1e99999999999999999999",
        ),
        (
            json_row(properties="?").replace('"?"', '{"n": NaN}'),
            "holds NaN, which is not a number of the form -12.5",
        ),
        (
            json_row(properties="?").replace('"?"', '{"n": -Infinity}'),
            "holds -Infinity, which is not a number of the form -12.5",
        ),
        (json_row(properties={"n": 10**100}), "a number has 101 characters, 100 are allowed"),
        (json_row(properties="?").replace('"?"', '{"n": 1, "n": 2}'), "repeats the key 'n'"),
        (json_row(properties="?").replace('"?"', r'{"n": "\ud800"}'), "holds half of a surrogate pair"),
        (json_row(properties="?").replace('"?"', "[" * 200_000), "is nested too deeply"),
        ("[]", "must be an object"),
        ("7", "must be an object"),
        ("oops", "is not JSON: Expecting value (column 1)"),
        ('{"a": 1', "is not JSON: Expecting ',' delimiter (column 8)"),
    ],
)
def test_bad_rows(tmp_path: Path, row: str, reason: str) -> None:
    found = one(tmp_path / "u.jsonl", row)
    assert isinstance(found, BadRow)
    assert found.reason.startswith(reason)
    assert found.row == row


def test_five_minutes_ahead_are_allowed(tmp_path: Path) -> None:
    assert isinstance(one(tmp_path / "u.jsonl", json_row(timestamp="2026-03-01T12:05:00Z")), UsageEvent)


@pytest.mark.parametrize(
    ("header", "row", "properties"),
    [
        (f"{HEADER},size,region", 't,c,s,0,"1,5",', {"size": "1,5"}),
        (f"{HEADER},properties.size,other", "t,c,s,0,5,x", {"size": "5"}),
        ("size,timestamp,external_subscription_id,code,transaction_id", "5,0,s,c,t", {"size": "5"}),
        (f"\ufeff{HEADER}", "t,c,s,0", {}),
    ],
)
def test_csv(tmp_path: Path, header: str, row: str, properties: dict[str, Property]) -> None:
    found = rows(tmp_path / "u.csv", f"{header}\r\n{row}\r\n")
    assert found == [(2, UsageEvent("s", None, Event("t", "c", 0, properties)))]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("t,c,s", "has 3 cells, the header row has 4"),
        ("t,c,s,0,5", "has 5 cells, the header row has 4"),
        ('t,c,"s,0', "is not a row of CSV: unexpected end of data"),
        (",c,s,0", "has no transaction_id"),
        ("t,c,s,", "has no timestamp"),
    ],
)
def test_bad_csv_rows(tmp_path: Path, row: str, reason: str) -> None:
    (_, first), (line, last) = rows(tmp_path / "u.csv", f"{HEADER}\n{row}\nt,c,s,0\n")
    assert isinstance(first, BadRow)
    assert first.reason.startswith(reason)
    assert (first.row, first.header) == (row, HEADER)
    assert (line, type(last)) == (3, UsageEvent)


def event(identity: str, **properties: Property) -> UsageEvent:
    return UsageEvent("s", None, Event(identity, "c", 0, properties))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(
            't1,c,s,0,"a\nb"\nt2,c,s,0,x\n',
            [(2, event("t1", note="a\nb")), (4, event("t2", note="x"))],
            id="one line break",
        ),
        pytest.param(
            't1,c,s,0,"a\r\n\r\n ""b"",\r\n"\r\nt2,c,s,0,x',
            [(2, event("t1", note='a\r\n\r\n "b",\r\n')), (6, event("t2", note="x"))],
            id="several, an empty line, and quotes",
        ),
        pytest.param(
            't1,c,s,0,"a\nt2,c,s,0,b\n',
            [(2, "is not a row of CSV: unexpected end of data"), (3, event("t2", note="b"))],
            id="a quote that is never closed spoils its own line alone",
        ),
        pytest.param(
            't1,c,s,0,"a\nt2,c,s,0,b\nt3,c,s,0,"c"\n',
            [
                (2, "is not a row of CSV: unexpected end of data"),
                (3, event("t2", note="b")),
                (4, event("t3", note="c")),
            ],
            id="nor does it close at a later row's quote",
        ),
        pytest.param(
            't1,c,s,0,"a\n' + "x" * LONGEST_ROW + '"\nt3,c,s,0,c\n',
            [
                (2, "is not a row of CSV: unexpected end of data"),
                (3, "is not a row of CSV: field larger than field limit"),
                (4, event("t3", note="c")),
            ],
            id="a line that is too long for it closes nothing",
        ),
        pytest.param(
            't1,c,s,"0\n0",a\nt2,c,s,0,b',
            [(2, "timestamp: "), (4, event("t2", note="b"))],
            id="a bad row of two lines is one row",
        ),
        pytest.param(
            't1,c,s,0,5" pipe\nt2,c,s,0,b',
            [(2, event("t1", note='5" pipe')), (3, event("t2", note="b"))],
            id="a quote within a cell opens nothing",
        ),
    ],
)
def test_a_quoted_cell_of_csv_may_hold_line_breaks(
    tmp_path: Path, content: str, expected: list[tuple[int, object]]
) -> None:
    found = rows(tmp_path / "u.csv", f"{HEADER},note\n{content}")
    assert [line for line, _ in found] == [line for line, _ in expected]
    for (_, each), (_, wanted) in zip(found, expected, strict=True):
        if isinstance(wanted, str):
            assert isinstance(each, BadRow)
            assert each.reason.startswith(wanted)
        else:
            assert each == wanted


def test_a_rejected_row_of_several_lines_can_be_corrected_where_it_was_put_aside(tmp_path: Path) -> None:
    ((line, bad),) = rows(tmp_path / "u.csv", f'{HEADER},note\nt1,c,s,oops,"a\n\nb"\n')
    assert isinstance(bad, BadRow)
    with Aside(tmp_path / "aside.jsonl") as aside:
        aside.put(line, bad)
    corrected = (tmp_path / "aside.jsonl").read_text().replace("oops", "0")
    assert rows(tmp_path / "again.jsonl", corrected) == [(1, event("t1", note="a\n\nb"))]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (
            "code,external_subscription_id,timestamp",
            "its header row has no column transaction_id or event_id",
        ),
        (f"{HEADER},code", "its header row repeats the column 'code'"),
        ('"', "its header row is not a row of CSV: unexpected end of data"),
        ("x" * (LONGEST_ROW + 1), "its header row has 262145 bytes"),
    ],
)
def test_bad_headers(tmp_path: Path, header: str, reason: str) -> None:
    with pytest.raises(UnreadableUsageError) as unreadable:
        rows(tmp_path / "u.csv", header)
    assert str(unreadable.value).startswith(reason)


def test_gzip(tmp_path: Path) -> None:
    content = gzip.compress(f"{json_row()}\n{json_row(transaction_id='t2')}\n".encode())
    assert [line for line, _ in rows(tmp_path / "u.JSONL.gz", content)] == [1, 2]


def test_a_file_that_breaks_off_gives_its_rows_first(tmp_path: Path) -> None:
    content = "".join(json_row(transaction_id=f"t{n}") + "\n" for n in range(5000)).encode()
    path = tmp_path / "u.jsonl.gz"
    path.write_bytes(gzip.compress(content)[:-500])
    found: list[object] = []
    with pytest.raises(UnreadableUsageError, match="breaks off after line"):
        found.extend(read_usage(path, NOW))
    assert found


@pytest.mark.parametrize("name", ["u.txt", "u", "u.gz", "u.json"])
def test_other_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableUsageError, match=r"is neither .csv nor .jsonl"):
        rows(tmp_path / name, "")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for reading in (lambda: list(read_usage(tmp_path / "u.csv", NOW)), lambda: sha256(tmp_path / "u.csv")):
        with pytest.raises(UnreadableUsageError, match="cannot be read: No such file"):
            reading()


def test_a_line_without_end_is_reported_and_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "u.jsonl"
    with path.open("wb") as file:
        for _ in range(64):
            file.write(b"x" * 2**20)
        file.write(f"\n{json_row()}\n".encode())
    tracemalloc.start()
    (line, bad), (next_line, good) = read_usage(path, NOW)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(bad, BadRow)
    assert bad.reason == f"has {64 * 2**20 + 1} bytes, {LONGEST_ROW} are allowed; it is not copied in full"
    assert (line, next_line, type(good)) == (1, 2, UsageEvent)
    assert peak < 4 * 2**20


def test_a_line_of_the_longest_length_is_read(tmp_path: Path) -> None:
    row = json_row(properties={"text": ""})
    row = row.replace('"text": ""', '"text": "' + "x" * (LONGEST_ROW - len(row)) + '"')
    assert len(row) == LONGEST_ROW
    for end in ("", "\n", "\r\n"):
        ((_, found),) = rows(tmp_path / "u.jsonl", row + end)
        assert isinstance(found, UsageEvent)


def test_rejected_rows_can_be_corrected_and_read_again(tmp_path: Path) -> None:
    contents = {
        "u.csv": f"{HEADER},size\nt,c,s,0,5\n,c,s,0,5\nt\xff,c,s,0,\n".encode("latin-1"),
        "u.jsonl": f"{json_row()}\n{json_row(transaction_id='')}\n".encode() + b"\xff\n",
    }
    for name, content in contents.items():
        aside = Aside(tmp_path / f"{name}.aside.jsonl")
        with aside:
            for line, row in rows(tmp_path / name, content):
                if isinstance(row, BadRow):
                    aside.put(line, row)
        assert aside.count == 2
        again = list(read_usage(aside.path, NOW))
        assert [type(row) for _, row in again] == [BadRow, BadRow]
        text = aside.path.read_text()
        kept = [json.loads(line) for line in text.splitlines()]
        assert [each["row"].encode("utf-8", "surrogateescape") for each in kept] == content.splitlines()[-2:]
        corrected = text.replace(",c,s,0,5", "good,c,s,0,5").replace(r"\"\"", r"\"good\"")
        aside.path.write_text(corrected)
        first = next(row for _, row in read_usage(aside.path, NOW))
        assert isinstance(first, UsageEvent)
        assert first.event.id == "good"


def test_nothing_bad_makes_no_file(tmp_path: Path) -> None:
    with Aside(tmp_path / "aside.jsonl"):
        pass
    assert not (tmp_path / "aside.jsonl").exists()


names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=255).filter(
    lambda text: text == text.strip()
)
numbers = st.decimals(
    allow_nan=False, allow_infinity=False, places=15, min_value=-(10**15) + 1, max_value=10**15 - 1
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**15) + 1, 10**15 - 1)
    | numbers
    | st.text(st.characters(codec="utf-8"))
)
properties = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner)
)


@settings(deadline=None)
@given(
    subscription=names,
    customer=st.none() | names,
    identity=names,
    name=names,
    at=st.integers(parse_instant("0001-01-01T00:00:00Z"), NOW),
    found=st.dictionaries(st.text(st.characters(codec="utf-8")), properties),
)
def test_an_event_written_as_a_row_reads_back(
    tmp_path_factory: pytest.TempPathFactory,
    subscription: str,
    customer: str | None,
    identity: str,
    name: str,
    at: int,
    found: dict[str, Property],
) -> None:
    usage = UsageEvent(subscription, customer, Event(identity, name, at, found))
    path = tmp_path_factory.mktemp("rows") / "u.jsonl"
    row = row_of(usage)
    if len(row) > LONGEST_ROW:
        return
    assert one(path, row) == usage


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_give_events_or_bad_rows(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("rows")
    lines = [line for line in content.split(b"\n") if line.strip()]
    # A line first, so that what begins the content is no byte order mark.
    assert len(rows(folder / "u.jsonl", b"{}\n" + content)) == len(lines) + 1
    assert len(rows(folder / "u.csv", f"{HEADER}\n".encode() + content)) == len(lines)
