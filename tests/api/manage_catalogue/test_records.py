"""Records over the own routes: what is put, what is refused, and which ids they may have."""

import json
from typing import Any
from urllib.parse import quote

import pytest

from meterstone.contracts.catalogue_changes import LONGEST_BODY
from support.managed import PRICE
from support.own_api import COUNT, END, LATER, OF_C, START, Api


def test_a_record_is_made_read_changed_and_deleted(api: Api) -> None:
    made = api.put("customers/d", {"name": "Dora", "country": "NO"})
    assert made.status == 201
    assert made.record == api.ask("GET", "customers/d").body
    assert {k: made.record[k] for k in ("id", "name", "country", "version")} == {
        "id": "d", "name": "Dora", "country": "NO", "version": 1,
    }  # fmt: skip
    assert made.record["created_at"] == made.record["updated_at"]

    changed = api.put("customers/d", {"country": "NO"})
    assert changed.status == 200
    assert changed.headers["etag"] not in ("", made.headers["etag"])
    assert "name" not in changed.record, "a put says all that there is to say"
    assert changed.record["created_at"] == made.record["created_at"]

    assert api.ask("DELETE", "customers/d").record["id"] == "d"
    assert api.ask("GET", "customers/d").status == 404


@pytest.mark.parametrize(
    ("path", "record"),
    [
        ("meters/m", COUNT | {"filters": {"n": ["1", "2"]}}),
        ("prices/p", PRICE),
        ("plans/q", {"prices": ["call"], "commitment": {"amount": 5, "overage_factor": "1.5"}}),
        ("customers/d", {"country": [{"value": "NO"}, {"value": "SE", "since": START}]}),
        ("subscriptions/s", OF_C | {"line_items": [{"price": "call", "end": LATER}]}),
    ],
)
def test_what_was_read_can_be_put_back_and_changes_nothing(
    api: Api, path: str, record: dict[str, Any]
) -> None:
    made = api.put(path, record)
    assert made.status == 201, made.body
    read = api.ask("GET", path).body
    stored = api.stored()

    again = api.put(path, read)

    assert (again.status, again.record) == (200, made.record)
    assert api.stored() == stored
    kind = path.partition("/")[0]
    assert read in api.ask("GET", kind).body[kind]


def test_numbers_are_read_exactly(api: Api) -> None:
    text = json.dumps(PRICE | {"amount": "x"}).replace('"x"', "0.100000000000000005")
    assert api.put("prices/p", text).record["amount"] == "0.100000000000000005"


HUGE = "x" * 20_000
WRONG: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("customers/d", {"name": 7}, {"name": "must be text"}),
    ("customers/d", {"name": HUGE}, {"name": "has 20000 characters"}),
    ("customers/d", {"country": "XX"}, {"country": "ISO 3166"}),
    ("customers/d", {"timezone": "Mars/Base"}, {"timezone": ""}),
    ("customers/d", {"colour": "red"}, {"colour": "is not a known field"}),
    ("customers/d", {"id": "e"}, {"id": "must be 'd'"}),
    ("meters/m", {}, {"aggregation": "is required", "code": "is required"}),
    ("meters/m", COUNT | {"aggregation": "SOME"}, {"aggregation": "should be"}),
    ("meters/m", COUNT | {"code": "calls", "event_name": "seats"}, {"code": "is the event_name of"}),
    ("meters/m", COUNT | {"filters": ["a"]}, {"filters": "must be a mapping"}),
    ("prices/p", PRICE | {"amount": -1}, {"amount": "negative"}),
    ("prices/p", PRICE | {"amount": True}, {"amount": ""}),
    ("prices/p", PRICE | {"amount": "1" * 60}, {"amount": ""}),
    ("prices/p", PRICE | {"meter_id": "nothing"}, {"meter_id": "there is no meter 'nothing'"}),
    ("prices/p", PRICE | {"currency": "XXZ"}, {"currency": "ISO 4217"}),
    ("plans/q", {"prices": "call"}, {"prices": "must be a list"}),
    ("plans/q", {"prices": ["call", "nothing"]}, {"prices[1]": "there is no price 'nothing'"}),
    ("plans/q", {"billing_period_count": 0}, {"billing_period_count": ""}),
    (
        "subscriptions/s",
        {},
        {"customer": "is required", "plan": "is required", "currency": "is required"},
    ),
    ("subscriptions/s", OF_C | {"customer": "nobody"}, {"customer": "there is no customer 'nobody'"}),
    ("subscriptions/s", OF_C | {"plan": "none"}, {"plan": "there is no plan 'none'"}),
    ("subscriptions/s", OF_C | {"end": "2092-01-01T00:00:00Z"}, {"end": "must be after the start"}),
    ("subscriptions/s", OF_C | {"start": "soon"}, {"start": ""}),
    ("subscriptions/s", OF_C | {"start": 4_000_000_000}, {"start": "RFC 3339"}),
    ("subscriptions/s", OF_C | {"currency": "USD"}, {"plan": "has no price in USD"}),
    ("subscriptions/s", OF_C | {"line_items": [{"price": "none"}]}, {"line_items[0].price": "no price"}),
    (
        "subscriptions/s",
        OF_C | {"line_items": [{"price": "call", "end": LATER}, {"price": "dear call"}]},
        {"line_items[1]": "overlap"},
    ),
    ("subscriptions/s", OF_C | {"details": {"a": {"b": {"c": 1}}}}, {}),
]


@pytest.mark.parametrize(("path", "record", "faults"), WRONG)
def test_a_wrong_record_is_refused_with_all_that_is_wrong_and_nothing_is_stored(
    api: Api, path: str, record: dict[str, Any], faults: dict[str, str]
) -> None:
    stored = api.stored()

    answer = api.put(path, record)

    assert answer.status == 422, answer.body
    assert answer.body.keys() == {"errors"}
    if faults:
        assert answer.faults.keys() == faults.keys()
    assert all(reason in answer.faults[name] for name, reason in faults.items()), answer.faults
    assert api.stored() == stored


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (None, 400, "is not JSON"),
        ("", 400, "is not JSON"),
        ("[]", 400, "is not a JSON object"),
        ('{"name": "a", "name": "b"}', 400, "repeats the key 'name'"),
        ('{"name": NaN}', 400, "NaN"),
        ('{"details": ' + "[" * 100_000 + "]" * 100_000 + "}", 400, "too deeply"),
        ('{"details": ' + "[" * 30 + "]" * 30 + "}", 422, "too deeply"),
        ('{"name": 1e999}', 422, "1e999"),
        ('{"name": ' + "1" * 5000 + "}", 422, "5000 characters"),
        ('{"name": "\\ud800"}', 422, "surrogate"),
        ('{"\\ud800": 1}', 422, "name is no text"),
        (json.dumps({"name": "x" * LONGEST_BODY}), 413, "1000000"),
    ],
)
def test_a_body_that_is_no_record_is_refused(api: Api, body: str | None, status: int, said: str) -> None:
    stored = api.stored()
    answer = api.put("customers/d", body)
    assert (answer.status, said in json.dumps(answer.body)) == (status, True), answer.body
    assert api.stored() == stored


def test_a_body_that_is_wrong_everywhere_has_a_short_answer(api: Api) -> None:
    answer = api.put(
        "customers/d", {f"{HUGE}{number}": 1 for number in range(40)} | dict.fromkeys("abcdef", 1)
    )
    assert answer.status == 422
    assert len(json.dumps(answer.body)) < 20_000
    many = api.put("plans/q", {"prices": [f"p{number}" for number in range(5000)]})
    assert many.status == 422
    assert len(many.body["errors"]) == 1001
    assert "4000 more" in many.body["errors"][-1]["message"]


@pytest.mark.parametrize(
    "name",
    ["a/b", "a#b", "a%b", "a%2Fb", "ström 🐦", "a b", "a?b", "..", "+", "a&b=c", "x" * 255, "“quoted”"],
)
@pytest.mark.parametrize("kind", ["customer", "plan", "meter", "price", "subscription"])
def test_an_id_of_any_text_is_one_record_s(api: Api, kind: str, name: str) -> None:
    records: dict[str, dict[str, Any]] = {
        "customer": {},
        "plan": {},
        "meter": {"code": "another code", "aggregation": "COUNT"},
        "price": PRICE,
        "subscription": OF_C | {"line_items": [{"price": "call", "id": "item"}]},
    }
    record = records[kind]
    path = f"{kind}s/{quote(name, safe='')}"
    key = "code" if kind == "plan" else "id"

    made = api.put(path, record)

    assert (made.status, made.record[key]) == (201, name), made.body
    assert api.ask("GET", path).body == made.record
    assert api.put(path, record | {key: name}).status == 200
    assert name in [each[key] for each in api.ask("GET", f"{kind}s").body[f"{kind}s"]]
    gone = api.ask("DELETE", path)
    assert gone.status == (409 if kind == "price" else 200)


@pytest.mark.parametrize(
    "sent", ["x" * 256, "a%0Ab", "%00", "%FF"], ids=["too long", "two lines", "NUL", "no UTF-8"]
)
@pytest.mark.parametrize("kind", ["customer", "subscription"])
def test_what_no_id_can_be_is_refused_where_it_is_put_and_else_not_found(
    api: Api, kind: str, sent: str
) -> None:
    stored = api.stored()
    put = api.put(f"{kind}s/{sent}", {})
    assert (put.status, set(put.faults)) == (422, {"id"})
    for method, body in (
        ("GET", None),
        ("DELETE", None),
        *([("PATCH", {"end": END})] * (kind == "subscription")),
    ):
        answer = api.ask(method, f"{kind}s/{sent}", body)
        assert (answer.status, answer.body["code"]) == (404, "not_found")
    assert api.stored() == stored
