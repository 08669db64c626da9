"""The route that lists events that do not count: every file of events/ for it, pages, cursors, and their cost."""

import base64
import json
from collections import Counter
from collections.abc import Callable
from copy import replace
from pathlib import Path
from typing import Any

import pytest

from meterstone import clock
from meterstone.contracts import flexprice_uncounted
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.events import listing
from meterstone.store.events.lookup import EventStore
from meterstone.store.operations.replay import replay
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY
from meterstone.usage.meter import Aggregation, Event, Meter, Properties
from meterstone.usage.period import BillingPeriod
from meterstone.usage.receipt import Reason
from support.memory_table import MemoryTable
from support.recovering import Stream, streaming, write
from support.scenario import ORGANIZATION, Batch, Scenario, Usage, World
from support.small_world import FLAT, START, subscription
from support.written import write_catalogue

EVENTS = Path(__file__).parents[2] / "events"
CALLS = Meter("calls", "calls", "", Aggregation.COUNT, "both")
SUM = Meter("sum", "sum", "", Aggregation.SUM, "both", "value")
SIZE = Meter("size", "size", "", Aggregation.SUM, "sized", "value")
FAX = Meter("fax", "fax", "", Aggregation.COUNT, "fax")
METERS = (CALLS, SUM, SIZE, FAX)
DUNLIN = replace(
    subscription(BillingPeriod.MONTHLY, [(CALLS, FLAT), (SUM, FLAT), (SIZE, FLAT)]),
    external_id="dunlin",
    customer_id="dunlin",
)
EXT = Subject.subscription("dunlin")


def event(ident: str, name: str, subject: Subject = EXT, after: int = DAY, **properties: object) -> Usage:
    found: Properties = properties  # type: ignore[assignment]
    return Usage(subject, Event(ident, name, START + after, found))


ALL = (
    event("counts", "both", value=1),
    event("half", "both", value="many"),
    event("comma", "sized", Subject.customer("dunlin"), value="1,000"),
    event("unpriced", "fax"),
    event("typo", "nothing"),
    event("early", "both", after=-1),
    event("nobody's", "both", Subject.subscription("nobody")),
    event("stranger's é#%", "both", Subject.customer("ström/é 🐦" + "x" * 240)),
)
LISTED = {
    "half": ("value", True),
    "comma": ("value", False),
    "typo": ("code", False),
    "early": ("time", False),
    "nobody's": ("subscription", False),
    "stranger's é#%": ("customer", False),
}

type List = Callable[..., tuple[int, Any]]


def scenario(*usage: Usage) -> Scenario:
    return Scenario(METERS, (DUNLIN,), (Batch(START + 10 * DAY, usage or ALL),), START + 10 * DAY)


@pytest.fixture
def world() -> tuple[World, Stream]:
    # Its pages have fewer items than a query asks for, as the service's may.
    world, stream = streaming(scenario(), MemoryTable(page_items=5))
    write(world, scenario())
    return world, stream


@pytest.fixture
def opened(world: tuple[World, Stream]) -> Callable[[type], Any]:
    store = EventStore(world[0].table)
    return lambda _: store


@pytest.fixture
def list_(world: tuple[World, Stream], load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> List:
    key, _ = create_key(world[0].table, ORGANIZATION.id, "test", world[1].clock.now)
    monkeypatch.setattr(clock, "now", lambda: world[1].clock.now)
    invoke = load("find_event")

    def list_(with_key: str = key, **query: str) -> tuple[int, Any]:
        asked = json.loads((EVENTS / "find_event.uncounted.json").read_text().replace("events-key", with_key))
        asked["multiValueQueryStringParameters"] = {name: [value] for name, value in query.items()}
        status, body, _ = invoke(asked)
        return status, body

    return list_


def deliver(stream: Stream, *usage: Usage) -> None:
    stream.post(usage or ALL)
    stream.deliver()


def pages(list_: List, **query: str) -> list[list[dict[str, Any]]]:
    """Follow the cursors to the end."""
    found = []
    cursor: dict[str, str] = {}
    while True:
        status, body = list_(**query, **cursor)
        assert status == 200, body
        found.append(body["events"])
        if body["next_cursor"] is None:
            return found
        cursor = {"cursor": body["next_cursor"]}


def listed(list_: List, **query: str) -> dict[str, dict[str, Any]]:
    every = [each for page in pages(list_, **query) for each in page]
    assert len({each["id"] for each in every}) == len(every)
    return {each["id"]: each for each in every}


def queries(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Remember how many items each query asks for."""
    asked: list[int] = []
    query_first = MemoryTable.query_first

    def counted(table: MemoryTable, pk: str, low: str, high: str, most: int, **more: bool) -> Any:
        asked.append(most)
        return query_first(table, pk, low, high, most, **more)

    monkeypatch.setattr(MemoryTable, "query_first", counted)
    return asked


def test_the_events_and_their_numbers(world: tuple[World, Stream], list_: List) -> None:
    deliver(world[1])
    status, body = list_()
    assert status == 200
    events = {each["id"]: each for each in body.pop("events")}
    assert {name: (each["reason"], each["counted_elsewhere"]) for name, each in events.items()} == LISTED
    assert body == {
        "counts": {"subscription": 1, "customer": 1, "time": 1, "code": 1, "value": 1},
        "counted_elsewhere": 1,
        "not_priced": 1,
        "next_cursor": None,
    }
    assert events["comma"] == {
        "id": "comma",
        "external_subscription_id": None,
        "external_customer_id": "dunlin",
        "code": "sized",
        "timestamp": "2023-01-16T09:27:43.123456Z",
        "since": "2023-01-25T09:27:43.123456Z",
        "reason": "value",
        "meters": [{"meter": "size", "property": "value", "detail": events["comma"]["meters"][0]["detail"]}],
        "counted_elsewhere": False,
    }
    assert events["comma"]["meters"][0]["detail"].startswith("property 'value': ")
    assert events["half"]["meters"][0]["meter"] == "sum"
    assert (events["typo"]["external_subscription_id"], events["typo"]["external_customer_id"]) == (
        "dunlin",
        None,
    )
    assert events["stranger's é#%"]["external_customer_id"].startswith("ström/é 🐦xxx")


@pytest.mark.parametrize("reason", ["subscription", "customer", "time", "code", "value", "line_item"])
@pytest.mark.parametrize("most", [1, 2, 100])
def test_one_reason_alone(
    world: tuple[World, Stream], list_: List, monkeypatch: pytest.MonkeyPatch, reason: str, most: int
) -> None:
    deliver(world[1])
    monkeypatch.setattr(listing, "MOST_EVENTS", most)
    wanted = {
        name for name, (why, _) in (LISTED | {"unpriced": ("line_item", False)}).items() if why == reason
    }
    assert listed(list_, reason=reason).keys() == wanted


@pytest.mark.parametrize("most", [1, 2, 3, 7])
@pytest.mark.parametrize("queries", [1, 2, 10])
def test_pages_list_each_event_once(
    world: tuple[World, Stream], list_: List, monkeypatch: pytest.MonkeyPatch, most: int, queries: int
) -> None:
    many = [event(f"e{number}", "fax" if number % 3 else "nothing") for number in range(30)]
    bad = [event(f"b{number}", "sized", value="x") for number in range(5)]
    deliver(world[1], *ALL, *many, *bad)
    monkeypatch.setattr(listing, "MOST_EVENTS", most)
    monkeypatch.setattr(listing, "MOST_QUERIES", queries)
    found = pages(list_)
    assert all(len(page) <= most for page in found)
    ids = Counter(each["id"] for page in found for each in page)
    assert ids == Counter([*LISTED, *(each.event.id for each in many[::3]), *(each.event.id for each in bad)])


def test_a_page_costs_no_more_than_its_queries_where_nothing_is_listed(
    world: tuple[World, Stream], list_: List, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An organization with a hundred events that are not priced pages through them by what a page may cost."""
    deliver(world[1], *(event(f"e{number}", "fax") for number in range(100)), event("z", "nothing"))
    monkeypatch.setattr(listing, "MOST_EVENTS", 10)
    monkeypatch.setattr(listing, "MOST_QUERIES", 3)
    asked = queries(monkeypatch)
    _, body = list_()
    assert asked == [10, 10, 10]
    assert body["events"] == []
    assert body["next_cursor"] is not None
    assert listed(list_).keys() == {"z"}


def test_faults_do_not_make_a_page_too_large(
    world: tuple[World, Stream], list_: List, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(world[1], *(event(f"e{number}", "sized", value="x") for number in range(6)))
    monkeypatch.setattr(listing, "_MOST_FAULTS", 150)
    found = pages(list_)
    assert len(found) > 2
    assert sum(map(len, found)) == 6


def test_an_event_that_counts_by_now_is_listed_no_more(world: tuple[World, Stream], list_: List) -> None:
    deliver(world[1])
    items = subscription(BillingPeriod.MONTHLY, [(FAX, FLAT)]).line_items
    priced = replace(DUNLIN, line_items=(*DUNLIN.line_items, *items))
    write_catalogue(world[0].table, ORGANIZATION, METERS, [priced], ())
    assert listed(list_, reason="line_item").keys() == {"unpriced"}
    replay(world[0].table, ORGANIZATION.id, world[1].clock)
    assert listed(list_, reason="line_item") == {}
    assert list_()[1]["not_priced"] == 0


def test_another_organization_has_its_own_lists(
    world: tuple[World, Stream], list_: List, monkeypatch: Any
) -> None:
    """A cursor names no organization: with another key it is a place in that organization's lists."""
    deliver(world[1])
    other = replace(ORGANIZATION, id="0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0aff")
    write_catalogue(world[0].table, other, (), [], ())
    key, _ = create_key(world[0].table, other.id, "other", 0)
    monkeypatch.setattr(listing, "MOST_EVENTS", 1)
    cursor = list_()[1]["next_cursor"]
    for query in ({}, {"cursor": cursor}):
        status, body = list_(key, **query)
        assert (status, body["events"], body["next_cursor"]) == (200, [], None)
        assert set(body["counts"].values()) == {0}


def elsewhere(cursor: str) -> str:
    """Give a cursor that can be read, to a place at which no page has ended."""
    place = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    changed = place.replace(b"dunlin", b"dunlio")
    assert changed != place
    return base64.urlsafe_b64encode(changed).decode().rstrip("=")


@pytest.mark.parametrize(
    "mangle",
    [
        pytest.param(lambda cursor: cursor[:-1], id="cut"),
        pytest.param(lambda cursor: cursor[1:], id="cut at the front"),
        pytest.param(lambda cursor: cursor[:20] + "A" + cursor[21:], id="a letter changed"),
        pytest.param(lambda cursor: cursor[:-6] + "AAAAAA", id="its end changed"),
        pytest.param(lambda cursor: cursor + "AAAA", id="longer"),
        pytest.param(lambda cursor: cursor.swapcase(), id="in another case"),
        pytest.param(elsewhere, id="a letter of its place changed"),
        pytest.param(lambda _: "", id="empty"),
        pytest.param(lambda _: "=", id="no base64"),
        pytest.param(lambda _: "é🐦", id="letters beyond ASCII"),
        pytest.param(lambda _: "A" * 100_000, id="huge"),
        pytest.param(lambda _: "\x00", id="a control character"),
    ],
)
def test_a_mangled_cursor_is_refused(
    world: tuple[World, Stream], list_: List, monkeypatch: pytest.MonkeyPatch, mangle: Callable[[str], str]
) -> None:
    deliver(world[1])
    monkeypatch.setattr(listing, "MOST_EVENTS", 2)
    cursor = list_()[1]["next_cursor"]
    assert list_(cursor=cursor)[0] == 200
    status, body = list_(cursor=mangle(cursor))
    assert (status, body["code"], body["details"].keys()) == (400, "validation_error", {"cursor"})


def test_a_cursor_goes_on_with_its_own_reason(
    world: tuple[World, Stream], list_: List, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(world[1])
    monkeypatch.setattr(listing, "MOST_EVENTS", 1)
    cursor = list_(reason="code")[1]["next_cursor"]
    assert list_(reason="code", cursor=cursor)[0] == 200
    assert list_(reason="time", cursor=cursor)[0] == 400
    assert list_(cursor=cursor)[0] == 400


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(("unreadable", " "), id="a list without events of this reason"),
        pytest.param(("unmatched", "\U0010ffff" * 18), id="above all keys"),
    ],
)
def test_a_place_that_no_page_ends_at_is_the_end(
    world: tuple[World, Stream], list_: List, monkeypatch: pytest.MonkeyPatch, after: tuple[str, str]
) -> None:
    """Whoever makes a cursor up, its hash too, gets an answer all the same: DynamoDB would refuse the range."""
    deliver(world[1])
    cursor = flexprice_uncounted._cursor(Reason.CODE, after)
    asked = queries(monkeypatch)
    status, body = list_(reason="code", cursor=cursor)
    assert (status, body["events"], body["next_cursor"]) == (200, [], None)
    assert asked == []


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("uncounted", 200),
        ("uncounted_reason", 200),
        ("uncounted_not_priced", 200),
        ("uncounted_bad_reason", 400),
        ("uncounted_bad_cursor", 400),
        ("uncounted_repeated", 400),
        ("uncounted_no_key", 401),
        ("uncounted_wrong_method", 405),
    ],
)
def test_every_file_of_events(
    world: tuple[World, Stream], load: Callable[[str], Any], case: str, status: int
) -> None:
    deliver(world[1])
    key, _ = create_key(world[0].table, ORGANIZATION.id, "test", 0)
    asked = (EVENTS / f"find_event.{case}.json").read_text().replace("events-key", key)
    found, body, headers = load("find_event")(json.loads(asked))
    assert found == status, body
    assert headers.get("Allow") == ("GET" if status == 405 else None)
    if status in (400, 405):
        assert body["http_status_code"] == status
