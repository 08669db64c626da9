"""Keys, failures, odd texts, addresses: the page says what is wrong, loses nothing, and runs nothing."""

import re
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, Route, expect

from looking import settled

USAGE = "**/api/v1/analytics/usage*"


def test_a_key_is_typed_once_and_stands_in_no_address(open_: Any, world: Any) -> None:
    page = open_("#/organization?by=monthly", key=None)
    expect(page.get_by_role("dialog")).to_contain_text("Sign in")
    page.get_by_label("API key").fill(world["keys"]["northwind"])
    page.get_by_role("button", name="Show usage").click()
    expect(page.locator(".figure")).to_be_visible()
    expect(page.locator("#organization")).to_have_text("Northwind Cloud")
    page.get_by_role("link", name="Events").click()
    expect(page.locator("h1")).to_have_text("Events")
    assert "mst_" not in page.url
    page.reload()
    expect(page.locator("#organization")).to_have_text("Northwind Cloud")


def test_signing_out_forgets_the_key_and_what_it_showed(open_: Any) -> None:
    page = open_("#/subscription?id=sub_acme")
    expect(page.locator("h1")).to_have_text("Acme Robotics")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("sessionStorage.getItem('meterstone-key')") is None
    assert "Acme" not in page.locator("body").inner_text()
    page.reload()
    expect(page.get_by_role("dialog")).to_be_visible()


def test_a_key_that_is_refused_in_mid_session_is_asked_for_again_and_nothing_is_lost(
    open_: Any, world: Any
) -> None:
    page = open_("#/organization?by=monthly&currency=EUR&customer=acme", faults=True)
    figure = page.locator(".figure data")
    before = settled(page).locator(".figure data").get_attribute("value")
    page.evaluate("key => sessionStorage.setItem('meterstone-key', key)", world["keys"]["revoked"])
    page.get_by_role("button", name="Weeks").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Your key is not accepted any more")
    assert page.get_by_role("dialog").count() == 1
    page.get_by_label("API key").fill(world["keys"]["northwind"])
    page.get_by_role("button", name="Go on").click()
    expect(dialog).to_have_count(0)
    expect(page).to_have_url(re.compile("by=weekly&currency=EUR&customer=acme"))
    expect(figure).to_be_visible()
    page.go_back()
    expect(figure).to_have_attribute("value", str(before))


def test_a_wrong_key_is_refused_with_words(open_: Any) -> None:
    page = open_("", key="mst_nobody", faults=True)
    expect(page.get_by_role("dialog")).to_contain_text("revoked, or mistyped")


def test_two_tabs_have_two_keys(open_: Any) -> None:
    one = open_("", key="northwind")
    other = open_("", key="wide")
    assert other.context == one.context
    expect(one.locator("#organization")).to_have_text("Northwind Cloud")
    expect(other.locator("#organization")).to_have_text("Wide")
    one.reload()
    expect(one.locator("#organization")).to_have_text("Northwind Cloud")


def test_the_demo_s_key_is_filled_in_on_this_machine(open_: Any) -> None:
    page = open_("", key=None, at="demo")
    expect(page.locator("#organization")).to_have_text("Northwind Cloud")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_have_value(re.compile("^mst_"))
    page.get_by_role("button", name="Show usage").click()
    expect(page.locator(".figure")).to_be_visible()


def fulfil(status: int, body: str = "{}", **headers: str) -> Any:
    return lambda route: route.fulfill(status=status, body=body, headers=headers)


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        (fulfil(403, '{"status":403,"error":"Forbidden","code":"forbidden"}'), "This key may not read this."),
        (fulfil(500), "The API failed."),
        (fulfil(502, "<html>no JSON</html>"), "The API failed."),
        (fulfil(503, "{}", **{"retry-after": "7"}), "The store is not available."),
        (fulfil(429), "Too many requests at once."),
        (lambda route: route.abort(), "The API cannot be reached."),
    ],
    ids=["no rights", "500", "502 of a proxy", "503", "429", "away"],
)
def test_an_answer_that_fails_says_what_to_do_and_can_be_tried_again(
    open_: Any, answer: Any, title: str
) -> None:
    page = open_("#/events", faults=True)
    page.route(USAGE, answer)
    page.get_by_role("link", name="Organization").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(title)
    if "store" in title:
        expect(alert).to_contain_text("Try again in 7 seconds")
    page.unroute(USAGE)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".figure")).to_be_visible()


NO_CATALOGUE = "This key does not have the scope “catalogue”"


@pytest.mark.parametrize(
    "fragment",
    [
        pytest.param("#/organization?by=monthly&currency=EUR", id="the organization"),
        pytest.param("#/organization?by=monthly&show=units&of=tokens", id="its units"),
        pytest.param("#/organization?by=monthly&customer=acme", id="one customer"),
        pytest.param("#/subscription?id=sub_acme", id="a subscription"),
    ],
)
def test_a_key_that_may_only_read_usage_shows_the_same_numbers(open_: Any, fragment: str) -> None:
    whole = settled(open_(fragment)).locator(".figure data").get_attribute("value")
    page = open_(fragment, key="read alone", faults=True)
    expect(page.locator(".figure data")).to_have_attribute("value", str(whole))
    expect(page.locator("#notices")).to_contain_text(NO_CATALOGUE)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_key_that_may_only_read_usage_is_told_what_is_not_listed(open_: Any) -> None:
    page = open_("#/organization?by=monthly&split=customers", key="read alone", faults=True)
    # Not before all is drawn: the numbers above push down what has been scrolled to.
    settled(page).locator(".parts").scroll_into_view_if_needed()
    expect(page.locator(".parts .empty")).to_contain_text("The customers are not listed")
    page.get_by_role("link", name="Subscription").click()
    expect(page.locator(".empty")).to_contain_text("Subscriptions are not listed")
    page.get_by_label("Subscription’s id").fill("sub_acme")
    page.get_by_role("button", name="Show usage").click()
    expect(page.locator("h1")).to_have_text("sub_acme")
    expect(page.locator(".figure")).to_be_visible()
    page.get_by_role("link", name="Events").click()
    expect(page.locator(".uncounted")).to_contain_text("typo")
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("key", ["ingest alone", "catalogue alone"])
def test_a_key_that_may_not_read_usage_is_told_which_scope_it_lacks(open_: Any, key: str) -> None:
    for fragment in ("#/organization", "#/subscription?id=sub_acme", "#/events"):
        page = open_(fragment, key=key, faults=True)
        expect(page.get_by_role("alert").first).to_contain_text("This key does not have the scope “read”.")


def test_another_key_takes_the_word_of_the_missing_scope_away(open_: Any, world: Any) -> None:
    page = open_("#/organization", key="read alone", faults=True)
    expect(page.locator("#notices")).to_contain_text(NO_CATALOGUE)
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#notices")).to_be_empty()
    page.get_by_label("API key").fill(world["keys"]["northwind"])
    page.get_by_role("button", name="Show usage").click()
    expect(page.locator("#organization")).to_have_text("Northwind Cloud")
    expect(page.locator("#notices")).to_be_empty()


def test_a_slow_answer_is_waited_for_in_sight(open_: Any) -> None:
    page = open_("#/events")
    held: list[Route] = []
    page.route(USAGE, lambda route: held.append(route))  # noqa: PLW0108 - it sets attributes of it
    page.get_by_role("link", name="Organization").click()
    expect(page.locator(".waiting").first).to_contain_text("Reading usage")
    expect(page.locator("#notices")).to_contain_text("takes longer than usual")
    held.pop().continue_()
    expect(page.locator(".figure")).to_be_visible()
    expect(page.locator("#notices")).to_be_empty()


def test_what_the_api_refuses_is_told_in_its_words(open_: Any) -> None:
    page = open_("#/organization?from=2020-01-01&to=2025-01-01", faults=True)
    expect(page.get_by_role("alert")).to_contain_text("from_date")


def test_where_there_is_nothing_it_says_what_to_do(open_: Any) -> None:
    page = open_("#/organization?customer=nobody")
    expect(page.locator(".empty")).to_contain_text("No usage here")
    page.get_by_role("button", name="Leave all filters out").click()
    expect(page.locator(".figure")).to_be_visible()


@pytest.mark.parametrize(
    ("fragment", "named"),
    [
        ("#/nothing", "nothing"),
        ("#/organization?from=yesterday", "from"),
        ("#/organization?by=century&currency=EUR", "by"),
        ("#/organization?currency=%3Cb%3E", "currency"),
        ("#/organization?colour=red", "colour"),
        ("#%%%?&&==", "%%%"),
        ("#/events?reason=spite", "reason"),
        ("#/organization?customer=" + "x" * 300, "customer"),
        ("#/__proto__?constructor=1", "__proto__"),
    ],
)
def test_a_mangled_fragment_shows_the_page_and_names_the_wrong_part(
    open_: Any, fragment: str, named: str
) -> None:
    page = open_(fragment)
    expect(page.locator("#notices")).to_contain_text(named)
    expect(page.locator(".figure, h1.title").first).to_be_visible()


def test_an_unknown_subscription_and_event_are_said_to_be_so(open_: Any) -> None:
    page = open_("#/subscription?id=nobody", faults=True)
    expect(page.get_by_role("alert")).to_contain_text("There is no such")
    page = open_("#/events?id=nobody", faults=True)
    expect(page.get_by_role("alert")).to_contain_text("There is no such")


FRAGMENTS = {
    "organization": "#/organization?by=monthly&split={split}",
    "units": "#/organization?by=monthly&show=units",
    "filters": "#/organization?by=monthly&customer={id}&metric={id}",
    "list": "#/subscription",
    "subscription": "#/subscription?id={id}&instead={id}",
    "event": "#/events?id={event}&subscription={id}",
}


@pytest.mark.parametrize("kind", ["markup", "hebrew", "emoji", "long"])
@pytest.mark.parametrize("view", FRAGMENTS)
def test_stored_text_is_text(open_: Any, world: Any, view: str, kind: str) -> None:
    text = world["odd"][kind]
    encoded = page_encoded(text)
    event = page_encoded(world["odd"]["markup"][:80] + "0")
    page = open_(FRAGMENTS[view].format(id=encoded, event=event, split="customers"), key="strange", width=390)
    settled(page)
    page.locator("main").get_by_text(text).first.wait_for(state="attached")
    page.evaluate("document.querySelectorAll('details > summary, .disclose').forEach(each => each.click())")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(300)
    assert page.evaluate("document.title") != "run"
    assert page.locator("main img, main script, main style, main [style*=url]").count() == 0
    assert no_overflow(page)


def page_encoded(text: str) -> str:
    return quote(text, safe="")


def no_overflow(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))
