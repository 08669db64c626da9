"""A plan that is put for all of its subscriptions, and the recount that follows."""

from typing import Any

import pytest

from meterstone import clock
from meterstone.store.catalogue.recounts import SETTLED
from meterstone.usage.instant import DAY, MINUTE, SECOND, format_instant, parse_instant
from support.functions import Remaining, load_over
from support.own_api import OF_C, THEIRS, Api

SOON_ENOUGH = "2093-03-01T00:00:00Z"
FOR_ALL = {"prices": ["dear call", "seat"], "applies_to": "all", "at": SOON_ENOUGH}


def test_a_plan_is_put_for_all_and_the_recount_shows_how_far_it_is(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put("subscriptions/s", OF_C)
    put = api.put("plans/basic", FOR_ALL)
    begun = put.body["recount"]
    before = api.ask("GET", f"recounts/{begun['id']}").body
    recount_usage = load_over("recount_usage", api.table, monkeypatch)
    # It is half a minute later.
    now = clock.now
    monkeypatch.setattr(recount_usage.clock, "now", lambda: now() + SETTLED)
    recount_usage.handler({}, Remaining())
    (after,) = api.ask("GET", "recounts").body["recounts"]

    assert put.status == 200
    assert put.record["prices"] == ["dear call", "seat"]
    assert "applies_to" not in put.record
    assert begun == {"id": begun["id"], "at": SOON_ENOUGH, "line_items": [], "events": 0}
    assert (before["done"], before["subscriptions"]) == (False, {"done": 0, "refused": 0})
    assert after == api.ask("GET", f"recounts/{begun['id']}").body
    assert (after["plan"], after["plan_version"], after["at"]) == ("basic", 2, SOON_ENOUGH)
    assert (after["done"], after["subscriptions"]) == (True, {"done": 1, "refused": 0})
    assert after["refusals"] == []
    (terms,) = [each.value for each in [api.management.get("subscription", "s")] if each is not None]
    assert [(each.version, each.since) for each in terms.plan] == [
        (1, None),
        (2, parse_instant(SOON_ENOUGH)),
    ]


def test_a_put_for_all_that_is_repeated_names_the_same_recount(api: Api) -> None:
    first, again = (api.put("plans/basic", FOR_ALL) for _ in range(2))

    assert again.body == first.body
    assert len(api.ask("GET", "recounts").body["recounts"]) == 1


@pytest.mark.parametrize(
    ("at", "since"),
    [
        pytest.param({}, 0, id="left out"),
        pytest.param({"at": "now"}, 0, id="now"),
        pytest.param({"at": format_instant(clock.now() - 3 * DAY)}, -3 * DAY, id="in the past"),
    ],
)
def test_a_plan_is_for_all_from_now_on_or_from_the_past(api: Api, at: dict[str, str], since: int) -> None:
    begun = api.put("plans/basic", {"prices": ["dear call"], "applies_to": "all", **at}).body["recount"]

    assert abs(parse_instant(begun["at"]) - clock.now() - since) < 10 * MINUTE


@pytest.mark.parametrize(
    ("more", "paths"),
    [
        pytest.param({"applies_to": "some"}, {"applies_to"}, id="some"),
        pytest.param({"applies_to": None}, {"applies_to"}, id="null"),
        pytest.param({"applies_to": "all", "at": "soon"}, {"at"}, id="no instant"),
        pytest.param({"at": SOON_ENOUGH}, {"applies_to"}, id="an instant alone"),
        pytest.param(
            {"applies_to": "all", "prices": ["none"]}, {"prices[0]"}, id="a price that is not there"
        ),
    ],
)
def test_what_a_plan_for_all_cannot_say(api: Api, more: dict[str, Any], paths: set[str]) -> None:
    stored = api.stored()
    refused = api.put("plans/basic", {"prices": ["dear call"], **more})

    assert (refused.status, set(refused.faults)) == (422, paths)
    assert api.stored() == stored


def test_a_plan_for_all_is_put_under_a_condition(api: Api) -> None:
    assert api.put("plans/basic", FOR_ALL, if_match='"7"').status == 412
    assert api.ask("GET", "recounts").body == {"recounts": [], "next_cursor": None}


def test_no_other_record_is_for_all(api: Api) -> None:
    assert api.put("customers/d", {"applies_to": "all"}).faults.keys() == {"applies_to"}


def test_recounts_are_listed_page_by_page_the_youngest_first(api: Api) -> None:
    for number in range(3):
        api.put("plans/basic", FOR_ALL | {"at": f"2093-03-0{number + 1}T00:00:00Z"})
    first = api.ask("GET", "recounts?limit=2").body
    second = api.ask("GET", f"recounts?limit=2&cursor={first['next_cursor']}").body
    ids = [each["id"] for each in (*first["recounts"], *second["recounts"])]

    assert len(set(ids)) == 3
    assert ids == sorted(ids, reverse=True)
    assert second["next_cursor"] is None


def test_another_organization_s_recount_is_not_there(api: Api) -> None:
    begun = api.put("plans/basic", FOR_ALL).body["recount"]

    assert api.ask("GET", f"recounts/{begun['id']}", whose=THEIRS.id).status == 404
    assert api.ask("GET", "recounts/none").status == 404
    assert api.ask("PUT", "recounts/none", {}).status == 405


def test_a_recount_that_was_just_made_is_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.put("subscriptions/s", OF_C)
    begun = api.put("plans/basic", FOR_ALL).body["recount"]
    recount_usage = load_over("recount_usage", api.table, monkeypatch)
    slept: list[float] = []
    now = clock.now
    monkeypatch.setattr(recount_usage.time, "sleep", slept.append)
    monkeypatch.setattr(recount_usage.clock, "now", lambda: now() + round(sum(slept) * SECOND))
    (made,) = [item for key, item in api.table.items().items() if key.sk == begun["id"]]
    recount_usage.handler({"Records": [{"eventName": "INSERT", "dynamodb": {"NewImage": made}}]}, Remaining())

    assert len(slept) == 1
    assert slept[0] == pytest.approx(31, abs=2)
    assert api.ask("GET", f"recounts/{begun['id']}").body["done"]


def test_a_call_whose_time_is_nearly_up_leaves_the_recount_to_the_next(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.put("subscriptions/s", OF_C)
    begun = api.put("plans/basic", FOR_ALL).body["recount"]
    recount_usage = load_over("recount_usage", api.table, monkeypatch)
    now = clock.now
    monkeypatch.setattr(recount_usage.clock, "now", lambda: now() + SETTLED)
    monkeypatch.setattr(Remaining, "get_remaining_time_in_millis", lambda _: 59_000)
    recount_usage.handler({}, Remaining())

    assert not api.ask("GET", f"recounts/{begun['id']}").body["done"]
