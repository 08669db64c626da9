"""Tables and bars: what they are drawn with, and how they fit."""

import sys
from collections.abc import Sequence

import pytest

from meterstone_cli.screen import Column, Screen, bars, chart, table

COLUMNS = [Column("meter", cut=True), Column("quantity", right=True)]
ROWS = [["prompt tokens of all models", "1,234"], ["gas", "5"]]


@pytest.mark.parametrize(
    ("terminal", "environment", "expected"),
    [
        pytest.param(False, {}, Screen(80), id="a file"),
        pytest.param(False, {"COLUMNS": "60"}, Screen(60, bounded=True), id="a file of a width"),
        pytest.param(True, {"COLUMNS": "60"}, Screen(60, bounded=True, blocks=True), id="a terminal"),
        pytest.param(True, {"COLUMNS": "60", "NO_COLOR": "1"}, Screen(60, bounded=True), id="without colour"),
        pytest.param(
            True,
            {"COLUMNS": "60", "NO_COLOR": ""},
            Screen(60, bounded=True, blocks=True),
            id="NO_COLOR empty",
        ),
    ],
)
def test_what_stdout_is(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: Screen, *, terminal: bool
) -> None:
    for name in ("COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert Screen.of_stdout() == expected


@pytest.mark.parametrize(
    ("screen", "lines"),
    [
        pytest.param(
            Screen(10),
            [
                f"{'meter':27}  quantity",
                f"{'prompt tokens of all models':27}     1,234",
                f"{'gas':27}         5",
            ],
            id="nothing is cut in a file",
        ),
        pytest.param(
            Screen(24, bounded=True),
            ["meter           quantity", "prompt tokens…     1,234", "gas                    5"],
            id="the end of a name is cut",
        ),
        pytest.param(
            Screen(12, bounded=True),
            ["meter: prompt tokens of all models", "quantity: 1,234", "", "meter: gas", "quantity: 5"],
            id="no line fits",
        ),
    ],
)
def test_a_table_fits(screen: Screen, lines: Sequence[str]) -> None:
    assert list(table(COLUMNS, ROWS, screen)) == lines


def test_wide_characters_take_two_places() -> None:
    assert list(table(COLUMNS, [["電気", "1"], ["gas", "2"]], Screen())) == [
        "meter  quantity",
        "電気          1",
        "gas           2",
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([0, 0], ["", ""], id="nothing"),
        pytest.param([4, 8], ["████", "████████"], id="in proportion"),
        pytest.param([1, 1000], ["▏", "████████"], id="the smallest is seen"),
        pytest.param([-8], ["████████"], id="all below zero"),
        pytest.param([-1, 6], ["█", " ██████"], id="below zero to the left"),
    ],
)
def test_bars_of_blocks(values: Sequence[int], expected: Sequence[str]) -> None:
    found = list(bars(values, 8, blocks=True))
    assert found == expected
    assert max(map(len, found), default=0) <= 8


def test_where_there_is_no_room_for_bars_there_are_none() -> None:
    assert list(chart(COLUMNS, ROWS, [1, 2], Screen(30, bounded=True))) == list(
        table(COLUMNS, ROWS, Screen(30, bounded=True))
    )
