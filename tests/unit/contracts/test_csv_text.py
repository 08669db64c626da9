"""When CSV is answered, and what its cells look like."""

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.contracts.csv_text import csv_reply, wants_csv
from meterstone.contracts.message import Request


def request(*accept: str) -> Request:
    headers = {"Accept": list(accept)} if accept else {}
    return Request.of({"httpMethod": "GET", "path": "/", "multiValueHeaders": headers})


@pytest.mark.parametrize(
    ("accept", "csv_wanted"),
    [
        pytest.param((), False, id="no header"),
        pytest.param(("",), False, id="empty"),
        pytest.param(("*/*",), False, id="anything"),
        pytest.param(("text/csv",), True, id="CSV"),
        pytest.param(("Text/CSV; charset=UTF-8; header=present",), True, id="CSV with parameters"),
        pytest.param(("text/*",), True, id="any text"),
        pytest.param(("application/json",), False, id="JSON"),
        pytest.param(("application/*, text/csv;q=0.9",), False, id="JSON preferred"),
        pytest.param(("application/json;q=0.8, text/csv;q=0.9",), True, id="CSV preferred"),
        pytest.param(("application/json;q=0.899, text/csv;q=0.9",), True, id="by a thousandth"),
        pytest.param(("text/csv, application/json",), True, id="both, CSV first"),
        pytest.param(("application/json, text/csv",), False, id="both, JSON first"),
        pytest.param(("text/csv, */*",), True, id="CSV by name"),
        pytest.param(("application/json, */*",), False, id="JSON by name"),
        pytest.param(("text/csv, */*;q=0.1",), True, id="anything else as a last resort"),
        pytest.param(("*/*, text/csv;q=0",), False, id="anything but CSV"),
        pytest.param(("text/csv;q=0",), False, id="no CSV"),
        pytest.param(("text/csv;q=0.000",), False, id="no CSV, to three decimals"),
        pytest.param(("application/json;q=0, */*",), True, id="anything but JSON"),
        pytest.param(("image/png",), False, id="neither"),
        pytest.param(("text/csv;q=high",), False, id="no number"),
        pytest.param(("text/csv;q=2",), False, id="above 1"),
        pytest.param(("text/csv;q=1.001",), False, id="just above 1"),
        pytest.param(("text/csv;q=0.1234",), False, id="too fine"),
        pytest.param(("text/csv;q=0.\u0661",), False, id="another script's digit"),
        pytest.param((";,;q=,/,text/", "text/csv"), True, id="nonsense beside CSV"),
        pytest.param(("application/json;q=0.5", "text/csv"), True, id="two headers"),
        pytest.param((",".join(["text/csv;q=0.1"] * 500),), True, id="a long header"),
    ],
)
def test_json_is_the_default(accept: tuple[str, ...], csv_wanted: bool) -> None:  # noqa: FBT001
    assert wants_csv(request(*accept)) is csv_wanted


def cell(value: object) -> str:
    reply = csv_reply(["name"], [[value]])  # type: ignore[list-item]
    header, row, end = reply.body.split("\r\n", 1)[0], reply.body.split("\r\n", 1)[1][:-2], reply.body[-2:]
    assert (header, end) == ("name", "\r\n")
    return row


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param("tokens", "tokens", id="text"),
        pytest.param("été 🐦", "été 🐦", id="letters beyond ASCII"),
        pytest.param("a,b", '"a,b"', id="a comma"),
        pytest.param('say "hi"', '"say ""hi"""', id="a quote"),
        pytest.param("a\r\nb", '"a\r\nb"', id="a line break"),
        pytest.param('=HYPERLINK("http://x","y")', '"\'=HYPERLINK(""http://x"",""y"")"', id="a formula"),
        pytest.param("+1", '"\'+1"', id="plus"),
        pytest.param("-1+cmd|'/c calc'!A0", "\"'-1+cmd|'/c calc'!A0\"", id="minus"),
        pytest.param("@SUM(A1)", '"\'@SUM(A1)"', id="at"),
        pytest.param("\t=1", '"\'\t=1"', id="tab"),
        pytest.param("\r=1", '"\'\r=1"', id="carriage return"),
        pytest.param("\n=1", '"\'\n=1"', id="line feed"),
        pytest.param("  =1", '"\'  =1"', id="spaces before"),
        pytest.param("\u00a0=1", '"\'\u00a0=1"', id="a no-break space before"),
        pytest.param("\uff1d1", '"\'\uff1d1"', id="full-width equals"),
        pytest.param("a=1", "a=1", id="a sign within"),
        pytest.param("", "", id="empty text"),
        pytest.param(-5, "-5", id="a number below zero"),
        pytest.param(Decimal("-0.10"), "-0.1", id="a decimal below zero"),
        pytest.param(Decimal("1E+3"), "1000", id="no exponent"),
        pytest.param(10**30, "1" + "0" * 30, id="a large number"),
        pytest.param(True, "true", id="true"),
        pytest.param(None, "", id="nothing"),
    ],
)
def test_cells(value: object, written: str) -> None:
    assert cell(value) == written


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2)))
def test_a_reader_of_csv_gets_the_texts_back_and_no_formula(rows: list[list[str]]) -> None:
    body = csv_reply(["a", "b"], rows).body
    found = list(csv.reader(io.StringIO(body, newline="")))
    assert found[0] == ["a", "b"]
    for given_row, row in zip(rows, found[1:], strict=True):
        for text, read in zip(given_row, row, strict=True):
            assert read in (text, f"'{text}")
            assert not read.lstrip().startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
            assert not read.startswith(("\t", "\r", "\n"))
