"""Flexprice's calls on the catalogue over a table in memory: what is counted, two writers, killed requests."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from meterstone import clock
from meterstone.catalogue.management import Management
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.usage.instant import DAY, MINUTE, SECOND, format_instant
from support.catalogue_calls import Call, Writer, invoker, races, with_plans_of_calls
from support.managed import NOW, count_event, subscription, table_of
from support.memory_table import Killed
from support.scenario import ORGANIZATION

SUBSCRIPTION: Mapping[str, Any] = {
    "customer_id": "c",
    "plan_id": "calls",
    "currency": "EUR",
    "billing_period": "MONTHLY",
}
BILLING = {"billing_period": "MONTHLY", "billing_cycle": "anniversary", "proration_behavior": "none"}
PATHS = (
    "customers/external/{external_id}/subscriptions",
    "customers/external/{external_id}",
    "customers/search",
    "customers/{id}",
    "customers",
    "subscriptions/search",
    "subscriptions/{id}/cancel",
    "subscriptions/{id}/change/execute",
    "subscriptions/{id}/change/v2/execute",
    "subscriptions/{id}",
    "subscriptions",
)


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[Management], Call]:
    """Give a function that calls the API over a catalogue."""

    def over(management: Management) -> Call:
        invoke, key = invoker(management, monkeypatch)

        def call(method: str, path: str, body: object = None, **query: str) -> tuple[int, Any]:
            resource, parameters = _route(path)
            return invoke(
                {
                    "httpMethod": method,
                    "resource": f"/v1/{resource}",
                    "path": f"/v1/{quote(path)}",
                    "headers": {"x-api-key": key},
                    "pathParameters": parameters,
                    "queryStringParameters": query,
                    "body": None if body is None else json.dumps(body),
                }
            )

        return call

    return over


def _route(path: str) -> tuple[str, dict[str, str]]:
    for resource in PATHS:
        found = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", resource), path)
        if found:
            return resource, found.groupdict()
    raise AssertionError(path)


@pytest.fixture
def catalogue() -> Management:
    return with_plans_of_calls()


@pytest.fixture
def call(catalogue: Management, calls: Callable[[Management], Call]) -> Call:
    return calls(catalogue)


def subscribe(call: Call, **fields: Any) -> tuple[int, Any]:
    return call("POST", "subscriptions", {**SUBSCRIPTION, **fields})


def made(call: Call, **fields: Any) -> str:
    """Subscribe from yesterday on, and return the id."""
    status, body = subscribe(call, **{"start_date": text(NOW - DAY), **fields})
    assert status == 201
    return str(body["id"])


def cancel(call: Call, subscription_id: str, kind: str, **fields: Any) -> tuple[int, Any]:
    return call("POST", f"subscriptions/{subscription_id}/cancel", {"cancellation_type": kind, **fields})


def change(call: Call, subscription_id: str, plan: str = "dear", **fields: Any) -> tuple[int, Any]:
    body = {"target_plan_id": plan, "billing_cadence": "RECURRING", **BILLING, **fields}
    return call("POST", f"subscriptions/{subscription_id}/change/execute", body)


def change_in_place(call: Call, subscription_id: str, plan: str = "dear", **fields: Any) -> tuple[int, Any]:
    body = {"target_plan_id": plan, "proration_behavior": "none", **fields}
    return call("POST", f"subscriptions/{subscription_id}/change/v2/execute", body)


def spans(call: Call) -> list[tuple[str, str, str | None]]:
    """List the subscriptions that were not called off, each with its plan, start and end."""
    status, body = call("GET", "customers/external/c/subscriptions")
    assert status == 200
    return [
        (each["plan_id"], each["start_date"], each.get("end_date"))
        for each in body["items"]
        if each["subscription_status"] != "cancelled" or "end_date" in each
    ]


def text(at: int) -> str:
    return format_instant(at)


def recounts(catalogue: Management) -> list[tuple[str, ...]]:
    """List the subscriptions of each recount, those of one recount together."""
    return [each.subscriptions for each in read_recounts(table_of(catalogue), ORGANIZATION.id)]


@pytest.mark.parametrize(
    ("kind", "fields", "end", "status"),
    [
        ("immediate", {}, NOW, "cancelled"),
        ("immediate", {"cancel_at": format_instant(NOW - MINUTE)}, NOW - MINUTE, "cancelled"),
        ("scheduled_date", {"cancel_at": format_instant(NOW + MINUTE)}, NOW + MINUTE, "active"),
    ],
    ids=["now", "in the past", "soon"],
)
def test_a_subscription_is_cancelled_whatever_is_counted(
    catalogue: Management, call: Call, kind: str, fields: dict[str, str], end: int, status: str
) -> None:
    name = made(call)
    count_event(catalogue, name, NOW + 6 * MINUTE)
    answer, body = cancel(call, name, kind, **fields)
    assert (answer, body["effective_date"], body["status"]) == (200, text(end), status)
    assert recounts(catalogue) == [(name,)]
    assert cancel(call, name, kind, **fields)[0] == 200
    assert len(recounts(catalogue)) == 1, "the same again changes nothing"


def test_a_subscription_in_a_past_that_is_counted_for_the_customer(catalogue: Management, call: Call) -> None:
    count_event(catalogue, made(call), NOW - MINUTE, by_customer=True)
    status, body = subscribe(call, start_date=text(NOW - 2 * DAY), plan_id="dear")
    assert (status, body["start_date"]) == (201, text(NOW - 2 * DAY))
    assert recounts(catalogue) == [(body["id"],)]


def test_a_subscription_from_now_on_begins_now_whatever_its_customer_used(
    catalogue: Management, call: Call
) -> None:
    count_event(catalogue, made(call), NOW + SECOND, by_customer=True)
    status, body = subscribe(call, plan_id="dear")
    assert (status, body["start_date"], body["subscription_status"]) == (201, text(NOW), "active")
    assert recounts(catalogue) == [(body["id"],)]
    assert subscribe(call, plan_id="dear") == (201, body)


@pytest.mark.parametrize(
    ("how", "concerned"), [(change, 2), (change_in_place, 1)], ids=["another", "in place"]
)
def test_a_change_now_is_now_whatever_is_counted(
    catalogue: Management, call: Call, how: Callable[..., tuple[int, Any]], concerned: int
) -> None:
    name = made(call)
    count_event(catalogue, name, NOW + SECOND)
    status, body = how(call, name)
    assert (status, body["is_scheduled"]) == (200, False)
    ((first, *others),) = recounts(catalogue)
    assert (first, len(others)) == (name, concerned - 1), "all that is concerned turns at once"
    assert how(call, name)[0] == 200
    assert len(recounts(catalogue)) == 1, "the same again changes nothing"


@pytest.mark.parametrize(
    ("minutes", "same"),
    [(0, True), (9.99, True), (10, False), (25, False)],
    ids=["at once", "just in time", "ten minutes later", "much later"],
)
@pytest.mark.parametrize(
    "fields", [{}, {"start_date": text(NOW - DAY)}], ids=["from now on", "from an instant"]
)
@pytest.mark.parametrize("first", [NOW, NOW + 599 * SECOND], ids=["early", "late"])
def test_a_create_without_a_key_is_the_same_for_ten_minutes(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    minutes: float,
    same: bool,  # noqa: FBT001 - a table's column
    fields: dict[str, str],
    first: int,
) -> None:
    monkeypatch.setattr(clock, "now", lambda: first)
    assert NOW % (10 * MINUTE) == 0
    before = subscribe(call, **fields)
    monkeypatch.setattr(clock, "now", lambda: first + round(minutes * MINUTE))
    # A subscription of the past whose usage others share is another customer's matter: nothing is counted here.
    after = subscribe(call, **fields)
    assert (before[0], after[0]) == (201, 201)
    assert (before[1]["id"] == after[1]["id"]) is same


def test_a_create_with_a_key_is_the_same_for_ever(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    _, before = subscribe(call, lookup_key="main")
    monkeypatch.setattr(clock, "now", lambda: NOW + 400 * DAY)
    assert subscribe(call, lookup_key="main")[1]["id"] == before["id"]


@pytest.mark.parametrize("fields", [{}, {"lookup_key": "main"}], ids=["without a key", "with a key"])
def test_one_create_twice_at_once(calls: Callable[[Management], Call], fields: dict[str, str]) -> None:
    for call, answers in races(
        calls, lambda _: None, lambda each: subscribe(each, **fields), lambda each: subscribe(each, **fields)
    ):
        assert [status for status, _ in answers] == [201, 201]
        assert answers[0] == answers[1]
        assert len(spans(call)) == 1


@pytest.mark.parametrize(
    "fields", [{}, {"start_date": text(NOW - DAY)}], ids=["from now on", "from an instant"]
)
@pytest.mark.parametrize(("first", "second"), [(-SECOND, SECOND), (SECOND, -SECOND)], ids=["before", "after"])
def test_one_create_twice_at_once_on_two_sides_of_ten_minutes(
    calls: Callable[[Management], Call],
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, str],
    first: int,
    second: int,
) -> None:
    """The clocks of two functions, or a request and its repetition, lie in different stretches of ten minutes."""

    def sent(seconds: int) -> Writer:
        def send(call: Call) -> tuple[int, Any]:
            other, at = clock.now, NOW + seconds
            monkeypatch.setattr(clock, "now", lambda: at)
            answer = subscribe(call, **fields)
            monkeypatch.setattr(clock, "now", other)
            return answer

        return send

    for call, answers in races(calls, lambda _: None, sent(first), sent(second)):
        assert [status for status, _ in answers] == [201, 201]
        assert answers[0][1]["id"] == answers[1][1]["id"]
        assert len(spans(call)) == 1


def test_two_creates_at_once_that_differ_in_nothing_that_names_them(
    calls: Callable[[Management], Call],
) -> None:
    """The first one holds: the second does not write over it."""
    for call, answers in races(
        calls,
        lambda _: None,
        lambda each: subscribe(each, metadata={"sent": "first"}),
        lambda each: subscribe(each, metadata={"sent": "second"}),
    ):
        assert [status for status, _ in answers] == [201, 201]
        assert answers[0] == answers[1]
        assert call("GET", f"subscriptions/{answers[0][1]['id']}")[1]["version"] == 1


def test_two_creates_at_once_with_one_key(calls: Callable[[Management], Call]) -> None:
    for call, answers in races(
        calls,
        lambda _: None,
        lambda each: subscribe(each, lookup_key="main"),
        lambda each: subscribe(each, lookup_key="main", plan_id="dear"),
    ):
        assert sorted(status for status, _ in answers) == [201, 400]
        (refused,) = (body for status, body in answers if status == 400)
        assert set(refused["details"]) == {"lookup_key"}
        assert len(spans(call)) == 1


def test_one_customer_twice_at_once(calls: Callable[[Management], Call]) -> None:
    make: Writer = lambda call: call("POST", "customers", {"external_id": "d", "name": "D"})  # noqa: E731
    for _, answers in races(calls, lambda _: None, make, make):
        assert [status for status, _ in answers] == [201, 201]
        assert answers[0] == answers[1]


def test_two_customers_at_once_with_one_id(calls: Callable[[Management], Call]) -> None:
    def make(name: str) -> Writer:
        return lambda call: call("POST", "customers", {"external_id": "d", "name": name})

    for call, answers in races(calls, lambda _: None, make("D"), make("E")):
        assert sorted(status for status, _ in answers) == [201, 409]
        (stored,) = (body for status, body in answers if status == 201)
        assert call("GET", "customers/d") == (200, stored)


def test_two_changes_of_one_customer_at_once_that_differ_in_their_fields(
    calls: Callable[[Management], Call],
) -> None:
    """Fields that a request does not have stay as they are: also what another request has just written."""

    def give(**fields: Any) -> Writer:
        return lambda call: call("PUT", "customers", fields, external_id="c")

    for call, answers in races(
        calls, lambda _: None, give(metadata={"a": "b"}), give(address_city="Bergen", name="C")
    ):
        assert [status for status, _ in answers] == [200, 200]
        _, found = call("GET", "customers/c")
        assert (found["metadata"], found["address_city"], found["name"]) == ({"a": "b"}, "Bergen", "C")


def only(call: Call) -> str:
    """Return the id of the first subscription."""
    _, body = call("GET", "customers/external/c/subscriptions")
    return str(body["items"][0]["id"])


@pytest.mark.parametrize("how", [change, change_in_place], ids=["another", "in place"])
@pytest.mark.parametrize("when", ["immediate", "end_of_period"])
def test_one_change_twice_at_once(
    calls: Callable[[Management], Call], how: Callable[..., tuple[int, Any]], when: str
) -> None:
    name = ""

    def prepare(call: Call) -> None:
        nonlocal name
        name = made(call)

    ask: Writer = lambda each: how(each, name, change_at=when)  # noqa: E731
    for call, answers in races(calls, prepare, ask, ask):
        assert [status for status, _ in answers] == [200, 200]
        assert answers[0] == answers[1]
        found = spans(call)
        assert len(found) == (2 if how is change else 1)
        assert found[0][2] == (found[1][1] if how is change else None)


def test_a_change_and_an_end_at_once(calls: Callable[[Management], Call]) -> None:
    """Whichever comes first, nothing overlaps, and each answer is true when it is given."""
    for call, answers in races(
        calls, made, lambda each: change(each, only(each)), lambda each: cancel(each, only(each), "immediate")
    ):
        assert {status for status, _ in answers} <= {200, 400, 409}
        found = spans(call)
        assert found[0] == ("calls", text(NOW - DAY), text(NOW))
        assert len(found) <= 2


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda each: subscribe(each, plan_id="dear"), id="a create"),
        pytest.param(
            lambda each: subscribe(each, plan_id="dear", lookup_key="main"), id="a create with a key"
        ),
        pytest.param(lambda each: cancel(each, only(each), "immediate"), id="a cancellation"),
        pytest.param(lambda each: change(each, only(each)), id="a change"),
        pytest.param(lambda each: change_in_place(each, only(each)), id="a change in place"),
        pytest.param(
            lambda each: each("POST", "customers", {"external_id": "d", "name": "D"}), id="a customer"
        ),
    ],
)
def test_what_is_killed_is_sent_again(calls: Callable[[Management], Call], ask: Writer) -> None:
    """Wherever it is killed, the same request again leaves what one that is not killed leaves."""
    number, through = 0, False
    expected = None
    while not through:
        management = with_plans_of_calls()
        call = calls(management)
        made(call)
        table = table_of(management)
        if expected is None:
            undisturbed = with_plans_of_calls()
            other = calls(undisturbed)
            made(other)
            expected = ask(other), spans(other)
        table.faults.before = table.writes + number
        try:
            through = ask(call)[0] in {200, 201}
        except Killed:
            through = False
        table.faults.before = None
        assert (ask(call), spans(call)) == expected
        number += 1
    assert number > 1


def test_filters_read_no_more_subscriptions_than_they_may(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        subscribe(call, lookup_key=f"s{number}")
    import flexprice_searching  # noqa: PLC0415 - it is found once the function is loaded

    monkeypatch.setattr(flexprice_searching, "MOST_FILTERED", 3)
    status, body = call("POST", "subscriptions/search", {"plan_id": "calls"})
    assert (status, body["code"], set(body["details"])) == (400, "invalid_operation", {"customer_id"})
    assert call("POST", "subscriptions/search", {"plan_id": "calls", "customer_id": "c"})[0] == 200
    assert call("POST", "subscriptions/search", {"limit": 2})[1]["pagination"]["total"] == 4
    monkeypatch.setattr(flexprice_searching, "MOST_FILTERED", 4)
    assert call("POST", "subscriptions/search", {"plan_id": "calls"})[1]["pagination"]["total"] == 4


def test_a_page_reads_its_own_records_and_all_ids(catalogue: Management, call: Call) -> None:
    for number in range(12):
        call("POST", "customers", {"external_id": f"c{number:02}", "name": "x"})
    table = table_of(catalogue)
    table.cost.reset()
    status, body = call("POST", "customers/search", {"limit": 3, "offset": 3})
    assert (status, body["pagination"]["total"]) == (200, 13)
    assert table.cost.items == 13 + 3


def test_a_successor_keeps_what_is_the_subscriptions_own(catalogue: Management, call: Call) -> None:
    catalogue.put(
        "price", "fax", {"currency": "EUR", "billing_model": "FLAT_FEE", "amount": 1, "meter_id": "seats"}
    )
    catalogue.put("plan", "committed", {"prices": ["call"], "commitment": {"amount": 5, "overage_factor": 2}})
    end = text(NOW + 900 * DAY)
    name = made(
        call,
        plan_id="committed",
        end_date=end,
        lookup_key="main",
        timezone="Asia/Tokyo",
        metadata={"deal": "7"},
        line_items=[{"price_id": "fax"}],
    )
    _, body = change(call, name)
    _, found = call("GET", f"subscriptions/{body['new_subscription']['id']}")
    assert (found["end_date"], found["timezone"], found["metadata"]) == (end, "Asia/Tokyo", {"deal": "7"})
    assert {item["price_id"] for item in found["line_items"]} == {"fax", "dear call"}
    assert (found["billing_anchor"], found["start_date"]) == (text(NOW - DAY), text(NOW))
    # A commitment that came with the old plan goes with it.
    assert "commitment_amount" not in found
    _, other = change(call, found["id"], "committed", billing_period="ANNUAL", metadata={"a": "b"})
    _, found = call("GET", f"subscriptions/{other['new_subscription']['id']}")
    assert (found["billing_anchor"], found["metadata"]) == (found["start_date"], {"a": "b"})
    assert found["commitment_amount"] == "5"


@pytest.mark.parametrize("when", ["immediate", "end_of_period"])
@pytest.mark.parametrize(
    "after",
    [
        lambda _, name, it: it.change_plan(name, "basic", NOW + 60 * DAY),
        lambda _, name, it: it.end(name, NOW + 90 * DAY),
        lambda call, name, _: cancel(call, name, "immediate"),
    ],
    ids=["changed again", "to end", "ended"],
)
def test_a_change_in_place_is_made_once_under_its_key(
    catalogue: Management, call: Call, when: str, after: Callable[[Call, str, Management], object]
) -> None:
    name = made(call, plan_id="calls")
    asked = {"change_at": when, "idempotency_key": "k"}
    status, first = change_in_place(call, name, **asked)
    assert status == 200
    after(call, name, catalogue)
    stored = subscription(catalogue, name)
    status, again = change_in_place(call, name, **asked)
    assert (status, subscription(catalogue, name)) == (200, stored)
    for field in ("effective_at", "from_plan", "to_plan"):
        assert again[field] == first[field]
    status, body = change_in_place(call, name, "basic", **asked)
    assert (status, set(body["details"])) == (400, {"idempotency_key"})


def test_one_change_in_place_twice_at_once_under_one_key(calls: Callable[[Management], Call]) -> None:
    """Between the two, the plan is changed back: the second request changes nothing any more."""

    def there(call: Call) -> tuple[int, Any]:
        return change_in_place(call, only(call), idempotency_key="k")

    def there_and_back(call: Call) -> tuple[int, Any]:
        answer = there(call)
        assert change_in_place(call, only(call), "basic", idempotency_key="back")[0] == 200
        return answer

    for call, answers in races(calls, made, there, there_and_back):
        assert answers[1][0] == 200
        _, found = call("GET", f"subscriptions/{only(call)}")
        assert found["plan_id"] == "basic"


def test_the_keys_of_changes_are_not_a_successor_s(catalogue: Management, call: Call) -> None:
    name = made(call, plan_id="calls", metadata={"a": "b"})
    change_in_place(call, name, idempotency_key="k")
    _, body = change(call, name, "basic")
    new = body["new_subscription"]["id"]
    assert subscription(catalogue, new).value.details == {"metadata": {"a": "b"}}


def test_a_change_in_place_that_is_planned_waits(call: Call) -> None:
    name = made(call)
    _, planned = change_in_place(call, name, change_at="end_of_period")
    status, body = change_in_place(call, name, "basic")
    assert (status, body["code"], set(body["details"])) == (400, "invalid_operation", {"target_plan_id"})
    assert planned["scheduled_at"] in body["message"]


@pytest.mark.parametrize(
    ("kind", "at"),
    [
        pytest.param("immediate", NOW - 2 * DAY, id="before the start"),
        pytest.param("scheduled_date", NOW - DAY, id="at the start"),
    ],
)
def test_an_end_is_after_the_start(call: Call, kind: str, at: int) -> None:
    status, body = cancel(call, made(call), kind, cancel_at=text(at))
    assert (status, body["code"], set(body["details"])) == (400, "invalid_operation", {"cancel_at"})


@pytest.mark.parametrize("kind", ["immediate", "scheduled_date"])
def test_what_has_not_begun_is_called_off(call: Call, kind: str) -> None:
    start = text(NOW + DAY)
    name = made(call, start_date=start)
    at = {"cancel_at": start} if kind == "scheduled_date" else {}
    status, body = cancel(call, name, kind, **at)
    assert (status, body["status"], body["effective_date"]) == (200, "cancelled", text(NOW))
    assert cancel(call, name, kind, **at) == (status, body)
    _, found = call("GET", f"subscriptions/{name}")
    assert (found["subscription_status"], found["cancelled_at"]) == ("cancelled", text(NOW))
    # One that begins then is another.
    assert subscribe(call, start_date=start)[1]["id"] != name


def test_an_end_is_not_put_off(call: Call) -> None:
    name = made(call, end_date=text(NOW + DAY))
    status, body = cancel(call, name, "scheduled_date", cancel_at=text(NOW + 2 * DAY))
    assert (status, body["code"], set(body["details"])) == (400, "invalid_operation", {"cancel_at"})
    assert cancel(call, name, "end_of_period")[1]["effective_date"] == text(NOW + DAY)
    status, body = change(call, name, change_at="end_of_period")
    assert (status, body["code"], set(body["details"])) == (400, "invalid_operation", {"change_at"})


def test_an_id_that_looks_like_another_one_encoded_is_another_record_s(
    catalogue: Management, call: Call
) -> None:
    """A client sends the id a/b as a%2Fb, and the gateway gives it as it was sent."""
    for name in ("a/b", "a%2Fb"):
        catalogue.put("customer", name, {})
    assert call("GET", "customers/a%2Fb")[1]["id"] == "a/b"
    assert [call("DELETE", "customers/a%2Fb")[0] for _ in range(2)] == [204, 404]
    assert catalogue.get("customer", "a%2Fb") is not None


def test_a_list_turned_round(call: Call) -> None:
    call("POST", "customers", {"external_id": "d", "name": "x"})
    for order, ids in (("asc", ["c", "d"]), ("desc", ["d", "c"])):
        _, body = call("POST", "customers/search", {"order": order})
        assert [each["id"] for each in body["items"]] == ids


def test_a_change_of_what_does_not_run(call: Call) -> None:
    later = made(call, start_date=text(NOW + DAY), lookup_key="later")
    over = made(call, plan_id="dear", lookup_key="over")
    cancel(call, over, "immediate")
    for name in (later, over):
        for how in (change, change_in_place):
            status, body = how(call, name, "basic")
            assert (status, body["code"], set(body["details"])) == (400, "invalid_operation", {"id"})
