"""Changes that move counted usage, over the own routes: which recount is named, and how far it is."""

from typing import Any
from unittest import mock

import pytest

from meterstone import clock
from meterstone.catalogue import anew
from meterstone.store.catalogue.recounts import READY, Recount
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import StoreUnavailableError
from meterstone.store.events.unmatched import list_unmatched
from meterstone.store.operations.recount import Recounting
from meterstone.usage.instant import DAY, SECOND, format_instant, key_instant
from support.functions import Remaining, load_over
from support.own_api import OF_C, Answer, Api
from support.scenario import ORGANIZATION


def test_a_change_that_moves_counted_usage_names_its_recount(used: Api) -> None:
    end = format_instant(clock.now() - 2 * DAY)

    answer = used.ask("PATCH", "subscriptions/s", {"end": end})

    assert (answer.status, answer.record["end"]) == (200, end)
    begun = answer.body["recount"]
    assert begun == {"id": begun["id"], "at": end, "line_items": ["s.call", "seats"], "events": 1}
    shown = used.ask("GET", f"recounts/{begun['id']}").body
    assert used.ask("GET", "recounts").body["recounts"] == [shown]
    assert {name: shown[name] for name in shown if not name.endswith("_at")} == {
        "id": begun["id"],
        "kind": "usage",
        "at": end,
        "done": False,
        "subscriptions": ["s"],
        "line_items": ["s.call", "seats"],
        "events": {"logged": 1, "counted": 0},
        "refusals": [],
        "waits_for": None,
    }
    assert (shown["created_at"], shown["done_at"]) == (shown["updated_at"], None)


def test_usage_is_counted_anew_half_a_minute_later(used: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    end = format_instant(clock.now() - 2 * DAY)
    begun = used.ask("PATCH", "subscriptions/s", {"end": end}).body["recount"]
    recount_usage = load_over("recount_usage", used.table, monkeypatch)
    now = clock.now
    monkeypatch.setattr(recount_usage.clock, "now", lambda: now() + READY)
    recount_usage.handler({}, Remaining())
    after = used.ask("GET", f"recounts/{begun['id']}").body

    assert (after["done"], after["events"]) == (True, {"logged": 1, "counted": 0})
    assert after["done_at"] >= after["created_at"]
    assert [each.event.id for each in list_unmatched(used.table, ORGANIZATION.id)] == ["e"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"end": format_instant(clock.now() - 2 * DAY)}, id="an end"),
        pytest.param({"plan": "pro", "at": format_instant(clock.now() - 2 * DAY)}, id="another plan"),
        pytest.param(None, id="another record"),
    ],
)
def test_much_is_counted_anew_by_force_alone(
    used: Api, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any] | None
) -> None:
    monkeypatch.setattr(anew, "MOST_LOG", 0)
    stored = used.stored()

    def change(query: str) -> Answer:
        if body is None:
            record = OF_C | {"start": format_instant(clock.now() - 5 * DAY)}
            return used.ask("PUT", f"subscriptions/s{query}", record)
        return used.ask("PATCH", f"subscriptions/s{query}", body)

    for query in ("", "?force=false"):
        refused = change(query)
        assert (refused.status, refused.body["earliest"]) == (409, None)
        assert "by force" in refused.faults[""]
    assert used.stored() == stored
    taken = change("?force=true")
    assert (taken.status, set(taken.body)) == (200, {"record", "recount"})


@pytest.mark.parametrize("query", ["?force=1", "?force=", "?force=true&force=true"])
def test_a_force_that_says_neither_is_refused(used: Api, query: str) -> None:
    stored = used.stored()
    for method, body in (("PATCH", {"end": "now"}), ("PUT", OF_C)):
        refused = used.ask(method, f"subscriptions/s{query}", body)
        assert (refused.status, set(refused.faults)) == (422, {"force"})
    assert used.stored() == stored


def test_a_move_does_not_wait_for_a_recount_of_usage_that_was_made_with_it(
    used: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    anew = used.ask("PATCH", "subscriptions/s", {"end": format_instant(clock.now() - 2 * DAY)})
    move = used.put("customers/c", {"country": [{"value": "SE", "since": "2020-01-01T00:00:00Z"}]})
    names = [answer.body["recount"]["id"] for answer in (anew, move)]
    recount_usage = load_over("recount_usage", used.table, monkeypatch)
    slept: list[float] = []
    done: list[list[bool]] = []
    now = clock.now

    def sleep(seconds: float) -> None:
        done.append([used.ask("GET", f"recounts/{name}").body["done"] for name in names])
        slept.append(seconds)

    monkeypatch.setattr(recount_usage.time, "sleep", sleep)
    monkeypatch.setattr(recount_usage.clock, "now", lambda: now() + round(sum(slept) * SECOND))
    made = [used.table.items()[keys.recount(ORGANIZATION.id, name)] for name in names]
    records = [{"eventName": "INSERT", "dynamodb": {"NewImage": each}} for each in made]
    recount_usage.handler({"Records": records}, Remaining())

    assert done == [[False, False], [False, True]]
    assert used.ask("GET", f"recounts/{names[0]}").body["done"]


def test_what_is_due_later_has_its_turn_although_what_was_due_before_has_failed(
    used: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    recount_usage = load_over("recount_usage", used.table, monkeypatch)
    turns: list[int] = []

    def fail_at_first(*_: object, **__: object) -> list[object]:
        turns.append(len(turns))
        if len(turns) == 1:
            raise StoreUnavailableError("once")
        return []

    monkeypatch.setattr(recount_usage, "carry_all_on", fail_at_first)
    monkeypatch.setattr(recount_usage.time, "sleep", lambda _: None)
    due = [key_instant(clock.now() + seconds * SECOND) for seconds in (0, 25)]
    records = [{"dynamodb": {"NewImage": {"due_at": {"S": at}}}} for at in due]
    with pytest.raises(StoreUnavailableError):
        recount_usage.handler({"Records": records}, Remaining())
    assert turns == [0, 1]


def test_a_recount_of_usage_is_waited_for_by_when_it_is_due(
    used: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = used.ask("PATCH", "subscriptions/s", {"end": format_instant(clock.now() - 2 * DAY)})
    name = begun.body["recount"]["id"]
    recount_usage = load_over("recount_usage", used.table, monkeypatch)
    slept: list[float] = []
    now = clock.now
    monkeypatch.setattr(recount_usage.time, "sleep", slept.append)
    monkeypatch.setattr(recount_usage.clock, "now", lambda: now() + round(sum(slept) * SECOND))
    (made,) = [item for key, item in used.table.items().items() if key.sk == name]
    recount_usage.handler({"Records": [{"eventName": "INSERT", "dynamodb": {"NewImage": made}}]}, Remaining())

    assert slept[0] == pytest.approx(READY / SECOND + 1, abs=2)
    assert used.ask("GET", f"recounts/{name}").body["done"]


def test_a_call_says_how_old_the_oldest_recount_is_and_how_many_were_refused(
    used: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Alarms ring by these numbers, of each call: of one in which nothing is due, and of one that fails, too."""
    recount_usage = load_over("recount_usage", used.table, monkeypatch)
    now = clock.now
    later = 0
    monkeypatch.setattr(recount_usage.clock, "now", lambda: now() + later)

    def numbers() -> dict[str, int]:
        found: dict[str, int] = {}
        for line in [vars(each) for each in caplog.records if each.name == "recount-usage"]:
            for told in line.get("_aws", {}).get("CloudWatchMetrics", ()):
                assert told["Dimensions"] == [["service"]]
                found |= {f"{each['Name']} {each['Unit']}": line[each["Name"]] for each in told["Metrics"]}
        caplog.clear()
        return found

    caplog.set_level("INFO")

    recount_usage.handler({}, Remaining())
    assert numbers() == {"OldestRecount Seconds": 0, "RecountsRefused Count": 0}

    used.ask("PATCH", "subscriptions/s", {"end": format_instant(clock.now() - 2 * DAY)})
    later = 3 * SECOND
    recount_usage.handler({}, Remaining())
    assert numbers() == {"OldestRecount Seconds": 3, "RecountsRefused Count": 0}

    later = READY
    monkeypatch.setattr(Recounting, "run", mock.Mock(side_effect=StoreUnavailableError("away")))
    with pytest.raises(StoreUnavailableError):
        recount_usage.handler({}, Remaining())
    assert numbers() == {"OldestRecount Seconds": 25, "RecountsRefused Count": 0}

    refused = Recount.of_plan("basic", 2, 0, clock.now())._replace(done_at=1, refused=7)
    monkeypatch.setattr(recount_usage, "carry_all_on", lambda *_, tell: tell("o", refused))
    recount_usage.handler({}, Remaining())
    assert numbers()["RecountsRefused Count"] == 7
