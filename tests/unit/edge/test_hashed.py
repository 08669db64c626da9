"""Names that change with the content, through every file that refers to it."""

import re

import pytest

from meterstone.edge.hashed import hashed_names

REFERENCE = re.compile(r'"\./(?P<name>[a-z.]+)"')
FILES = {"a.js": 'import "./b.js";', "b.js": 'import "./c.js";', "c.js": "1", "d.js": "2"}


def names(files: dict[str, str]) -> dict[str, str]:
    return {name: hashed for name, (hashed, _) in hashed_names(files, REFERENCE).items()}


def test_a_change_renames_the_file_and_all_that_lead_to_it() -> None:
    before, after = names(FILES), names(FILES | {"c.js": "changed"})
    assert {name for name in FILES if before[name] != after[name]} == {"a.js", "b.js", "c.js"}


def test_the_content_refers_to_the_hashed_names() -> None:
    found = hashed_names(FILES, REFERENCE)
    assert found["a.js"][1] == f'import "./{found["b.js"][0]}";'


def test_a_name_that_is_no_file_stays() -> None:
    assert hashed_names({"a.js": 'import "./z.js";'}, REFERENCE)["a.js"][1] == 'import "./z.js";'


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a\.js refers to b\.js refers to a\.js"):
        hashed_names({"a.js": '"./b.js"', "b.js": '"./a.js"'}, REFERENCE)
