"""A catalogue's files as texts: YAML and JSON, the lines of fields, and what neither may hold."""

from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
import yaml
from ruamel.yaml import YAML

from meterstone_cli.catalogue import document, read_catalogue
from meterstone_cli.problem import InputRefusedError
from support.catalogue_folder import problems, write


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("x.yaml", "\n\n- code: a\n  name: 5", 4),
        ("x.yaml", "# first\n- code: a\n\n  name:\n\n    - 5", 4),
        ("x.yaml", "- {code: a,\n   name: 5}", 2),
        ("x.yaml", "- code: &a b\n- code: c\n  # why\n  name: {deep: *a}", 4),
        ("x.yml", "-\n  code: a\n  ? name\n  : 5", 3),
        ("x.json", '[{"code": "a", "name": 5}]', 1),
        ("x.json", '[\n {},\n {"code": "a\\n\\"",\n "description": "b",\n\n "name"\n: 5}\n]', 6),
        ("x.json", '\ufeff[\r\n{"code": "a", "description": "]}",\r\n"name": [1, {"a": null}]}]', 3),
        ("x.json", '[{"code": "a"}, {"code": "b"},\n\n{"code": "\\u00e9", "name": true}]', 3),
    ],
)
def test_the_line_of_a_field(tmp_path: Path, name: str, text: str, line: int) -> None:
    folder = write(tmp_path)
    (folder / "plans").mkdir()
    (folder / "plans" / name).write_text(text)
    with pytest.raises(InputRefusedError) as refused:
        read_catalogue(folder)
    named = [problem.line for problem in refused.value.problems if problem.path.endswith(".name")]
    assert named == [line]


def test_the_line_of_what_is_absent_is_that_of_its_record(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError) as refused:
        read_catalogue(write(tmp_path, plans__x="- code: a\n-\n  name: b\n"))
    assert [problem.line for problem in refused.value.problems] == [3]


def test_aliases_that_would_expand_without_bound_are_refused(tmp_path: Path) -> None:
    bomb = "- &a [0,0,0,0,0,0,0,0,0,0]\n" + "\n".join(
        f"- &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]" for i in range(7)
    )
    assert problems(write(tmp_path, plans__x=bomb)) == [
        "plans/x.yaml: line 7, column 7: holds more than 2000000 values, aliases expanded"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"code": "a", "code": "b"}]', "line 1: the key 'code' is repeated"),
        ('[{"code": "a"},\n\n{"code": "code",\n "code": "b"}]', "line 4: the key 'code' is repeated"),
        ('[{"code": "NaN"},\n{"code": NaN}]', "line 2: NaN is not a number of the form -12.5"),
        ('[{"name": 0,\n"code": -0}]', "line 2: -0 is a negative zero: write 0"),
        # Which of two is told, that of the inner value, is told with its own line.
        (
            '[{"code": "a",\n"code": "b",\n"name": -Infinity}]',
            "line 3: -Infinity is not a number of the form -12.5",
        ),
        ("[", "line 1, column 2: Expecting value"),
        ("[" * 100_000, "is nested too deeply"),
        (f"[{'9' * 5000}]", f"line 1: the number '{'9' * 40}…' has too many digits"),
        (r'["\ud800"]', "plans[0]: must be a mapping"),
        (r'[{"code": "\ud800"}]', "plans[0].code: must not hold the control character U+D800"),
    ],
)
def test_bad_json(tmp_path: Path, text: str, expected: str) -> None:
    folder = write(tmp_path)
    (folder / "plans").mkdir()
    (folder / "plans" / "x.json").write_text(text)
    assert problems(folder) == [f"plans/x.json: {expected}"]


def test_what_is_not_utf_8(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "plans.yaml").write_bytes(b"- {code: \xff}")
    assert problems(folder)[0] == "plans.yaml: is not UTF-8 (byte 9)"


_PIECES = (
    *(
        "a",
        "b: ",
        "- ",
        "\n",
        "\n  ",
        "\n- ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ",",
        ":",
        ": ",
        "#",
        " #",
        "'",
        '"',
        " ",
    ),
    *(
        "12",
        "1.5",
        "true",
        "~",
        "null",
        "x:y",
        "http://a/b",
        "NO",
        "---",
        "...",
        "\n---\n",
        "\n...\n",
        "é",
        "😀",
    ),
    *("--", "a-b", "?a", "\r", "\r\n", "=", "<<", "<<: ", "0x1f", "''", "\x07", "\x7f", "\xa0", "%a", "a&b"),
    *("1_000", "1:30", "+1", "&", "*", "|", ">", "!", "@", "`", "\t", "\\", "\x85", "2020-01-01"),
    *("%", "& ", "| ", " > b"),
)


def test_both_parsers_of_yaml_read_the_same() -> None:
    """What the fast one reads, the exact one reads, and as the same; the fast one reads many texts."""
    random = Random(7)  # noqa: S311 - nothing secret
    fast = 0
    for _ in range(6000):
        text = "".join(random.choice(_PIECES) for _ in range(random.randrange(1, 14)))
        if document._UNUSUAL.search(text):
            continue
        try:
            found = document._Composer(yaml.parse(text, Loader=yaml.CSafeLoader)).document()
        except (yaml.YAMLError, ValueError):
            continue
        fast += 1
        assert repr(document._Composer(YAML(typ="safe", pure=True).parse(text)).document()) == repr(found), (
            text
        )
    assert fast > 500


def test_usual_yaml_is_read_by_the_fast_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "YAML", None)
    text = "- {id: a, name: B & C, start: 2026-01-01T00:00:00Z}\n- id: b | c\n  amount: -1.50 # less\n"
    assert document.parse_yaml(text) == [
        {"id": "a", "name": "B & C", "start": "2026-01-01T00:00:00Z"},
        {"id": "b | c", "amount": Decimal("-1.50")},
    ]
