"""What a folder's catalogue would change in the stored one, and what of it begins in the past."""

from collections.abc import Callable
from pathlib import Path

import pytest

from meterstone.store.operations.load import StoredCatalogue, read_stored
from meterstone.usage.instant import format_instant, parse_instant
from meterstone_cli.catalogue import Catalogue, Places, read_catalogue
from meterstone_cli.catalogue.changes import beginnings, counted, differing, never
from meterstone_cli.files.loading import load_catalogue
from support.memory_table import MemoryTable
from support.problems import without_line_and_id

NOW = parse_instant("2026-06-15T00:00:00Z")

FILES = {
    "organization": "{id: 6f9e0e0e-0000-4000-8000-000000000001, timezone: Europe/Oslo}",
    "customers": "- {id: c, name: Ola, country: NO, customer_type: company}",
    "plans": "- {code: basic, name: Basic}\n- {code: pro}",
    "meters": "- {id: calls, code: calls, name: Calls, aggregation: SUM, field: n, filters: {a: [x]}}",
    "prices": (
        "- {id: p1, currency: nok, billing_model: FLAT_FEE, amount: 1.50, meter_id: calls, display_name: Call}\n"
        "- {id: p2, currency: nok, billing_model: FLAT_FEE, amount: 2, meter_id: calls}"
    ),
    "subscriptions": (
        "- id: s\n  customer: c\n  plan: basic\n  currency: NOK\n  start: 2026-01-01T00:00:00Z\n"
        "  end: 2027-01-01T00:00:00Z\n"
        "  line_items: [{id: li, price: p1, end: 2026-12-01T00:00:00Z}]"
    ),
}


def read(folder: Path, change: Callable[[str], str] = str, kind: str = "") -> tuple[Catalogue, Places]:
    folder.mkdir(exist_ok=True)
    for name, text in FILES.items():
        (folder / f"{name}.yaml").write_text(change(text) if name == kind else text)
    return read_catalogue(folder)


def replacing(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def adding(more: str) -> Callable[[str], str]:
    return lambda text: f"{text}\n{more}"


def stored(catalogue: Catalogue) -> StoredCatalogue:
    table = MemoryTable()
    load_catalogue(table, catalogue, Places({}), NOW)
    found = read_stored(table, catalogue.organization.id)
    assert found is not None
    return found


def test_the_same_catalogue_changes_nothing(tmp_path: Path) -> None:
    old, _ = read(tmp_path / "old")
    new, _ = read(tmp_path / "new", replacing("1.50", '"1.5"'), "prices")
    assert differing(stored(old), new, NOW) == []


def test_of_a_first_catalogue_all_is_put_in_the_order_in_which_records_refer_to_each_other(
    tmp_path: Path,
) -> None:
    new, _ = read(tmp_path / "new")
    found = differing(None, new, NOW)
    assert [(each.kind, each.name) for each in found] == [
        ("meter", "calls"),
        ("price", "p1"),
        ("price", "p2"),
        ("plan", "basic"),
        ("plan", "pro"),
        ("customer", "c"),
        ("subscription", "s"),
    ]
    assert counted(found)[0] == {"customers": 1, "plans": 2, "meters": 1, "prices": 2, "subscriptions": 1}


ALLOWED = [
    pytest.param("customers", replacing("Ola", "Kari"), id="a customer's name"),
    pytest.param("plans", replacing("name: Basic", "name: Simple"), id="a plan's name"),
    pytest.param("plans", adding("- {code: more}"), id="a new plan"),
    pytest.param("meters", replacing("name: Calls", "name: API calls"), id="a meter's name"),
    pytest.param(
        "meters", replacing("field: n", "field: n, deleted_at: 2026-07-01T00:00:00Z"), id="deleted later"
    ),
    pytest.param(
        "prices", replacing("display_name: Call", "display_name: Ring"), id="what a price is called"
    ),
    pytest.param("subscriptions", replacing("end: 2027", "end: 2028"), id="a later end"),
    pytest.param(
        "subscriptions", replacing("end: 2026-12", "end: 2026-07"), id="a line item's end, in the future"
    ),
    pytest.param(
        "subscriptions",
        replacing("-01T00:00:00Z}]", "-01T00:00:00Z}, {id: b, price: p2, start: 2026-12-01T00:00:00Z}]"),
        id="a line item that begins later",
    ),
    pytest.param(
        "subscriptions",
        replacing("plan: basic", "plan: [{value: basic}, {value: pro, since: 2026-06-15T00:00:00Z}]"),
        id="a plan from now on",
    ),
    pytest.param(
        "customers",
        replacing("country: NO", "country: [{value: NO}, {value: SE, since: 2026-07-01T00:00:00Z}]"),
        id="a move to come",
    ),
]


@pytest.mark.parametrize(("kind", "change"), ALLOWED)
def test_of_a_changed_catalogue_the_record_that_differs_is_put(
    tmp_path: Path, kind: str, change: Callable[[str], str]
) -> None:
    old, _ = read(tmp_path / "old")
    new, places = read(tmp_path / "new", change, kind)
    assert [f"{each.kind}s" for each in differing(stored(old), new, NOW)] == [kind]
    assert list(never(stored(old), new, places)) == []


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        pytest.param("organization", "Oslo", "Paris", id="the organization's zone"),
        pytest.param("customers", "name: Ola", "name: Ola, timezone: Asia/Tokyo", id="a customer's zone"),
    ],
)
def test_a_subscription_keeps_its_time_zone(tmp_path: Path, kind: str, before: str, after: str) -> None:
    old, _ = read(tmp_path / "old")
    new, _ = read(tmp_path / "new", replacing(before, after), kind)
    assert "subscription" not in [each.kind for each in differing(stored(old), new, NOW)]


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        pytest.param(
            "prices",
            replacing("amount: 1.50", "amount: 1.60, billing_period: WEEKLY"),
            [
                f"prices.yaml: prices[0].{name}: cannot change: make a new price, "
                "and end the line items of this one"
                for name in ("amount", "billing_period")
            ],
            id="what a price costs",
        ),
        pytest.param(
            "meters",
            replacing("field: n", "field: m"),
            ["meters.yaml: meters[0].field: cannot change: make a new meter"],
            id="what a meter counts",
        ),
    ],
)
def test_what_never_changes(
    tmp_path: Path, kind: str, change: Callable[[str], str], expected: list[str]
) -> None:
    old, _ = read(tmp_path / "old")
    new, places = read(tmp_path / "new", change, kind)
    assert [without_line_and_id(each) for each in never(stored(old), new, places)] == expected


SUBSCRIPTION = (
    "- id: t\n  customer: c\n  plan: basic\n  currency: NOK\n  start: 2026-03-01T00:00:00Z\n"
    "  line_items: [{id: b, price: p1}]"
)
UNTIL_MAY = replacing("end: 2026-12-01", "end: 2026-05-01")
DELETED_IN_MAY = replacing("field: n", "field: n, deleted_at: 2026-05-01T00:00:00Z")


def between(start: str, end: str) -> Callable[[str], str]:
    return replacing("-01T00:00:00Z}]", f"-01T00:00:00Z}}, {{id: b, price: p2, start: {start}, end: {end}}}]")


@pytest.mark.parametrize(
    ("kind", "before", "after", "expected"),
    [
        pytest.param("customers", str, replacing("Ola", "Kari"), [], id="a name"),
        pytest.param("subscriptions", str, UNTIL_MAY, [], id="an earlier end"),
        pytest.param("subscriptions", str, replacing("2026-12", "2026-11"), [], id="an end to come"),
        pytest.param("meters", str, replacing("name: Calls", "name: API"), [], id="a meter's name"),
        pytest.param("meters", str, DELETED_IN_MAY, [], id="a meter's deletion"),
        pytest.param(
            "subscriptions",
            UNTIL_MAY,
            lambda text: between("2026-06-15T00:05:00Z", "2027-01-01T00:00:00Z")(UNTIL_MAY(text)),
            [],
            id="a line item of which no event can be",
        ),
        pytest.param(
            "subscriptions",
            UNTIL_MAY,
            lambda text: between("2026-06-15T00:04:59Z", "2027-01-01T00:00:00Z")(UNTIL_MAY(text)),
            [("s", "b", "2026-06-15T00:04:59Z")],
            id="a line item of which one can be",
        ),
        pytest.param(
            "subscriptions",
            str,
            adding(SUBSCRIPTION),
            [("t", "b", "2026-03-01T00:00:00Z")],
            id="a subscription",
        ),
        pytest.param(
            "subscriptions",
            str,
            adding(SUBSCRIPTION.replace("2026-03", "2026-07")),
            [],
            id="a subscription to come",
        ),
        pytest.param(
            "subscriptions",
            str,
            adding(SUBSCRIPTION.replace("[{id: b, price: p1}]", "[]")),
            [],
            id="a subscription of nothing",
        ),
        pytest.param(
            "subscriptions",
            str,
            replacing("start: 2026-01-01", "start: 2025-01-01"),
            [("s", "li", "2025-01-01T00:00:00Z")],
            id="an earlier start",
        ),
        pytest.param(
            "subscriptions", UNTIL_MAY, str, [("s", "li", "2026-05-01T00:00:00Z")], id="a later end"
        ),
        pytest.param(
            "subscriptions",
            replacing("2027-01-01", "2026-05-01"),
            str,
            [("s", "li", "2026-05-01T00:00:00Z")],
            id="a later end of the subscription",
        ),
        pytest.param(
            "meters", DELETED_IN_MAY, str, [("s", "li", "2026-05-01T00:00:00Z")], id="a meter's return"
        ),
        pytest.param(
            "meters",
            str,
            replacing("field: n", "field: n, event_name: call"),
            [("s", "li", "2026-01-01T00:00:00Z")],
            id="another event name",
        ),
        pytest.param(
            "subscriptions",
            str,
            replacing("customer: c", "customer: c\n  external_id: x"),
            [("s", "li", "2026-01-01T00:00:00Z")],
            id="another external id",
        ),
    ],
)
def test_what_begins_in_the_past(
    tmp_path: Path,
    kind: str,
    before: Callable[[str], str],
    after: Callable[[str], str],
    expected: list[tuple[str, str, str]],
) -> None:
    old, _ = read(tmp_path / "old", before, kind)
    new, _ = read(tmp_path / "new", after, kind)
    was = {each.id: each for each in old.subscriptions}
    pairs = [(was.get(each.id), each) for each in new.subscriptions]
    assert [
        (each.subscription.id, each.line_item.id, format_instant(each.since))
        for each in beginnings(pairs, NOW)
    ] == expected
