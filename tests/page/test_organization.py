"""The organization's view: its numbers are the API's, its filters are in the address, and nothing is added up."""

import re
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from looking import cells, settled, until

MONTHS = {"from": "2025-02-01", "to": "2025-06-18"}


def address(**state: str) -> str:
    return "#/organization?" + "&".join(f"{name}={value}" for name, value in state.items())


def every_bucket(page: Page) -> list[list[str]]:
    settled(page).locator("details.all:not([open]) summary, details.all[open] table").first.wait_for()
    if page.locator("details.all[open]").count() == 0:
        page.locator("details.all summary").click()
    return cells(page, "buckets")


def usages(ask: Callable[..., Any], **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask("api/v1/analytics/usage", query)["usages"]
    return found


@pytest.mark.parametrize("currency", ["EUR", "USD", "JPY"])
@pytest.mark.parametrize("by", ["daily", "weekly", "monthly", "yearly"])
def test_every_number_is_the_api_s(open_: Any, ask: Any, by: str, currency: str) -> None:
    page = open_(address(by=by, currency=currency, **{"from": "2025-03-03", "to": "2025-06-18"}))
    rows = usages(ask, time_granularity=by, from_date="2025-03-03", to_date="2025-06-18")
    own = [row for row in rows if row["amount_currency"] == currency]
    shown = every_bucket(page)
    assert [row[2:] for row in shown] == [[row["units"], row["amount_cents"]] for row in reversed(own)]
    amounts, units = defaultdict(Decimal), defaultdict(Decimal)
    for row in own:
        amounts[row["billable_metric_code"]] += Decimal(row["amount_cents"])
        units[row["billable_metric_code"]] += Decimal(row["units"])
    shares = cells(page, "by-metric")
    assert sorted((Decimal(row[1]), Decimal(row[2])) for row in shares) == sorted(
        (amounts[code], units[code]) for code in amounts
    )
    total = str(sum(amounts.values()))
    assert page.locator(".figure data").get_attribute("value") == total
    assert page.locator("table.by-metric tfoot data").get_attribute("value") == total


def test_currencies_stand_beside_each_other_and_are_never_added(open_: Any, ask: Any) -> None:
    page = open_(address(by="monthly", **MONTHS))
    page.locator(".currencies button").first.wait_for()
    shown = {
        each.get_attribute("data-currency"): each.locator("data").get_attribute("value")
        for each in page.locator(".currencies button").all()
    }
    totals: dict[str, int] = defaultdict(int)
    for row in usages(ask, time_granularity="monthly", from_date=MONTHS["from"], to_date=MONTHS["to"]):
        totals[row["amount_currency"]] += int(row["amount_cents"])
    assert shown == {currency: str(total) for currency, total in totals.items()}
    assert set(shown) == {"EUR", "USD", "JPY"}
    everything = page.locator("main").inner_text()
    assert f"{sum(totals.values()):,}" not in everything


def test_units_are_those_of_one_metric(open_: Any, ask: Any) -> None:
    page = open_(address(show="units", of="tokens", by="monthly", **MONTHS))
    rows = usages(
        ask,
        time_granularity="monthly",
        from_date=MONTHS["from"],
        to_date=MONTHS["to"],
        billable_metric_code="tokens",
    )
    assert [row[2] for row in every_bucket(page)] == [row["units"] for row in reversed(rows)]
    expect(page.locator(".figure data")).to_have_attribute(
        "value", str(sum(int(row["units"]) for row in rows))
    )
    page.locator(".headline select").select_option("storage")
    expect(page).to_have_url(re.compile("of=storage"))


def test_a_day_below_zero_is_shown_as_one(open_: Any, ask: Any) -> None:
    days = {"from": "2025-05-01", "to": "2025-05-31"}
    page = open_(address(currency="EUR", metric="tokens", **days))
    rows = usages(
        ask, from_date=days["from"], to_date=days["to"], billable_metric_code="tokens", currency="EUR"
    )
    below = [row["amount_cents"] for row in rows if row["amount_cents"].startswith("-")]
    assert below
    shown = every_bucket(page)
    assert [row[3] for row in shown if row[3].startswith("-")] == list(reversed(below))
    expect(page.locator("table.buckets").get_by_text(re.compile(r"^[-−]€")).first).to_be_visible()


FILTERS = {
    "customer": ("external_customer_id", "acme"),
    "subscription": ("external_subscription_id", "bluebird-main"),
    "plan": ("plan_code", "team"),
    "metric": ("billable_metric_code", "storage"),
    "country": ("customer_country", "DE"),
    "type": ("customer_type", "company"),
    "recurring": ("is_billable_metric_recurring", "false"),
    "only": ("currency", "EUR"),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_asks_the_api_stands_in_the_address_and_is_undone_by_back(
    open_: Any, ask: Any, name: str
) -> None:
    parameter, value = FILTERS[name]
    page = open_(address(by="monthly", currency="EUR", **MONTHS))
    before = [row[2:] for row in every_bucket(page)]
    page.locator(".filters summary").click()
    control = page.locator(f"#filter-{name}")
    if control.evaluate("each => each.tagName") == "SELECT":
        control.locator(f'option[value="{value}"]').wait_for(state="attached")
        control.select_option(value)
    else:
        control.fill(value)
        control.press("Enter")
    expect(page).to_have_url(re.compile(f"{name}={value}"))
    expect(page.locator(".chips button").first).to_contain_text(value if name != "country" else "Germany")
    query = {
        "time_granularity": "monthly",
        "from_date": MONTHS["from"],
        "to_date": MONTHS["to"],
        parameter: value,
    }
    own = [row for row in usages(ask, **query) if row["amount_currency"] == "EUR"]
    expect(page.locator(".figure data")).to_have_attribute(
        "value", str(sum(int(row["amount_cents"]) for row in own))
    )
    assert [row[2:] for row in every_bucket(page)] == [
        [row["units"], row["amount_cents"]] for row in reversed(own)
    ]
    page.go_back()
    expect(page.locator(".chips button")).to_have_count(0)
    assert [row[2:] for row in every_bucket(page)] == before


def test_without_dates_the_page_asks_for_what_the_api_takes_by_default(open_: Any, ask: Any) -> None:
    for by in ("daily", "weekly", "monthly", "yearly"):
        page = open_(f"#/organization?by={by}&currency=EUR")
        own = [row for row in usages(ask, time_granularity=by) if row["amount_currency"] == "EUR"]
        assert [row[2:] for row in every_bucket(page)] == [
            [row["units"], row["amount_cents"]] for row in reversed(own)
        ]


def test_a_link_shows_a_colleague_the_same(open_: Any) -> None:
    page = open_("")
    page.get_by_role("button", name="Months").click()
    page.locator('[data-currency="USD"]').click()
    expect(page).to_have_url(re.compile("by=monthly&currency=USD"))
    figure = settled(page).locator(".figure data").get_attribute("value")
    other = open_("#" + page.url.partition("#")[2])
    expect(other.locator(".figure data")).to_have_attribute("value", str(figure))
    assert "mst_" not in page.url


SPLITS = {"plans": "plan_code", "customers": "external_customer_id", "countries": "customer_country"}


@pytest.mark.parametrize("split", SPLITS)
def test_who_used_it_is_what_the_api_says_of_each(open_: Any, ask: Any, split: str) -> None:
    page = open_(address(by="monthly", currency="EUR", split=split, **MONTHS))
    settled(page).locator(".parts").scroll_into_view_if_needed()
    table = {"plans": "by-plan", "customers": "by-customer", "countries": "by-country"}[split]
    shown = {row[0]: row[1] for row in cells(page, table)}
    things = {
        "plans": {each["name"]: each["code"] for each in ask("catalogue/v1/plans")["plans"]},
        "customers": {each["name"]: each["id"] for each in ask("catalogue/v1/customers")["customers"]},
        "countries": {"Germany": "DE", "France": "FR", "Greece": "GR", "Netherlands": "NL", "Japan": "JP"},
    }[split]
    wanted = {}
    for name, identity in things.items():
        query = {"time_granularity": "yearly", "from_date": MONTHS["from"], "to_date": MONTHS["to"]}
        rows = usages(ask, **query, currency="EUR", **{SPLITS[split]: identity})
        if total := sum(int(row["amount_cents"]) for row in rows):
            wanted[name] = str(total)
    assert shown == wanted


def test_the_csv_is_the_api_s(open_: Any, world: Any, tmp_path: Path) -> None:
    page = open_(address(by="monthly", customer="acme", **MONTHS))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    download.value.save_as(tmp_path / "usage.csv")
    answer = page.context.request.get(
        f"{world['plain']}/api/v1/analytics/usage",
        params={
            "time_granularity": "monthly", "from_date": MONTHS["from"], "to_date": MONTHS["to"],
            "external_customer_id": "acme",
        },
        headers={"accept": "text/csv", "authorization": f"Bearer {world['keys']['northwind']}"},
    )  # fmt: skip
    assert (tmp_path / "usage.csv").read_bytes() == answer.body()
    assert answer.text().count("\n") > 5


def test_freshness_and_time_zone_stand_beside_the_numbers(open_: Any, world: Any) -> None:
    page = open_(address(customer="acme"))
    footing = page.locator(".footing").first
    expect(footing).to_contain_text("Counted until 18 Jun 2025, 16:20:00 (Europe/Berlin)")
    expect(footing).to_contain_text("today is that of the organization, Europe/Berlin")


def test_400_days_of_20_metrics_are_drawn_in_a_second(open_: Any) -> None:
    page = open_(address(**{"from": "2024-05-15", "to": "2025-06-18"}), key="wide", clock=False)
    until(page, "performance.getEntriesByName('chart-drawn').length > 0")
    answered, drawn = page.evaluate(
        "['usage-answered', 'chart-drawn'].map(name => performance.getEntriesByName(name)[0].startTime)"
    )
    assert page.locator("details.all summary").inner_text() == "Every number of the chart (8000)"
    print(f"drawn {drawn - answered:.0f} ms after the answer")  # noqa: T201
    assert drawn - answered < 1000


def test_numbers_are_written_as_the_reader_s_locale_does(open_: Any) -> None:
    page = open_(address(currency="EUR", by="yearly"), locale="de-DE")
    expect(page.locator(".figure")).to_have_text(re.compile(r"^[\d.]+,\d\d\s€$"))
    yen = open_(address(currency="JPY", by="yearly"), locale="ja-JP")
    expect(yen.locator(".figure")).to_have_text(re.compile(r"^[¥￥][\d,]+$"))
