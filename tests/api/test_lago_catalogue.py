"""Lago's calls on the catalogue over a table in memory: what is counted, two writers at once, killed requests."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from meterstone import clock
from meterstone.catalogue.management import Management
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.dynamodb.table import Table
from meterstone.usage.instant import DAY, MINUTE, SECOND, format_instant
from support.catalogue_calls import Call, Writer, invoker, races, with_plans_of_calls
from support.managed import NOW, count_event, managed, table_of
from support.memory_table import Killed
from support.scenario import ORGANIZATION

EVERY = {"status[]": ["pending", "active", "terminated", "canceled"]}


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[Management], Call]:
    """Give a function that calls the API over a catalogue."""

    def over(management: Management) -> Call:
        invoke, key = invoker(management, monkeypatch)

        def call(
            method: str, path: str, body: object = None, query: dict[str, list[str]] | None = None
        ) -> tuple[int, Any]:
            kind, _, name = path.partition("/")
            part = "external_customer_id" if kind == "customers" else "external_id"
            resource = f"/api/v1/{kind}" + (f"/{{{part}}}" if name else "")
            return invoke(
                {
                    "httpMethod": method,
                    "resource": resource,
                    "path": f"/api/v1/{kind}/{quote(name, safe='')}",
                    "headers": {"Authorization": f"Bearer {key}"},
                    "pathParameters": {part: name},
                    "multiValueQueryStringParameters": query,
                    "body": None if body is None else json.dumps(body),
                }
            )

        return call

    return over


@pytest.fixture
def catalogue() -> Management:
    return with_plans_of_calls()


@pytest.fixture
def call(catalogue: Management, calls: Callable[[Management], Call]) -> Call:
    return calls(catalogue)


def subscribe(call: Call, plan: str = "basic", customer: str = "c", **fields: Any) -> tuple[int, Any]:
    given = {"external_id": "s", "external_customer_id": customer, "plan_code": plan}
    return call("POST", "subscriptions", {"subscription": given | fields})


def spans(call: Call) -> list[tuple[str, str, str | None]]:
    """List the subscriptions that have a time, each with its plan, start and end."""
    status, body = call("GET", "subscriptions", query=EVERY | {"external_id": ["s"]})
    assert status == 200
    return [
        (each["plan_code"], each["started_at"] or each["subscription_at"], each["ending_at"])
        for each in body["subscriptions"]
        if each["status"] != "canceled"
    ]


def text(at: int) -> str:
    return format_instant(at)


def recounts(catalogue: Management) -> list[tuple[str, ...]]:
    """List the subscriptions of each recount, those of one recount together."""
    return [each.subscriptions for each in read_recounts(table_of(catalogue), ORGANIZATION.id)]


def test_a_subscription_ends_now_whatever_is_counted(catalogue: Management, call: Call) -> None:
    subscribe(call, "calls", subscription_at=text(NOW - DAY))
    count_event(catalogue, "s", NOW + MINUTE)
    status, body = call("DELETE", "subscriptions/s")
    assert (status, body["subscription"]["ending_at"]) == (200, text(NOW))
    assert body["subscription"]["status"] == "terminated"
    assert recounts(catalogue) == [("s",)]


def test_an_end_in_the_past_is_taken_and_counted_anew(catalogue: Management, call: Call) -> None:
    subscribe(call, subscription_at=text(NOW - DAY))
    count_event(catalogue, "s", NOW + 6 * MINUTE)
    change = {"subscription": {"ending_at": text(NOW - MINUTE)}}
    status, body = call("PUT", "subscriptions/s", change)
    assert (status, body["subscription"]["status"]) == (200, "terminated")
    assert spans(call) == [("basic", text(NOW - DAY), text(NOW - MINUTE))]
    assert recounts(catalogue) == [("s",)]


@pytest.mark.parametrize("turn", [-MINUTE, MINUTE], ids=["in the past", "ahead"])
def test_a_change_of_plans_is_counted_anew_from_its_instant_on(
    catalogue: Management, call: Call, turn: int
) -> None:
    subscribe(call, subscription_at=text(NOW - DAY))
    count_event(catalogue, "s", NOW + 6 * MINUTE)
    status, body = subscribe(call, "pro", subscription_at=text(NOW + turn))
    assert (status, body["subscription"]["status"]) == (200, "active" if turn < 0 else "pending")
    assert spans(call) == [
        ("basic", text(NOW - DAY), text(NOW + turn)),
        ("pro", text(NOW + turn), None),
    ]
    ((old, new),) = recounts(catalogue)
    assert old == "s"
    assert new == body["subscription"]["meterstone"]["id"], "both turn at once"


def test_a_subscription_in_a_past_that_is_counted_for_the_customer(catalogue: Management, call: Call) -> None:
    subscribe(call, subscription_at=text(NOW - DAY))
    count_event(catalogue, "s", NOW - MINUTE, by_customer=True)
    status, body = subscribe(call, external_id="other", subscription_at=text(NOW - 2 * DAY))
    assert (status, body["subscription"]["status"]) == (200, "active")
    assert body["subscription"]["subscription_at"] == text(NOW - 2 * DAY)
    assert recounts(catalogue) == [(body["subscription"]["meterstone"]["id"],)]


def test_a_change_of_plans_now_is_now(catalogue: Management, call: Call) -> None:
    subscribe(call, "calls", subscription_at=text(NOW - DAY))
    count_event(catalogue, "s", NOW + SECOND)
    status, body = subscribe(call, "dear")
    assert (status, body["subscription"]["plan_code"]) == (200, "dear")
    assert spans(call) == [("calls", text(NOW - DAY), text(NOW)), ("dear", text(NOW), None)]
    assert len(recounts(catalogue)) == 1
    assert subscribe(call, "dear") == (status, body), "the same again changes nothing"
    assert len(recounts(catalogue)) == 1


def test_another_change_of_plans_waits_until_the_first_is_counted(catalogue: Management, call: Call) -> None:
    subscribe(call, "calls", subscription_at=text(NOW - DAY))
    count_event(catalogue, "s", NOW + SECOND)
    subscribe(call, "dear")
    status, body = subscribe(call, "basic")
    assert (status, body["code"]) == (409, "conflict")
    assert "try again in a minute" in body["reasons"]["base"]
    later = {"subscription": {"ending_at": text(NOW + DAY)}}
    status, body = call("PUT", "subscriptions/s", later)
    assert (status, body["subscription"]["ending_at"]) == (200, text(NOW + DAY)), "an end waits instead"


def test_a_country_of_the_past_is_taken_away(catalogue: Management, call: Call) -> None:
    catalogue.put("customer", "d", {"country": [{"value": "NO", "since": text(NOW - DAY)}]})
    subscribe(call, "calls", customer="d", subscription_at=text(NOW - DAY))
    count_event(catalogue, "s", NOW - MINUTE)
    status, body = call("POST", "customers", {"customer": {"external_id": "d", "country": None}})
    assert (status, body["customer"]["country"]) == (200, None)


def test_an_id_of_another_external_id_is_not_taken(catalogue: Management, call: Call) -> None:
    catalogue.put(
        "subscription", "s", {"external_id": "x", "customer": "c", "plan": "basic", "currency": "EUR"}
    )
    status, body = subscribe(call)
    assert status == 200
    assert len(body["subscription"]["meterstone"]["id"]) == 36
    stored = catalogue.get("subscription", "s")
    assert stored is not None
    assert stored.value.external_id == "x"


def test_two_customers_at_once_with_one_external_id(calls: Callable[[Management], Call]) -> None:
    def prepare(call: Call) -> None:
        call("POST", "customers", {"customer": {"external_id": "d"}})

    for call, answers in races(calls, prepare, subscribe, lambda call: subscribe(call, customer="d")):
        assert sorted(status for status, _ in answers) == [200, 422]
        (refused,) = (body for status, body in answers if status == 422)
        assert refused["error_details"] == {"external_id": ["value_already_exist"]}
        assert len(spans(call)) == 1
        (whose,) = (body["subscription"]["external_customer_id"] for status, body in answers if status == 200)
        _, body = call("GET", "subscriptions/s")
        assert body["subscription"]["external_customer_id"] == whose


def test_two_changes_of_one_customer_at_once_that_differ_in_their_fields(
    calls: Callable[[Management], Call],
) -> None:
    """Fields that a request does not have stay as they are: also what another request has just written."""

    def give(**fields: str) -> Callable[[Call], tuple[int, Any]]:
        return lambda call: call("POST", "customers", {"customer": {"external_id": "d"} | fields})

    for call, answers in races(calls, give(name="D"), give(email="d@example.com"), give(city="Bergen")):
        assert [status for status, _ in answers] == [200, 200]
        _, body = call("GET", "customers/d")
        found = {name: body["customer"][name] for name in ("name", "email", "city")}
        assert found == {"name": "D", "email": "d@example.com", "city": "Bergen"}


def test_one_request_twice_at_once(calls: Callable[[Management], Call]) -> None:
    for call, answers in races(calls, lambda _: None, subscribe, subscribe):
        assert [status for status, _ in answers] == [200, 200]
        assert answers[0][1]["subscription"]["lago_id"] == answers[1][1]["subscription"]["lago_id"]
        assert len(spans(call)) == 1


def begun_yesterday(call: Call) -> None:
    subscribe(call, subscription_at=text(NOW - DAY))


def test_one_change_of_plans_twice_at_once(calls: Callable[[Management], Call]) -> None:
    upgrade: Writer = lambda call: subscribe(call, "pro")  # noqa: E731 - one of two
    for call, answers in races(calls, begun_yesterday, upgrade, upgrade):
        assert [status for status, _ in answers] == [200, 200]
        assert spans(call) == [("basic", text(NOW - DAY), text(NOW)), ("pro", text(NOW), None)]


def test_a_change_of_plans_and_an_end_at_once(calls: Callable[[Management], Call]) -> None:
    """Whichever comes first, nothing overlaps, and each answer is true when it is given."""
    for call, answers in races(
        calls,
        begun_yesterday,
        lambda each: subscribe(each, "pro"),
        lambda each: each("DELETE", "subscriptions/s"),
    ):
        assert {status for status, _ in answers} <= {200, 409}
        found = spans(call)
        assert found[0] == ("basic", text(NOW - DAY), text(NOW))
        assert len(found) <= 2


def test_a_termination_that_is_killed_is_sent_again(calls: Callable[[Management], Call]) -> None:
    """Wherever it is killed, the same request again ends what runs and calls off what was to follow."""
    number, through = 0, False
    while not through:
        management = managed(clock=lambda: NOW)
        call = calls(management)
        begun_yesterday(call)
        subscribe(call, "pro", subscription_at=text(NOW + DAY))
        table = table_of(management)
        table.faults.before = table.writes + number
        try:
            through = call("DELETE", "subscriptions/s")[0] == 200
        except Killed:
            through = False
        table.faults.before = None
        assert call("DELETE", "subscriptions/s")[0] in {200, 404}
        assert spans(call) == [("basic", text(NOW - DAY), text(NOW))]
        number += 1
    assert number > 2


@pytest.mark.parametrize("end", [None, NOW + 9 * DAY], ids=["for ever", "until its own end"])
def test_a_change_of_plans_that_is_called_off_is_whole_wherever_it_is_killed(
    calls: Callable[[Management], Call], end: int | None
) -> None:
    """Either the change is still to come, or the running subscription goes on as it did before."""
    number, through = 0, False
    ending = None if end is None else text(end)
    states = {
        ("basic", text(NOW - DAY), text(NOW + DAY)): [("pro", text(NOW + DAY), ending)],
        ("basic", text(NOW - DAY), ending): [],
    }
    seen = set()
    while not through:
        management = managed(clock=lambda: NOW)
        call = calls(management)
        subscribe(call, subscription_at=text(NOW - DAY), ending_at=ending)
        subscribe(call, "pro", subscription_at=text(NOW + DAY))
        table = table_of(management)
        table.faults.before = table.writes + number
        try:
            through = call("DELETE", "subscriptions/s", query={"status": ["pending"]})[0] == 200
        except Killed:
            through = False
        table.faults.before = None
        first, *others = spans(call)
        assert states[first] == others, number
        seen.add(first)
        assert call("DELETE", "subscriptions/s", query={"status": ["pending"]})[0] in {200, 404}
        assert spans(call) == [("basic", text(NOW - DAY), ending)]
        number += 1
    assert seen == states.keys()


def test_filters_read_no_more_subscriptions_than_they_may(
    catalogue: Management, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        subscribe(call, external_id=f"s{number}")
    import lago_listing  # noqa: PLC0415 - it is found once the function is loaded

    monkeypatch.setattr(lago_listing, "MOST_FILTERED", 3)
    status, body = call("GET", "subscriptions")
    assert (status, body["error_details"]) == (422, {"status": ["value_is_out_of_range"]})
    status, body = call("GET", "subscriptions", query=EVERY | {"per_page": ["2"], "page": ["2"]})
    assert [each["external_id"] for each in body["subscriptions"]] == ["s2", "s3"]
    assert body["meta"]["total_count"] == 4
    assert call("GET", "subscriptions", query={"external_customer_id": ["c"]})[0] == 200
    monkeypatch.setattr(lago_listing, "MOST_FILTERED", 4)
    assert call("GET", "subscriptions")[1]["meta"]["total_count"] == 4


def test_a_page_reads_its_own_records_and_all_ids(catalogue: Management, call: Call) -> None:
    table: Table = table_of(catalogue)
    for number in range(12):
        call("POST", "customers", {"customer": {"external_id": f"c{number:02}"}})
    table.cost.reset()
    status, body = call("GET", "customers", query={"per_page": ["3"], "page": ["2"]})
    assert (status, body["meta"]["total_count"]) == (200, 13)
    assert table.cost.items == 13 + 3


def test_a_subscription_is_billed_in_its_plan_s_periods(catalogue: Management, call: Call) -> None:
    of_plan = {"prices": ["call"], "billing_period": "MONTHLY", "billing_period_count": 2}
    catalogue.put("plan", "every other month", of_plan)
    for plan in ("every other month", "calls"):
        status, _ = subscribe(call, plan, subscription_at=text(NOW - DAY if plan != "calls" else NOW + DAY))
        assert status == 200
    found = call("GET", "subscriptions", query=EVERY | {"external_id": ["s"]})[1]["subscriptions"]
    terms = [catalogue.get("subscription", each["meterstone"]["id"]) for each in found]
    # A plan that says no period leaves the one before.
    assert [each.value.billing_period_count for each in terms if each is not None] == [2, 2]


def test_a_plan_from_after_the_end_on(call: Call) -> None:
    end, start = text(NOW + DAY), text(NOW + 2 * DAY)
    subscribe(call, "calls", subscription_at=text(NOW - DAY), ending_at=end)
    status, body = subscribe(call, "dear", subscription_at=start)
    assert (status, body["subscription"]["previous_plan_code"]) == (200, None)
    assert spans(call) == [("calls", text(NOW - DAY), end), ("dear", start, None)]
    # Called off, it leaves the end that was agreed on.
    assert call("DELETE", "subscriptions/s", query={"status": ["pending"]})[0] == 200
    assert spans(call) == [("calls", text(NOW - DAY), end)]


def test_a_change_of_plans_that_is_asked_for_at_another_time(call: Call) -> None:
    """Only the same request again is answered with what is there."""
    first, second = text(NOW + DAY), text(NOW + 2 * DAY)
    subscribe(call, "calls", subscription_at=text(NOW - DAY))
    assert subscribe(call, "dear", subscription_at=first)[0] == 200
    assert subscribe(call, "dear", subscription_at=first)[0] == 200
    status, body = subscribe(call, "dear", subscription_at=second)
    assert (status, body["error_details"]) == (422, {"external_id": ["value_already_exist"]})
    assert spans(call) == [("calls", text(NOW - DAY), first), ("dear", first, None)]


def test_a_pending_subscription_to_the_same_plan_begins_at_another_time(call: Call) -> None:
    subscribe(call, "calls", subscription_at=text(NOW + DAY))
    status, body = subscribe(call, "calls", subscription_at=text(NOW + 2 * DAY))
    assert (status, body["subscription"]["subscription_at"]) == (200, text(NOW + 2 * DAY))
    assert subscribe(call, "calls")[1]["subscription"] == body["subscription"]


def test_an_end_that_was_moved_meanwhile_stays(call: Call) -> None:
    """A change of plans is called off after the running subscription was given an end of its own."""
    subscribe(call, "calls", subscription_at=text(NOW - DAY))
    subscribe(call, "dear", subscription_at=text(NOW + 2 * DAY))
    sooner = text(NOW + DAY)
    assert call("PUT", "subscriptions/s", {"subscription": {"ending_at": sooner}})[0] == 200
    assert call("DELETE", "subscriptions/s", query={"status": ["pending"]})[0] == 200
    assert spans(call) == [("calls", text(NOW - DAY), sooner)]


def test_an_id_that_looks_like_another_one_encoded_is_another_record_s(
    catalogue: Management, call: Call, calls: Callable[[Management], Call]
) -> None:
    """A client sends the id a/b as a%2Fb, and the gateway gives it as it was sent."""
    for name in ("a/b", "a%2Fb"):
        catalogue.put("customer", name, {"name": name})
        subscribe(call, "calls", name, external_id=f"sub of {name}", subscription_at=text(NOW - DAY))
        catalogue.put("customer", f"{name} alone", {})
    sent = quote("a/b", safe="")
    assert call("GET", f"customers/{sent}")[1]["customer"]["external_id"] == "a/b"
    assert (
        call("DELETE", f"subscriptions/sub%20of%20{sent}")[1]["subscription"]["external_id"] == "sub of a/b"
    )
    assert call("DELETE", f"customers/{sent}%20alone")[1]["customer"]["external_id"] == "a/b alone"
    assert call("DELETE", f"customers/{sent}%20alone")[0] == 404
    assert catalogue.get("customer", "a%2Fb alone") is not None
    assert catalogue.end("sub of a%2Fb", None).stored.value.end is not None


def test_metrics_that_are_deleted_are_not_shown(catalogue: Management, call: Call) -> None:
    catalogue.put("meter", "old", {"code": "old", "aggregation": "COUNT", "deleted_at": text(NOW)})
    catalogue.put("meter", "soon", {"code": "soon", "aggregation": "COUNT", "deleted_at": text(NOW + 1)})
    _, body = call("GET", "billable_metrics")
    assert [each["code"] for each in body["billable_metrics"]] == ["calls", "seats", "soon"]
    assert body["meta"]["total_count"] == 3


def test_what_was_moved_is_listed_where_it_is_now(catalogue: Management, call: Call) -> None:
    """The entries by which a subscription is found may outlive what they say."""
    catalogue.put("customer", "d", {})
    subscribe(call, "calls", subscription_at=text(NOW + DAY))
    catalogue.merge("subscription", "s", {"customer": "d", "external_id": "t"})
    for name, value, expected in (
        ("external_customer_id", "c", []),
        ("external_customer_id", "d", ["t"]),
        ("external_id", "s", []),
        ("external_id", "t", ["t"]),
    ):
        _, body = call("GET", "subscriptions", query=EVERY | {name: [value]})
        assert [each["external_id"] for each in body["subscriptions"]] == expected
