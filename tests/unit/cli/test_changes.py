"""What a new catalogue may change in the stored one, before and after usage was counted."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from meterstone.usage.plan import Plan
from meterstone.pricing.price import Price
from meterstone.usage.arrival import AHEAD
from meterstone.usage.instant import format_instant, parse_instant
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Customer, LineItem, Subscription
from meterstone_cli.catalogue import Catalogue, Places, changes, compare, read_catalogue
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


def found(folder: Path, kind: str, change: Callable[[str], str], *, counted: bool) -> list[str]:
    old, _ = read(folder / "old")
    new, places = read(folder / "new", change, kind)
    changes = compare(old, new, now=NOW, with_usage=lambda ids: ids if counted else set(), places=places)
    assert not changes.nothing
    return [without_line_and_id(problem) for problem in changes.problems]


def test_the_same_catalogue_changes_nothing(tmp_path: Path) -> None:
    old, _ = read(tmp_path / "old")
    new, _ = read(tmp_path / "new", replacing("1.50", '"1.5"'), "prices")
    assert compare(old, new, now=NOW, with_usage=set).nothing


def test_a_first_catalogue_is_new_as_a_whole(tmp_path: Path) -> None:
    new, _ = read(tmp_path / "new")
    changes = compare(None, new, now=NOW, with_usage=lambda _: pytest.fail("there is no usage to ask for"))
    assert changes.added == {
        "organization": 1,
        "customers": 1,
        "plans": 2,
        "meters": 1,
        "prices": 2,
        "subscriptions": 1,
    }
    assert not changes.changed
    assert not changes.problems


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


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize(("kind", "change"), ALLOWED)
def test_what_may_always_change(
    tmp_path: Path, kind: str, change: Callable[[str], str], *, counted: bool
) -> None:
    assert found(tmp_path, kind, change, counted=counted) == []


S = "subscriptions.yaml: subscriptions[0]"
FIXED = "cannot change: usage has been counted; end the subscription and make a new one"
NEW = "this new line item would take effect before now, and usage has been counted"
DELETED = "this deletion would take effect before now, and usage has been counted"
PAST = "this change would take effect before now, and usage has been counted"

REFUSED = [
    pytest.param("organization", replacing("Oslo", "Paris"), [f"{S}.timezone: {FIXED}"], id="timezone"),
    pytest.param(
        "subscriptions",
        replacing("currency: NOK", "currency: NOK\n  anchor: 2026-01-02T00:00:00Z"),
        [f"{S}.anchor: {FIXED}"],
        id="anchor",
    ),
    pytest.param(
        "subscriptions",
        replacing("currency: NOK", "currency: NOK\n  billing_period: WEEKLY\n  billing_cycle: anniversary"),
        [f"{S}.billing_period: {FIXED}", f"{S}.billing_cycle: {FIXED}"],
        id="billing period and cycle",
    ),
    pytest.param(
        "subscriptions",
        replacing("start: 2026-01-01", "start: 2026-01-02"),
        [f"{S}.start: {FIXED}", f"{S}.anchor: {FIXED}", f"{S}.line_items[0].start: {PAST}"],
        id="start",
    ),
    pytest.param(
        "subscriptions",
        replacing("currency: NOK", "currency: NOK\n  commitment: {amount: 5, overage_factor: 2}"),
        [f"{S}.commitment: {FIXED}"],
        id="commitment",
    ),
    pytest.param(
        "subscriptions",
        replacing("end: 2027-01-01", "end: 2026-06-14"),
        [f"{S}.end: {PAST}"],
        id="end in the past",
    ),
    pytest.param(
        "subscriptions",
        replacing("end: 2026-12", "end: 2026-02"),
        [f"{S}.line_items[0].end: {PAST}"],
        id="a line item's end in the past",
    ),
    pytest.param(
        "subscriptions",
        replacing("price: p1", "price: p2"),
        [f"{S}.line_items[0].price: cannot change: end the line item and add one with the new price"],
        id="a line item's price",
    ),
    pytest.param(
        "subscriptions",
        replacing("id: li", "id: other"),
        [
            f"{S}.line_items[0].start: {NEW}",
            f"{S}.line_items: 'li' cannot be removed: usage has been counted; give it an end",
        ],
        id="a line item's id",
    ),
    pytest.param(
        "subscriptions",
        replacing("plan: basic", "plan: [{value: basic}, {value: pro, since: 2026-06-14T00:00:00Z}]"),
        [f"{S}.plan: {PAST}"],
        id="a plan since yesterday",
    ),
    pytest.param(
        "customers",
        replacing("country: NO, customer_type: company", "country: SE"),
        [f"customers.yaml: customers[0].{name}: {PAST}" for name in ("country", "customer_type")],
        id="country and type",
    ),
    pytest.param(
        "meters",
        replacing("field: n, filters: {a: [x]}", "field: m, filters: {a: [y]}"),
        [
            f"meters.yaml: meters[0].{name}: cannot change: usage has been counted by it; make a new meter"
            for name in ("field", "filters")
        ],
        id="what a meter counts",
    ),
    pytest.param(
        "meters",
        replacing("field: n", "field: n, deleted_at: 2026-06-14T00:00:00Z"),
        [f"meters.yaml: meters[0].deleted_at: {DELETED}"],
        id="deleted yesterday",
    ),
]


@pytest.mark.parametrize(("kind", "change", "expected"), REFUSED)
def test_what_may_not_change_once_usage_was_counted(
    tmp_path: Path, kind: str, change: Callable[[str], str], expected: list[str]
) -> None:
    assert found(tmp_path, kind, change, counted=True) == expected
    assert found(tmp_path, kind, change, counted=False) == []


@pytest.mark.parametrize(("kind", "change", "expected"), REFUSED)
def test_of_these_a_recompute_takes_a_new_line_item_alone(
    tmp_path: Path, kind: str, change: Callable[[str], str], expected: list[str]
) -> None:
    old, _ = read(tmp_path / "old")
    new, places = read(tmp_path / "new", change, kind)
    changes = compare(old, new, now=NOW, with_usage=set, places=places)
    assert [without_line_and_id(each) for each in changes.recomputable] == [
        each for each in expected if NEW in each
    ]


SEATS = FILES | {
    "meters": FILES["meters"] + "\n- {id: seats, code: seats, aggregation: SUM, field: n, recurring: true}",
    "prices": FILES["prices"]
    + "\n- {id: p3, currency: nok, billing_model: FLAT_FEE, amount: 3, meter_id: seats}"
    + "\n- {id: fee, currency: nok, billing_model: FLAT_FEE, amount: 9, type: FIXED}",
}
CHAINED = f"{NEW}; not even --recompute takes it, for another line item has the same recurring meter"


@pytest.mark.parametrize(
    ("before", "items", "refused", "taken"),
    [
        pytest.param("", "{id: a, price: p2, start: 2026-12-01T00:00:00Z}", [], [], id="to come"),
        pytest.param("", "{id: a, price: p3, start: 2026-06-15T00:05:00Z}", [], [], id="later than events"),
        pytest.param("", "{id: a, price: p3}", [NEW], [1], id="a recurring meter that none has"),
        pytest.param(
            "",
            "{id: a, price: p3, end: 2026-03-01T00:00:00Z}, {id: b, price: p3, start: 2026-04-01T00:00:00Z}",
            [NEW, NEW],
            [1, 2],
            id="a chain of its own",
        ),
        pytest.param(
            "{id: a, price: p3, start: 2026-07-01T00:00:00Z}",
            "{id: b, price: p3, end: 2026-03-01T00:00:00Z}",
            [CHAINED],
            [],
            id="before another of a chain",
        ),
        pytest.param(
            "{id: a, price: p3, end: 2026-03-01T00:00:00Z}",
            "{id: b, price: p3, start: 2026-04-01T00:00:00Z}, {id: c, price: p1, start: 2026-12-01T00:00:00Z}",
            [CHAINED],
            [],
            id="after another of a chain",
        ),
        pytest.param(
            "{id: a, price: p3, end: 2026-03-01T00:00:00Z}",
            "{id: b, price: p3, start: 2026-07-01T00:00:00Z}",
            [],
            [],
            id="another of a chain to come",
        ),
        pytest.param("", "{id: a, price: fee}", [NEW], [], id="a fixed fee"),
    ],
)
def test_which_new_line_items_a_recompute_takes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    items: str,
    refused: list[str],
    taken: list[int],
) -> None:
    for name, text in SEATS.items():
        monkeypatch.setitem(FILES, name, text)
    among = replacing("}]", f"}}, {before}]" if before else "}]")
    old, _ = read(tmp_path / "old", among, "subscriptions")
    new, places = read(
        tmp_path / "new", lambda text: replacing("}]", f"}}, {items}]")(among(text)), "subscriptions"
    )
    changes = compare(old, new, now=NOW, with_usage=set, places=places)
    assert [each.reason for each in changes.problems] == refused
    assert [each.path for each in changes.recomputable] == [
        f"subscriptions[0].line_items[{number}].start" for number in taken
    ]


@pytest.mark.parametrize("counted", [False, True])
def test_prices_never_change(tmp_path: Path, *, counted: bool) -> None:
    change = replacing("amount: 1.50", "amount: 1.60, billing_period: WEEKLY")
    reason = "prices are immutable: end the line item and add one with a new price"
    assert found(tmp_path, "prices", change, counted=counted) == [
        f"prices.yaml: prices[0].amount: {reason}",
        f"prices.yaml: prices[0].billing_period: {reason}",
    ]


@pytest.mark.parametrize("counted", [False, True])
def test_nothing_is_removed(tmp_path: Path, *, counted: bool) -> None:
    assert found(tmp_path, "plans", replacing("\n- {code: pro}", ""), counted=counted) == [
        "plans 'pro': is stored and cannot be removed: history may need it; end it instead"
    ]


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        pytest.param(
            "subscriptions",
            replacing("end: 2027-01-01", "end: 2026-06-15"),
            [f"{S}.end: this change"],
            id="end",
        ),
        pytest.param(
            "subscriptions",
            replacing(
                "end: 2026-12-01T00:00:00Z}",
                "end: 2026-06-15T00:00:00Z}, {id: b, price: p2, start: 2026-06-15T00:00:00Z}",
            ),
            [f"{S}.line_items[0].end: this change", f"{S}.line_items[1].start: this new line item"],
            id="another price",
        ),
        pytest.param(
            "meters",
            replacing("field: n", "field: n, deleted_at: 2026-06-15T00:00:00Z"),
            ["meters.yaml: meters[0].deleted_at: this deletion"],
            id="a deletion",
        ),
    ],
)
def test_a_span_does_not_change_where_events_may_lie_ahead_of_the_clock(
    tmp_path: Path, kind: str, change: Callable[[str], str], expected: list[str]
) -> None:
    """An event that was counted for a line item which ends before it would be in the wrong row, or in two."""
    old, _ = read(tmp_path / "old")
    new, places = read(tmp_path / "new", change, kind)

    def problems(ahead: int) -> list[str]:
        changes = compare(old, new, now=NOW - ahead, with_usage=set, places=places)
        return [without_line_and_id(problem) for problem in changes.problems]

    soon = compare(old, new, now=NOW, with_usage=set, places=places).recomputable
    assert [without_line_and_id(each).partition(" would")[0] for each in soon] == [
        each for each in expected if "new" in each
    ]
    why = "would take effect within 5 minutes, and usage has been counted so far ahead"
    assert problems(AHEAD) == []
    for ahead in (0, AHEAD - 1):
        assert problems(ahead) == [f"{each} {why}" for each in expected]


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
    new, places = read(tmp_path / "new", after, kind)
    changes = compare(old, new, now=NOW, with_usage=lambda _: set(), places=places)
    assert not changes.problems
    assert [
        (each.subscription.id, each.line_item.id, format_instant(each.since)) for each in changes.beginnings
    ] == expected
    assert not compare(None, new, now=NOW, with_usage=lambda _: set()).beginnings


@pytest.mark.parametrize(
    ("record", "refused", "by_time", "elsewhere", "free"),
    [
        pytest.param(
            Price,
            "currency billing_model amount type meter_id tier_mode tiers transform_quantity "
            "billing_period billing_period_count",
            "",
            "",
            "id details",
            id="a price",
        ),
        pytest.param(
            Meter,
            "code aggregation event_name field multiplier filters recurring bucket_size",
            "deleted_at",
            "",
            "id name",
            id="a meter",
        ),
        pytest.param(
            Subscription,
            "external_id customer_id currency timezone start billing_period billing_period_count "
            "billing_cycle anchor commitment",
            "end plan",
            "country customer_type line_items",
            "id",
            id="a subscription: its customer's facts and its line items are compared by themselves",
        ),
        pytest.param(
            LineItem, "price", "start end", "meter", "id", id="a line item: its meter is that of its price"
        ),
        pytest.param(
            Customer,
            "",
            "country customer_type",
            "timezone",
            "id name",
            id="a customer: its zone is compared as that of its subscriptions",
        ),
        pytest.param(Plan, "", "", "", "code name description", id="a plan: nothing is counted by it"),
    ],
)
def test_every_field_of_a_record_is_compared_or_free(
    record: type[msgspec.Struct],
    refused: str,
    by_time: str,
    elsewhere: str,
    free: str,
) -> None:
    """A field that is new belongs here, and into `compare` unless its change means nothing to what was counted."""
    treated = [*refused.split(), *by_time.split(), *elsewhere.split(), *free.split()]
    assert sorted(treated) == sorted(record.__struct_fields__)
    refusing: dict[type[msgspec.Struct], tuple[str, ...]] = {
        Price: changes._PRICE_FIELDS,
        Meter: changes._METER_FIELDS,
        Subscription: changes._SUBSCRIPTION_FIELDS,
    }
    assert refusing.get(record, tuple(refused.split())) == tuple(refused.split())


def test_what_may_not_change_is_all_but_what_is_free() -> None:
    assert changes._fields(LineItem, free=("id", "end")) == ("price", "start", "meter")
    with pytest.raises(TypeError, match="LineItem has no field until"):
        changes._fields(LineItem, free=("until",))
