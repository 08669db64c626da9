"""The views of a subscription and of events: what they show is what the API answers."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from looking import values

ACME = "#/subscription?id=sub_acme"


def explained(ask: Any) -> Any:
    return ask("v1/subscriptions/usage/explain", body={"subscription_id": "sub_acme"})


def test_each_charge_is_the_api_s(open_: Any, ask: Any) -> None:
    page = open_(ACME)
    usage = explained(ask)
    shown = values(page, "table.charges tr.charge td data")
    assert shown == [each[field] for each in usage["charges"] for field in ("amount", "quantity")]
    assert page.locator(".figure data").get_attribute("value") == usage["amount"]
    assert values(page, "table.charges tfoot data") == [usage["amount"]]


def test_the_explanation_of_a_charge_opens_by_keyboard(open_: Any, ask: Any) -> None:
    page = open_(ACME)
    charge = next(each for each in explained(ask)["charges"] if len(each["explanation"]["lines"]) > 1)
    button = page.get_by_role("button", name=charge["meter_display_name"]).first
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    expect(page.locator(".sentence")).to_have_text(charge["explanation"]["sentence"])
    lines = charge["explanation"]["lines"]
    assert values(page, "table.lines td data") == [
        line[field]
        for line in lines
        for field in ("from", "to", "quantity", "unit_amount", "flat_amount", "subtotal")
        if line[field] is not None
    ]  # fmt: skip


def test_the_commitment_burns_down_and_overage_lies_beyond(open_: Any, ask: Any) -> None:
    page = open_(ACME)
    usage = explained(ask)
    assert values(page, ".commitment data") == [
        usage["commitment_utilized"],
        usage["commitment_amount"],
        usage["overage_amount"],
    ]
    assert float(usage["overage_amount"]) > 0


def test_a_projection_looks_like_one(open_: Any, ask: Any) -> None:
    page = open_(ACME)
    projected = ask("api/v1/customers/acme/projected_usage", {"external_subscription_id": "acme-main"})
    expect(page.locator(".projection data")).to_have_attribute(
        "value", projected["customer_projected_usage"]["projected_amount_cents"]
    )
    expect(page.locator(".projection")).to_contain_text("Projection≈")
    expect(page.locator(".projection")).to_contain_text("A guess, not a bill.")
    assert page.locator(".projection").evaluate("each => getComputedStyle(each).borderStyle") == "dashed"


def test_earlier_periods_are_the_api_s(open_: Any, ask: Any) -> None:
    page = open_(ACME)
    periods = ask(
        "api/v1/customers/acme/past_usage", {"external_subscription_id": "acme-main", "per_page": "12"}
    )
    assert values(page, "table.periods data") == [each["amount_cents"] for each in periods["usage_periods"]]


@pytest.mark.parametrize("plan", ["starter", "team", "scale"])
def test_what_if_is_the_preview_s(open_: Any, ask: Any, plan: str) -> None:
    page = open_(ACME)
    page.get_by_label("The same usage of this period under").select_option(plan)
    expect(page).to_have_url(re.compile(f"instead={plan}"))
    preview = ask(
        "v1/subscriptions/usage/preview", body={"subscription_id": "sub_acme", "instead": {"plan": plan}}
    )
    charges = preview["difference"]["charges"]
    assert values(page, "table.difference data") == [
        each[field] for each in charges for field in ("now", "instead", "difference")
    ]
    assert values(page, ".verdict data")[:2] == [preview["instead"]["amount"], preview["now"]["amount"]]


def test_a_subscription_is_chosen_from_the_list(open_: Any) -> None:
    page = open_("#/subscription")
    page.get_by_label("Plan", exact=True).select_option("team")
    expect(page.locator("table.subscriptions tbody tr")).to_have_count(4)
    page.get_by_role("link", name="fuji-main").click()
    expect(page.locator("h1")).to_have_text("Fuji Kogyo")
    page.go_back()
    expect(page.locator("table.subscriptions tbody tr")).to_have_count(4)


def test_an_event_is_looked_up(open_: Any, ask: Any) -> None:
    page = open_("#/events")
    page.get_by_label("Transaction id").fill("late-export")
    page.get_by_role("button", name="Look up").click()
    expect(page).to_have_url(re.compile("id=late-export"))
    expect(page.locator(".found h2")).to_contain_text("Counted")
    counts = ask("api/v1/events/late-export")["event"]["meterstone"]["counts"]
    assert values(page, "table.counts data") == [each["quantity"] for each in counts]


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ("no-number", "Cannot be read"),
        ("typo", "No such metric"),
        ("stranger", "No such subscription"),
        ("ancient", "Outside the subscription"),
    ],
)
def test_an_event_that_does_not_count_says_why(open_: Any, event: str, why: str) -> None:
    page = open_(f"#/events?id={event}")
    expect(page.locator(".found h2")).to_contain_text("Does not count")
    expect(page.locator(".found .why")).to_contain_text(why)


def test_uncounted_events_by_reason(open_: Any, ask: Any) -> None:
    page = open_("#/events")
    answer = ask("v1/events/uncounted")
    page.locator("table.events tbody tr").first.wait_for()
    shown = {
        each.get_attribute("data-reason"): each.get_attribute("value")
        for each in page.locator(".uncounted .choice data").all()
    }
    assert shown == {
        "all": str(sum(int(each) for each in answer["counts"].values())),
        "line_item": answer["not_priced"],
        **answer["counts"],
    }
    assert sorted(page.locator("table.events tbody th").all_inner_texts()) == sorted(
        each["id"] for each in answer["events"]
    )
    page.get_by_role("button", name="No such metric").click()
    expect(page.locator("table.events tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile("reason=code"))
