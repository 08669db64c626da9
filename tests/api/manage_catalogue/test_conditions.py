"""A put on the condition of a version, and a put that is sent again."""

import pytest

from meterstone import clock
from meterstone.usage.instant import parse_instant
from support.own_api import END, OF_C, Api


def test_the_version_makes_a_put_conditional(api: Api) -> None:
    first = api.put("customers/d", {"name": "1"}, If_None_Match="*")
    assert first.status == 201
    assert api.put("customers/d", {"name": "x"}, If_None_Match="*").status == 412
    second = api.put("customers/d", {"name": "2"}, If_Match=first.headers["etag"])
    assert second.status == 200
    late = api.put("customers/d", {"name": "late"}, If_Match=first.headers["etag"])
    assert (late.status, late.body["code"]) == (412, "version_conflict")
    read = api.ask("GET", "customers/d")
    assert (read.body, read.headers["etag"]) == (second.record, second.headers["etag"])
    # A gateway that compresses an answer weakens its tag. The version alone will do, too.
    assert api.put("customers/d", {"name": "3"}, If_Match=f"W/{second.headers['etag']}").status == 200
    assert api.put("customers/d", {"name": "4"}, If_Match='"3"').status == 200
    assert api.put("customers/d", {"name": "4"}, If_Match="*").status == 200
    assert api.ask("GET", "customers/d").body["version"] == 4


def test_a_subscription_that_is_made_again_has_another_etag(api: Api) -> None:
    tags = []
    for _ in range(2):
        tags.append(api.put("subscriptions/s", OF_C).headers["etag"])
        api.ask("DELETE", "subscriptions/s")
    again = api.put("subscriptions/s", OF_C)
    assert again.record["version"] == 1
    assert [api.put("subscriptions/s", OF_C, If_Match=tag).status for tag in tags] == [412, 412]
    assert api.put("subscriptions/s", OF_C, If_Match=again.headers["etag"]).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_Match": '"1"'}, 412),
        ({"If_Match": "*"}, 412),
        ({"If_Match": '"1-1700000000000000"'}, 412),
        ({"If_Match": "1"}, 422),
        ({"If_Match": '"one"'}, 422),
        ({"If_Match": '"1-"'}, 422),
        ({"If_Match": '"1", "2"'}, 422),
        ({"If_Match": '"1"', "If_None_Match": "*"}, 422),
        ({"If_None_Match": '"1"'}, 422),
    ],
)
def test_a_condition_that_does_not_hold_makes_nothing(api: Api, headers: dict[str, str], status: int) -> None:
    stored = api.stored()
    assert api.put("customers/d", {}, **headers).status == status
    assert api.stored() == stored


@pytest.mark.parametrize(("method", "body"), [("PATCH", {"end": END}), ("DELETE", None)])
def test_a_condition_where_none_is_looked_at_is_refused(api: Api, method: str, body: object) -> None:
    api.put("subscriptions/s", OF_C)
    stored = api.stored()
    answer = api.ask(method, "subscriptions/s", body, If_Match='"1"')
    assert (answer.status, answer.faults) == (422, {"If-Match": "is for PUT alone"})
    assert api.stored() == stored


def test_a_retried_create_changes_nothing(api: Api) -> None:
    made = api.put("subscriptions/s", OF_C)
    stored = api.stored()
    again = api.put("subscriptions/s", OF_C)
    assert (made.status, again.status, again.record) == (201, 200, made.record)
    assert api.stored() == stored


def test_a_subscription_without_a_start_begins_now_and_is_retried_from_there(api: Api) -> None:
    before = clock.now()
    record = {name: value for name, value in OF_C.items() if name != "start"}
    made = api.put("subscriptions/s", record)
    assert (made.status, made.record["plan"]) == (201, made.record["plan"])
    assert before <= parse_instant(made.record["start"]) <= clock.now()
    assert api.put("subscriptions/s", record).record == made.record
