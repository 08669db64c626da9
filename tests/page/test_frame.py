"""Where the page is served, what it weighs, how soon it shows something, and whether everybody can use it."""

import gzip
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from looking import settled

ROOT = Path(__file__).parents[2]
AXE = (
    Path(os.environ.get("METERSTONE_PAGE_NODE", ROOT / ".venvs/page-node"))
    / "node_modules/axe-core/axe.min.js"
)
PICTURES = ROOT / "docs/pictures"
MOST, MOST_ECHARTS, MOST_PICTURE = 250_000, 217_000, 150_000

VIEWS = {
    "organization": "#/organization?by=monthly&currency=EUR",
    "units": "#/organization?by=weekly&show=units",
    "filters": "#/organization?by=monthly&customer=acme&country=DE",
    "subscriptions": "#/subscription",
    "subscription": "#/subscription?id=sub_acme&instead=team",
    "events": "#/events?id=typo",
    "nothing": "#/organization?customer=nobody",
}


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("at", ["plain", "stage", "domain"])
def test_the_page_is_at_home_under_every_prefix(open_: Any, world: Any, at: str, slash: str) -> None:
    page = open_(f"{slash}#/organization?by=monthly", at=at)
    expect(page.locator("#organization")).to_have_text("Northwind Cloud")
    expect(page.locator(".figure")).to_be_visible()
    assert page.url.startswith(f"{world[at]}/dashboard#")
    assert page.locator("#theme").evaluate("each => getComputedStyle(each).borderRadius") == "8px"


def test_files_may_be_kept_for_ever_and_the_page_is_asked_for_anew(open_: Any, world: Any) -> None:
    seen: dict[str, Any] = {}
    page = open_("", key=None)
    page.on("response", lambda response: seen.update({response.url: response.all_headers()}))
    page.reload()
    expect(page.get_by_role("dialog")).to_be_visible()
    html = page.context.request.get(f"{world['plain']}/dashboard")
    assert html.headers["cache-control"] == "no-cache"
    assert html.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    assert (html.headers["x-content-type-options"], html.headers["referrer-policy"]) == (
        "nosniff",
        "no-referrer",
    )
    names = re.findall(r'(?:src|href)="(dashboard/[^"]+)"', html.text())
    assert len(names) >= 4
    for name in names:
        assert re.fullmatch(r"dashboard/[a-z]+\.[0-9a-f]{12}\.(js|css|svg)", name)
        headers = page.context.request.get(f"{world['plain']}/{name}").headers
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        assert headers["x-content-type-options"] == "nosniff"


def test_everything_together_is_light(open_: Any) -> None:
    sizes: dict[str, int] = {}
    page = open_("", key=None, at="plain")
    page.on(
        "response",
        lambda response: sizes.update(
            {response.url.rpartition("/")[2]: len(gzip.compress(response.body(), 6))}
        ),
    )
    page.context.set_extra_http_headers({"cache-control": "no-cache"})
    page.goto(page.url.partition("#")[0] + "?again")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.wait_for_load_state("networkidle")
    echarts = next(size for name, size in sizes.items() if name.startswith("echarts"))
    print(f"{sum(sizes.values())} bytes compressed in {len(sizes)} files, of which ECharts {echarts}")  # noqa: T201
    assert len(sizes) > 10
    assert echarts <= MOST_ECHARTS
    assert sum(sizes.values()) <= MOST


def test_the_first_view_shows_its_numbers_soon(open_: Any) -> None:
    open_("", key="northwind").locator(".figure").wait_for()
    if os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
        pytest.skip("the machine is too busy to say how soon a page shows something")
    # The best of three: other work on the machine makes a page slower, and nothing makes it faster.
    seconds = min(map(first_view, [open_] * 3))
    print(f"first view after {seconds:.2f} s")  # noqa: T201
    assert seconds < 1.5


def first_view(open_: Any) -> float:
    started = time.monotonic()
    open_("", key="northwind").locator(".figure").wait_for()
    return time.monotonic() - started


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(open_: Any, view: str, theme: str) -> None:
    page = open_(VIEWS[view], color_scheme=theme, faults=view == "nothing", reduced_motion="reduce")
    settled(page)
    page.evaluate("document.querySelectorAll('details > summary, .disclose').forEach(each => each.click())")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    check(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_where_a_key_is_asked_for(open_: Any, theme: str) -> None:
    page = open_("", key=None, color_scheme=theme)
    expect(page.get_by_role("dialog")).to_be_visible()
    check(page)


def check(page: Any) -> None:
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    assert [
        (each["id"], [node["html"][:200] for node in each["nodes"][:4]]) for each in found["violations"]
    ] == []
    assert len(found["passes"]) > 10


FOCUSED = """(each => (each.getAttribute("aria-label") ?? each.textContent ?? "").trim().slice(0, 30))(
    document.activeElement)"""


def test_the_keyboard_reaches_everything(open_: Any) -> None:
    page = open_("#/organization?by=monthly")
    page.locator(".figure").wait_for()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate(FOCUSED))
    wanted = {"Subscription", "Sign out", "Filters", "Months", "Units", "Download CSV", "Customers"}
    assert wanted <= seen, wanted - seen
    page.keyboard.press("Home")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_the_theme_can_be_chosen_and_is_kept(open_: Any) -> None:
    page = open_("", color_scheme="light", reduced_motion="reduce", locale="en-US")
    page.get_by_role("button", name="Use the dark theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_shows_it_without_scrolling_sideways(open_: Any, view: str) -> None:
    page = open_(VIEWS[view], width=360, faults=view == "nothing")
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


SHOTS = {
    "organization": ("#/organization?by=weekly&from=2025-03-03&to=2025-06-18&currency=EUR", 1200, "light"),
    "organization-dark": (
        "#/organization?by=weekly&from=2025-03-03&to=2025-06-18&currency=EUR",
        1200,
        "dark",
    ),
    "organization-phone": (
        "#/organization?by=weekly&from=2025-03-03&to=2025-06-18&currency=EUR",
        390,
        "light",
    ),
    "subscription": ("#/subscription?id=sub_acme&instead=team", 1200, "light"),
    "subscription-phone": ("#/subscription?id=sub_acme&instead=team", 390, "dark"),
    "events": ("#/events?id=no-number", 1200, "light"),
    "events-phone": ("#/events?id=no-number", 390, "light"),
}


@pytest.mark.parametrize("name", SHOTS)
def test_pictures_are_small_and_of_a_fixed_data_set(open_: Any, name: str) -> None:
    """`METERSTONE_PICTURES=write` takes them anew. They differ with a machine's fonts, and are not compared."""
    path = PICTURES / f"{name}.png"
    if os.environ.get("METERSTONE_PICTURES") == "write":
        fragment, width, theme = SHOTS[name]
        page = open_(fragment, width=width, color_scheme=theme, reduced_motion="reduce")
        settled(page)
        page.evaluate("document.querySelector('.parts')?.scrollIntoView()")
        page.wait_for_timeout(600)
        if "subscription" in name:
            page.locator(".disclose").first.click()
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(400)
        height = min(page.evaluate("document.documentElement.scrollHeight"), 1100 if width > 400 else 1500)
        PICTURES.mkdir(exist_ok=True)
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(300)
        page.screenshot(path=path)
    assert 5_000 < path.stat().st_size < MOST_PICTURE
