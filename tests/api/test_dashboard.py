"""The files of the page as the function answers them: their headers, and that each name that is used is there."""

import re
from pathlib import Path
from typing import Any

import pytest

from meterstone.pricing import iso4217
from support import functions

STATIC = Path(__file__).parents[2] / "functions/dashboard/static"
NAME = re.compile(r"""["'](?:\./|dashboard/)([a-z]+\.[0-9a-f]{12}\.(?:js|css|svg))["']""")


@pytest.fixture(scope="module")
def page() -> Any:
    return functions.load("dashboard")


def get(page: Any, name: str = "", path: str | None = None, method: str = "GET", **headers: str) -> Any:
    resource = "/dashboard/{file}" if name else "/dashboard"
    where = path or f"/prefix/dashboard{f'/{name}' if name else ''}"
    parameters = {"file": name} if name else None
    event = {"httpMethod": method, "resource": resource, "path": where, "pathParameters": parameters}
    return page.handler(event | {"headers": headers}, None)


def test_every_file_that_is_referred_to_is_served_and_kept_for_ever(page: Any) -> None:
    html = get(page)
    assert html["multiValueHeaders"]["Cache-Control"] == ["no-cache"]
    waiting, seen = set(NAME.findall(html["body"])), set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        reply = get(page, name)
        assert reply["statusCode"] == 200, name
        assert reply["multiValueHeaders"]["Cache-Control"] == ["public, max-age=31536000, immutable"]
        assert reply["multiValueHeaders"]["X-Content-Type-Options"] == ["nosniff"]
        assert reply["multiValueHeaders"]["Referrer-Policy"] == ["no-referrer"]
        waiting |= set(NAME.findall(reply["body"])) - seen
    assert {name.partition(".")[0] for name in seen} == {
        path.stem for path in STATIC.iterdir() if path.suffix in (".js", ".css", ".svg")
    }


def test_names_without_their_hash_are_not_left(page: Any) -> None:
    texts = [get(page)["body"], *(get(page, name)["body"] for name in NAME.findall(get(page)["body"]))]
    for text in texts:
        assert (
            re.findall(r"""(?:from |src=|href=)["'](?:\./|dashboard/)[a-z]+\.(?:js|css|svg)["']""", text)
            == []
        )


@pytest.mark.parametrize(
    "name", ["app.js", "nothing.000000000000.js", "../app.py", "echarts.LICENSE", "index.html"]
)
def test_nothing_else_is_served(page: Any, name: str) -> None:
    assert get(page, name)["statusCode"] == 404


def test_a_slash_at_the_end_leads_to_the_page_under_any_prefix(page: Any) -> None:
    reply = get(page, path="/some/prefix/dashboard/")
    assert (reply["statusCode"], reply["multiValueHeaders"]["Location"]) == (308, ["../dashboard"])


def test_no_style_script_or_markup_stands_where_the_policy_refuses_it() -> None:
    for path in STATIC.iterdir():
        if path.name.startswith("echarts"):
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        ), path
        assert "style=" not in text, path
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), path


def test_own_files_are_small_enough_to_read() -> None:
    for path in STATIC.glob("*.js"):
        if path.name != "echarts.js":
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path


def test_currencies_have_iso_s_decimals() -> None:
    text = (STATIC / "format.js").read_text(encoding="utf-8")
    found = {
        int(places): codes for places, codes in re.findall(r'^  (\d): "([A-Z ]+)",$', text, re.MULTILINE)
    }
    assert found == {places: codes for places, codes in iso4217.CURRENT.items() if places != 2}
