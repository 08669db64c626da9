"""The measure of the tests itself: which changes it makes, which it refuses, and what it says of them."""

import json
from argparse import Namespace
from collections import Counter
from copy import replace
from pathlib import Path
from typing import Any

import pytest

import mutate
from mutants import Mutant, StaleError, every_mutant, read_named, refit, sample
from mutate import Copy, MeasureError, Outcome, Result, Room, Run

SOURCE = "def most(sold, limit):\n    return min(sold, limit) if sold > 0 else 0\n"
TEST = "from shop import most\n\ndef test_most():\n    assert [most(3, 2), most(1, 2)] == [2, 1]\n"
OTHER_TEST = "def test_nothing():\n    assert True\n"
ROOM = Room("shop", ("shop.py",), ("tests",), "not slow")
ENTRY: dict[str, Any] = {
    "file": "shop.py",
    "old": "min(sold, limit)",
    "new": "max(sold, limit)",
    "kind": "min/max",
    "equivalent": False,
    "why": "A limit is the most that is sold.",
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Return the root of a tree with one file of code and two of tests."""
    root = tmp_path / "root"
    (root / "tests").mkdir(parents=True)
    (root / "shop.py").write_text(SOURCE)
    (root / "tests/test_all.py").write_text(OTHER_TEST)
    (root / "tests/test_shop.py").write_text(TEST)
    (root / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\npythonpath = ["."]\nmarkers = ["slow"]\n'
    )
    return root


def named(root: Path, *entries: object) -> list[Mutant]:
    path = root / "list.json"
    path.write_text(json.dumps(entries))
    return read_named(path, root)


def changed(source: str) -> list[tuple[str, str]]:
    """Return every change of a source: its kind, and its lines that are new."""
    old = source.splitlines()
    return [
        (mutant.kind, "\n".join(line for line in mutant.after.splitlines() if line not in old))
        for mutant in every_mutant("a.py", source)
    ]


def test_a_named_change_is_the_text_in_its_place(shop: Path) -> None:
    (mutant,) = named(shop, ENTRY)
    assert mutant.before == SOURCE
    assert mutant.after == SOURCE.replace("min", "max")
    assert (mutant.line, mutant.kind, mutant.equivalent) == (2, "min/max", False)
    assert "-    return min(sold, limit) if sold > 0 else 0\n+    return max(" in mutant.diff()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        pytest.param(
            {"old": "min(sold)"}, "shop.py: `old` stands there 0 times, not once", id="text that went"
        ),
        pytest.param(
            {"old": "sold"}, "shop.py: `old` stands there 3 times, not once", id="text that is not alone"
        ),
        pytest.param({"file": "shops.py"}, "there is no file shops.py", id="a file that went"),
        pytest.param({"new": ENTRY["old"]}, "`new` is the same as `old`", id="no change"),
        pytest.param({"new": "max(sold, limit"}, "with `new` it is no Python", id="no Python"),
        pytest.param({"note": ""}, "has unknown keys: note", id="an unknown key"),
        pytest.param({"equivalent": "yes"}, "`equivalent` is not a bool", id="a wrong type"),
    ],
)
def test_an_entry_that_does_not_fit_is_refused(shop: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(StaleError) as error:
        named(shop, ENTRY, ENTRY | entry)
    assert f"entry 1: {message}" in str(error.value).replace("shop.py: `new`", "`new`").replace(
        "shop.py: with", "with"
    )


def test_every_entry_that_does_not_fit_is_said(shop: Path) -> None:
    with pytest.raises(StaleError, match=r"entry 0: has no `why`\n.*entry 2: is not an object"):
        named(shop, {key: ENTRY[key] for key in ("file", "old", "new")}, ENTRY, "text")


@pytest.mark.parametrize(
    ("source", "kind", "new"),
    [
        pytest.param("x = a < b", "comparison", ["x = a <= b"], id="less"),
        pytest.param("x = a >= b", "comparison", ["x = a > b"], id="not less"),
        pytest.param("x = (a) == (b)", "comparison", ["x = (a) != (b)"], id="equal"),
        pytest.param("x = a is  not b", "comparison", ["x = a is b"], id="is not"),
        pytest.param("x = a in b", "comparison", ["x = a not in b"], id="in"),
        pytest.param("x = a < b < c", "comparison", ["x = a <= b < c", "x = a < b <= c"], id="a chain"),
        pytest.param("x = a and b", "and/or", ["x = a or b"], id="and"),
        pytest.param("x = a or b", "and/or", ["x = a and b"], id="or"),
        pytest.param("x = not a", "dropped not", ["x = (a)"], id="not"),
        pytest.param("x = a + b", "arithmetic", ["x = a - b"], id="plus"),
        pytest.param("x = a // b", "arithmetic", ["x = a * b"], id="whole quotient"),
        pytest.param("x -= b", "arithmetic", ["x += b"], id="minus in place"),
        pytest.param("x = a + 'text'", "arithmetic", [], id="text is left alone"),
        pytest.param("x = 7", "constant", ["x = 8", "x = 6"], id="a number"),
        pytest.param("x = True", "constant", ["x = False"], id="true"),
        pytest.param("x: Final[Literal[1]] = a", "constant", [], id="a type is left alone"),
        pytest.param("x = min(a, b)", "min/max", ["x = max(a, b)"], id="min"),
        pytest.param("x = f(a, consistent=True)", "dropped consistent", ["x = f(a)"], id="the last argument"),
        pytest.param(
            "x = f(consistent=True, b=a)", "dropped consistent", ["x = f(b=a)"], id="the first argument"
        ),
        pytest.param("x = f(consistent=True)", "dropped consistent", ["x = f()"], id="the only argument"),
        pytest.param("if a:\n    b = c", "negation", ["if (not (a)):"], id="if"),
        pytest.param(
            "x = b if a else c", "negation", ["x = b if (not (a)) else c"], id="a conditional value"
        ),
        pytest.param("f(a)", "removed statement", ["pass"], id="a call"),
        pytest.param("'''Text.'''\nx = a", "removed statement", [], id="a docstring is left alone"),
        pytest.param("assert_never(a)", "removed statement", [], id="what never runs is left alone"),
        pytest.param(
            "def f(a):\n    '''Text.'''\n    g(a)", "early return", ["    return None"], id="a function"
        ),
        pytest.param("def f(a):\n    return None", "early return", [], id="nothing to return early from"),
        pytest.param("é = 'é' if a < b else 'ü'", "comparison", ["é = 'é' if a <= b else 'ü'"], id="accents"),
    ],
)
def test_changes_that_syntax_allows(source: str, kind: str, new: list[str]) -> None:
    assert sorted(text for found, text in changed(source) if found == kind) == sorted(new)


def test_a_sample_repeats_by_its_seed(shop: Path) -> None:
    (shop / "more.py").write_text(SOURCE.replace("most", "more"))
    drawn = sample(["shop.py", "more.py"], shop, 8, seed=3)
    assert sample(["more.py", "shop.py"], shop, 8, seed=3) == drawn
    assert sample(["shop.py", "more.py"], shop, 8, seed=4) != drawn
    assert len({mutant.after for mutant in drawn}) == 8


def test_a_sample_larger_than_all_changes_is_all(shop: Path) -> None:
    drawn = sample(["shop.py"], shop, 1000, seed=1)
    assert Counter(drawn) == Counter(every_mutant("shop.py", SOURCE))


def test_the_tests_of_a_files_name_come_first(shop: Path) -> None:
    assert mutate.tests_of(ROOM, "shop.py", shop) == (("tests/test_shop.py",), ("tests/test_all.py",))
    assert mutate.tests_of(ROOM, "all.py", shop) == (("tests/test_all.py",), ("tests/test_shop.py",))
    assert mutate.tests_of(ROOM, "other.py", shop) == ((), ("tests/test_all.py", "tests/test_shop.py"))


def test_the_tests_that_a_room_names_for_a_file_come_first(shop: Path) -> None:
    room = replace(ROOM, nearest={"shop.py": ("tests/test_all.py",), "more/": ("tests/test_shop.py",)})
    assert mutate.tests_of(room, "shop.py", shop) == (("tests/test_all.py",), ("tests/test_shop.py",))
    assert mutate.tests_of(room, "more/all.py", shop) == (("tests/test_shop.py",), ("tests/test_all.py",))


def test_a_file_belongs_to_the_room_that_names_it_most_closely() -> None:
    rooms = [
        Room("all", ("code/",), (), ""),
        Room("one", ("code/one/",), (), ""),
        Room("file", ("code/a.py",), (), ""),
    ]
    found = [mutate.room_of(file, rooms).name for file in ("code/b.py", "code/one/b.py", "code/a.py")]
    assert found == ["all", "one", "file"]
    with pytest.raises(MeasureError, match=r"other/b\.py is in no room"):
        mutate.room_of("other/b.py", rooms)


def test_the_map_names_what_is_there() -> None:
    rooms = mutate.read_rooms(mutate.ROOT / mutate.ROOMS)
    code = [
        path.relative_to(mutate.ROOT).as_posix()
        for path in (mutate.ROOT / "layers/meterstone/meterstone").glob("*/**/*.py")
    ]
    assert {mutate.room_of(file, rooms).name for file in code} <= {room.name for room in rooms}
    assert len(code) > 50


def test_a_room_of_what_is_not_there_is_refused(shop: Path) -> None:
    path = shop / mutate.ROOMS
    path.parent.mkdir()
    path.write_text('select = ""\n[shop]\nsources = ["shop.py"]\ntests = ["tests/unit"]\n')
    with pytest.raises(MeasureError, match=r"names what is not there: tests/unit$"):
        mutate.read_rooms(path)


def test_every_named_change_fits_its_file() -> None:
    rooms = mutate.read_rooms(mutate.ROOT / mutate.ROOMS)
    options = Namespace(files=[], sample=None, named=None, only=None, limit=None, seed=1)
    assert mutate.chosen(options, rooms, mutate.ROOT)


def test_a_limit_draws_changes_that_repeat_by_the_seed() -> None:
    rooms = mutate.read_rooms(mutate.ROOT / mutate.ROOMS)
    every, some, again, others = (
        mutate.chosen(
            Namespace(files=[], sample=None, named=None, only=["pricing"], limit=limit, seed=seed),
            rooms,
            mutate.ROOT,
        )
        for limit, seed in [(None, 1), (10, 1), (10, 1), (10, 2)]
    )
    assert some == again != others
    assert len(some) == 10
    assert [each for each in every if each in some] == some


@pytest.mark.parametrize(
    ("old", "new", "outcome", "noticed_by"),
    [
        pytest.param("min", "max", Outcome.FAILED, "tests/test_shop.py::test_most", id="noticed"),
        pytest.param("sold > 0", "sold >= 0", Outcome.SURVIVED, "", id="not noticed"),
        pytest.param("return", "while True: pass\n    return", Outcome.HUNG, "", id="hangs"),
    ],
)
def test_a_change_is_made_in_a_copy(
    shop: Path, tmp_path: Path, old: str, new: str, outcome: Outcome, noticed_by: str
) -> None:
    copy = Copy(shop, tmp_path / "copy")
    mutant = Mutant("shop.py", "", "", SOURCE, SOURCE.replace(old, new))
    run = copy.test(mutant, ["tests/test_shop.py"], "", timeout=5 if outcome is Outcome.HUNG else 300)
    assert (run.outcome, run.noticed_by) == (outcome, noticed_by)
    assert (shop / "shop.py").read_text() == (copy.root / "shop.py").read_text() == SOURCE


def test_tests_that_are_none_measure_nothing(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="no tests were found"):
        Copy(shop, tmp_path / "copy").run(["tests"], "slow")


def test_tests_that_fail_unchanged_measure_nothing(shop: Path, tmp_path: Path) -> None:
    (shop / "tests/test_shop.py").write_text("def test_all():\n    assert 1 == 2\n")
    measurement = mutate.Measurement(shop, tmp_path / "copies", 1)
    with pytest.raises(MeasureError, match="tests of shop fail without any change"):
        measurement.mutants([(ROOM, named(shop, ENTRY)[0])])


@pytest.mark.parametrize(
    ("nearest", "outcome"),
    [
        pytest.param(False, Outcome.FAILED, id="all tests"),
        pytest.param(True, Outcome.SURVIVED, id="the nearest alone"),
    ],
)
def test_a_change_that_the_nearest_tests_pass_is_run_against_the_others(
    shop: Path, tmp_path: Path, *, nearest: bool, outcome: Outcome
) -> None:
    room = replace(ROOM, nearest={"shop.py": ("tests/test_all.py",)})
    measurement = mutate.Measurement(shop, tmp_path / "copies", 1, nearest=nearest)
    (result,) = measurement.mutants([(room, named(shop, ENTRY)[0])])
    assert result.run.outcome is outcome


FOLDED = """def most(
    sold,
    limit,
):
    if sold > 0:
        return min(
            sold,
            limit,
        )
    log(sold)
    return 0
"""


@pytest.mark.parametrize(
    ("old", "new", "mended"),
    [
        pytest.param("min(sold, limit)", "max(sold, limit)", (1, []), id="folded since"),
        pytest.param("            log(sold)\n", "", (1, []), id="indented otherwise since"),
        pytest.param("if sold > 0:", "if sold >= 0:", (0, []), id="as it was"),
        pytest.param("min(sold, bound)", "max(sold, bound)", (0, ["0 times"]), id="gone"),
        pytest.param("sold,   limit", "limit, sold", (0, ["0 times"]), id="twice"),
        pytest.param(" return  0", "return 0", (0, ["0 times"]), id="no change any more"),
    ],
)
def test_a_list_is_fitted_to_text_that_is_only_folded_differently(
    shop: Path, old: str, new: str, mended: tuple[int, list[str]]
) -> None:
    (shop / "shop.py").write_text(FOLDED)
    path = shop / "list.json"
    path.write_text(json.dumps([ENTRY | {"old": old, "new": new}]))
    count, stale = refit(path, shop)
    assert (count, len(stale)) == (mended[0], len(mended[1]))
    assert all(said in line for said, line in zip(mended[1], stale, strict=True))
    if not stale:
        (mutant,) = read_named(path, shop)
        assert "".join(mutant.after.split()) == "".join(FOLDED.split()).replace(
            "".join(old.split()).replace("limit)", "limit,)"), "".join(new.split())
        )


def results(*outcomes: Outcome) -> list[Result]:
    mutant = Mutant("shop.py", "min/max", "A limit is the most.", SOURCE, SOURCE.replace("min", "max"))
    return [Result("shop", mutant, Run(outcome, 1.0)) for outcome in outcomes]


def test_a_score_counts_what_hangs_as_noticed_and_equivalents_apart() -> None:
    given = results(Outcome.FAILED, Outcome.HUNG, Outcome.SURVIVED, Outcome.FAILED)
    by_room = mutate.scores(given, Counter(shop=2))
    assert by_room == {"shop": mutate.Score(noticed=3, hung=1, tested=4, equivalent=2)}
    assert by_room["shop"].percent == 75
    said = mutate.report(given, by_room)
    assert said.count("Not noticed: shop.py:2 (min/max): A limit is the most.") == 1
    assert said.count("+    return max(sold, limit)") == 1
    assert said.splitlines()[-1].split() == ["shop", "3", "4", "75.0", "1", "2"]


@pytest.mark.parametrize(
    ("new", "status"),
    [
        pytest.param("max(sold, limit)", 0, id="all noticed"),
        pytest.param("min(limit, sold)", 1, id="fewer than it must"),
        pytest.param("min(sold, limit)", 2, id="not measured"),
    ],
)
def test_the_exit_status(shop: Path, monkeypatch: pytest.MonkeyPatch, new: str, status: int) -> None:
    (shop / mutate.NAMED).mkdir()
    (shop / mutate.ROOMS).write_text(
        'select = ""\n[shop]\nsources = ["shop.py"]\ntests = ["tests/test_shop.py"]\n'
    )
    (shop / mutate.NAMED / "shop.json").write_text(json.dumps([ENTRY | {"new": new}]))
    monkeypatch.setattr(mutate, "ROOT", shop)
    output = shop / "build/report.json"
    assert mutate.main(["--jobs", "1", "--output", str(output)]) == status
    assert output.exists() == (status < 2)
    if output.exists():
        assert json.loads(output.read_text())["rooms"]["shop"]["noticed"] == 1 - status
