"""Records changed and deleted over the own routes: what others need, and what is counted, stays."""

from typing import Any

import pytest

from meterstone import clock
from meterstone.catalogue.attempt import LONGEST
from meterstone.catalogue.customers import MOST_MOVES
from meterstone.usage.arrival import AHEAD
from meterstone.usage.instant import DAY, format_instant, parse_instant
from support.functions import Remaining, load_over
from support.managed import PRICE
from support.own_api import END, LATER, OF_C, Api


def test_a_subscription_is_ended_and_changed(api: Api) -> None:
    made = api.put("subscriptions/s", OF_C)
    ended = api.ask("PATCH", "subscriptions/s", {"end": END})
    assert (ended.status, ended.record["end"]) == (200, format_instant(parse_instant(END)))
    assert api.put("subscriptions/s", OF_C, If_Match=made.headers["etag"]).status == 412
    assert api.ask("GET", "subscriptions/s").headers["etag"] == ended.headers["etag"]
    other = api.ask("PATCH", "subscriptions/s", {"plan": "pro", "at": LATER})
    assert [each["value"] for each in other.record["plan"]] == ["basic", "pro"]
    assert other.record["plan"][1]["since"] == format_instant(parse_instant(LATER))
    bound = api.ask("PATCH", "subscriptions/s", {"commitment": {"amount": "10.50", "overage_factor": 2}})
    assert bound.record["commitment"]["amount"] == "10.5"
    free = api.ask("PATCH", "subscriptions/s", {"commitment": None})
    assert free.record["commitment"] is None
    assert free.record == api.ask("GET", "subscriptions/s").body
    assert free.record["version"] == 5


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, {""}),
        ({"end": END, "plan": "pro"}, {""}),
        ({"plan": "pro", "commitment": None}, {""}),
        ({"at": LATER}, {""}),
        ({"end": END, "at": LATER}, {"at"}),
        ({"end": "tomorrow"}, {"end"}),
        ({"end": None}, {"end"}),
        ({"end": 7}, {"end"}),
        ({"plan": 7}, {"plan"}),
        ({"plan": "none", "at": LATER}, {"plan"}),
        ({"plan": "pro", "at": "2093"}, {"at"}),
        ({"commitment": {}}, {"commitment.amount", "commitment.overage_factor"}),
        ({"commitment": 7}, {"commitment"}),
        ({"commitment": {"amount": -1, "overage_factor": 1}}, {"commitment.amount"}),
        ({"end": END, "colour": "red"}, {"colour"}),
    ],
)
def test_a_wrong_change_is_refused_and_nothing_is_stored(
    api: Api, body: dict[str, Any], faults: set[str]
) -> None:
    api.put("subscriptions/s", OF_C)
    stored = api.stored()
    answer = api.ask("PATCH", "subscriptions/s", body)
    assert (answer.status, set(answer.faults)) == (422, faults)
    assert api.stored() == stored


def test_a_country_of_the_past_is_followed_by_a_recount(used: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    since = format_instant(clock.now() - 2 * DAY)

    record = {"country": [{"value": "NO"}, {"value": "SE", "since": since}]}

    answer = used.put("customers/c", record)

    begun = answer.body["recount"]
    assert (answer.status, begun) == (200, {"id": begun["id"], "at": since, "line_items": [], "events": 0})
    before = used.ask("GET", f"recounts/{begun['id']}").body
    assert (before["kind"], before["customer"], before["done"]) == ("move", "c", False)
    again = used.put("customers/c", record)
    assert again.body["recount"] == begun, "it is under way"
    recounting = load_over("recount_usage", used.table, monkeypatch)
    recounting.handler({}, Remaining())
    after = used.ask("GET", f"recounts/{begun['id']}").body
    assert (after["done"], after["subscriptions"]) == (True, {"done": 1, "refused": 0})
    assert "recount" not in used.put("customers/c", record).body


def test_another_name_of_a_plan_is_followed_by_a_recount(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    since = format_instant(clock.now() - 10 * DAY)
    record = OF_C | {"start": since, "line_items": [{"price": "call"}]}
    api.put("subscriptions/s", record)
    api.use()

    answer = api.put("subscriptions/s", record | {"plan": "pro"})

    begun = answer.body["recount"]
    assert (answer.status, begun) == (200, {"id": begun["id"], "at": since, "line_items": [], "events": 0})
    before = api.ask("GET", f"recounts/{begun['id']}").body
    assert (before["kind"], before["subscription"], before["done"]) == ("move", "s", False)
    assert "customer" not in before
    assert api.put("subscriptions/s", record | {"plan": "pro"}).body["recount"] == begun, "it is under way"
    recounting = load_over("recount_usage", api.table, monkeypatch)
    recounting.handler({}, Remaining())
    after = api.ask("GET", f"recounts/{begun['id']}").body
    assert (after["done"], after["subscriptions"]) == (True, {"done": 1, "refused": 0})
    assert "recount" not in api.put("subscriptions/s", record | {"plan": "pro"}).body


def test_so_many_changes_of_the_past_wait_and_no_more(used: Api) -> None:
    answers = [
        used.put("customers/c", {"country": [{"value": country, "since": "2020-01-01T00:00:00Z"}]})
        for country in ["SE", "NO"] * (MOST_MOVES // 2) + ["SE"]
    ]
    assert [each.status for each in answers] == [200] * MOST_MOVES + [409]
    assert used.ask("DELETE", "subscriptions/s").status == 409


@pytest.mark.parametrize(
    ("method", "path", "body", "path_at"),
    [
        ("DELETE", "customers/c", None, ""),
        ("DELETE", "plans/basic", None, ""),
        ("DELETE", "prices/call", None, ""),
        ("PUT", "prices/call", PRICE | {"amount": 7}, "amount"),
        ("PUT", "meters/calls", {"code": "calls", "aggregation": "SUM", "field": "n"}, "aggregation"),
    ],
)
def test_what_others_need_stays_as_it_is(
    api: Api, method: str, path: str, body: object, path_at: str
) -> None:
    api.put("subscriptions/s", OF_C)
    stored = api.stored()
    answer = api.ask(method, path, body)
    assert (answer.status, answer.body["earliest"], *answer.faults) == (409, None, path_at), answer.body
    assert api.stored() == stored


def test_an_external_id_is_one_subscription_s_at_a_time(api: Api) -> None:
    api.put("subscriptions/s", OF_C | {"external_id": "e", "end": END})
    stored = api.stored()
    refused = api.put("subscriptions/t", OF_C | {"external_id": "e"})
    assert refused.status in (409, 422)
    assert api.stored() == stored
    assert api.put("subscriptions/t", OF_C | {"external_id": "e", "start": END}).status == 201


def test_a_meter_is_deleted_in_five_minutes(api: Api) -> None:
    before = clock.now()
    gone = api.ask("DELETE", "meters/seats")
    assert gone.status == 200
    # What a put may take until it writes comes on top.
    assert before + AHEAD <= parse_instant(gone.record["deleted_at"]) <= clock.now() + AHEAD + LONGEST
    assert api.ask("GET", "meters/seats").body == gone.record
