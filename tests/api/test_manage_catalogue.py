"""Records put, changed and deleted over the own routes: what is answered, and what is stored."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from meterstone import clock
from meterstone.catalogue import agreements
from meterstone.catalogue.attempt import LONGEST
from meterstone.contracts.catalogue_changes import LONGEST_BODY
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.catalogue.recounts import READY, SETTLED
from meterstone.store.events.unmatched import list_unmatched
from meterstone.usage.arrival import AHEAD, Subject
from meterstone.usage.instant import DAY, MINUTE, SECOND, format_instant, parse_instant
from meterstone.usage.meter import Event
from meterstone.usage.subscription import Organization
from meterstone_cli.devserver.gateway import ByMethod, Gateway, HttpRequest, Invocable
from meterstone_cli.devserver.template import exceptions, routes
from support.functions import load_over
from support.managed import managed
from support.memory_table import MemoryTable
from support.recovering import Clock, Stream
from support.scenario import ORGANIZATION, Usage

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
THEIRS = Organization("7d1f4f0e-3a52-4a53-9d1c-6a0c7f8b9e10", "Theirs")
FUNCTIONS = ("manage_catalogue", "read_catalogue")
#: No clock of a test comes near.
START, LATER, END = "2093-01-01T00:00:00Z", "2093-06-01T00:00:00Z", "2094-01-01T00:00:00Z"
OF_C = {"customer": "c", "plan": "basic", "currency": "EUR", "start": START}
PRICE = {"currency": "EUR", "billing_model": "FLAT_FEE", "amount": "2", "meter_id": "calls"}
COUNT = {"code": "m", "aggregation": "COUNT"}


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = self.body["record"]
        return record

    @property
    def faults(self) -> dict[str, str]:
        """What is wrong, by path."""
        return {each["path"]: each["message"] for each in self.body["errors"]}


class _Loaded:
    """A function, called as Lambda calls it."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def invoke(self, event: dict[str, Any], request_id: str) -> object:
        return self._module.handler(json.loads(json.dumps(event)), None)


class Api:
    """Both functions of the catalogue behind a gateway, over a table of two organizations."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.table = MemoryTable()
        self.management = managed(self.table, clock.now)
        managed(self.table, clock.now, THEIRS)
        self.keys = {
            each.id: create_key(self.table, each.id, "test", 0)[0] for each in (ORGANIZATION, THEIRS)
        }
        loaded = {name: _Loaded(load_over(name, self.table, monkeypatch)) for name in FUNCTIONS}
        paths: dict[str, Invocable] = {
            path: loaded[folder.name] for path, folder in routes(TEMPLATE).items() if folder.name in loaded
        }
        for (path, method), folder in exceptions(TEMPLATE).items():
            paths[path] = ByMethod({method: loaded[folder.name]}, paths[path])
        self._gateway = Gateway(paths)

    def ask(
        self, method: str, path: str, body: object = None, *, whose: str = ORGANIZATION.id, **headers: str
    ) -> Answer:
        text = body if isinstance(body, str) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = tuple((named | {"Authorization": f"Bearer {self.keys[whose]}"}).items())
        target = f"/catalogue/v1/{path}"
        reply = self._gateway.handle(
            HttpRequest(method, target, sent, b"" if body is None else text.encode("utf-8", "surrogatepass"))
        )
        return Answer(reply.status, json.loads(reply.body), {k.lower(): v for k, v in reply.headers})

    def put(self, path: str, record: object, **headers: str) -> Answer:
        return self.ask("PUT", path, record, **headers)

    def stored(self) -> Any:
        """Return everything that is stored."""
        return self.table.items()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    return Api(monkeypatch)


def test_a_record_is_made_read_changed_and_deleted(api: Api) -> None:
    made = api.put("customers/d", {"name": "Dora", "country": "NO"})
    assert (made.status, made.headers["etag"]) == (201, '"1"')
    assert made.record == api.ask("GET", "customers/d").body
    assert {k: made.record[k] for k in ("id", "name", "country", "version")} == {
        "id": "d", "name": "Dora", "country": "NO", "version": 1,
    }  # fmt: skip
    assert made.record["created_at"] == made.record["updated_at"]

    changed = api.put("customers/d", {"country": "NO"})
    assert (changed.status, changed.headers["etag"]) == (200, '"2"')
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


@pytest.mark.parametrize("name", ["x" * 256, "a\nb", "\x00", "%FF"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_no_id_can_be_is_not_found(api: Api, method: str, name: str) -> None:
    path = f"customers/{name if name == '%FF' else quote(name, safe='')}"
    stored = api.stored()
    answer = api.ask(method, path, {})
    if name == "%FF":
        # A byte that is no text is U+FFFD, as in the query: an id like any other.
        assert answer.status in (200, 201, 404)
        return
    assert (answer.status, answer.body["code"]) == (404, "not_found")
    assert api.stored() == stored


def test_the_version_makes_a_put_conditional(api: Api) -> None:
    first = api.put("customers/d", {"name": "1"}, If_None_Match="*")
    assert first.status == 201
    assert api.put("customers/d", {"name": "x"}, If_None_Match="*").status == 412
    second = api.put("customers/d", {"name": "2"}, If_Match=first.headers["etag"])
    assert (second.status, second.headers["etag"]) == (200, '"2"')
    late = api.put("customers/d", {"name": "late"}, If_Match=first.headers["etag"])
    assert (late.status, late.body["code"]) == (412, "version_conflict")
    assert api.ask("GET", "customers/d").body == second.record
    # A gateway that compresses an answer weakens its tag.
    assert api.put("customers/d", {"name": "3"}, If_Match='W/"2"').status == 200
    assert api.put("customers/d", {"name": "4"}, If_Match="*").status == 200
    assert api.ask("GET", "customers/d").body["version"] == 4


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_Match": '"1"'}, 412),
        ({"If_Match": "*"}, 412),
        ({"If_Match": "1"}, 412),
        ({"If_Match": '"one"'}, 412),
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


def test_a_subscription_is_ended_and_changed(api: Api) -> None:
    api.put("subscriptions/s", OF_C)
    ended = api.ask("PATCH", "subscriptions/s", {"end": END})
    assert (ended.status, ended.record["end"], ended.headers["etag"]) == (
        200,
        format_instant(parse_instant(END)),
        '"2"',
    )
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


@pytest.fixture
def used(api: Api) -> Api:
    """Give an API with a subscription of which an event was counted a day ago."""
    api.put("subscriptions/s", OF_C | {"start": format_instant(clock.now() - 10 * DAY)})
    stream = Stream(api.table, Clock(clock.now()))
    stream.post([Usage(Subject.subscription("s"), Event("e", "calls", clock.now() - DAY, {}))])
    stream.deliver()
    return api


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
    monkeypatch.setattr(agreements, "MOST_LOG", 0)
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


def test_a_country_of_the_past_says_from_when_on_it_is_possible(used: Api) -> None:
    stored = used.stored()
    fact = {"value": "SE", "since": format_instant(clock.now() - 2 * DAY)}

    answer = used.put("customers/c", {"country": [fact]})

    assert (answer.status, set(answer.faults)) == (409, {"country"})
    assert clock.now() - MINUTE < parse_instant(answer.body["earliest"]) <= clock.now()
    assert used.ask("DELETE", "subscriptions/s").status == 409
    assert used.stored() == stored


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


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("customer", {"name": "ours"}),
        ("plan", {"name": "ours"}),
        ("meter", COUNT),
        ("price", PRICE),
        ("subscription", OF_C),
    ],
)
def test_another_organization_s_records_are_not_found(api: Api, kind: str, record: dict[str, Any]) -> None:
    path = f"{kind}s/ours"
    made = api.put(path, record)
    assert made.status == 201
    stored = api.stored()
    methods = ("GET", "DELETE", *(("PATCH",) if kind == "subscription" else ()))
    for method in methods:
        answer = api.ask(method, path, {"end": END} if method == "PATCH" else None, whose=THEIRS.id)
        assert (answer.status, answer.body["message"]) == (404, f"There is no {kind} 'ours'.")
    assert api.stored() == stored
    # The same id in both organizations is two records.
    assert api.ask("PUT", path, record, whose=THEIRS.id).status == 201
    assert api.ask("DELETE", path, whose=THEIRS.id).status == (409 if kind == "price" else 200)
    assert api.ask("GET", path).body == made.record


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "customers/c", {"GET", "PUT", "DELETE"}),
        ("PATCH", "customers/c", {"GET", "PUT", "DELETE"}),
        ("POST", "subscriptions/s", {"GET", "PUT", "PATCH", "DELETE"}),
        ("POST", "prices", {"GET"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(api: Api, method: str, path: str, allowed: set[str]) -> None:
    answer = api.ask(method, path, {})
    assert (answer.status, set(answer.headers["allow"].split(", "))) == (405, allowed)


def test_subscriptions_are_listed_by_what_is_asked_for(api: Api) -> None:
    api.put("customers/d", {})
    api.put("subscriptions/s", OF_C | {"external_id": "e", "end": LATER})
    api.put("subscriptions/t", OF_C | {"external_id": "e", "start": LATER, "plan": "pro"})
    api.put("subscriptions/u", OF_C | {"customer": "d"})

    def ids(query: str) -> list[str]:
        answer = api.ask("GET", f"subscriptions?{query}")
        assert answer.status == 200, answer.body
        return [each["id"] for each in answer.body["subscriptions"]]

    assert ids("") == ["s", "t", "u"]
    assert ids("customer=c") == ["s", "t"]
    assert ids("external_id=e") == ["s", "t"]
    assert ids("external_id=u") == ["u"], "without one, the id is the external id"
    assert ids("plan=pro") == ["t"]
    assert ids(f"at={LATER}") == ["t", "u"]
    assert ids(f"at={START}&customer=c") == ["s"]
    assert ids("at=2050-01-01T00:00:00Z") == []


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


class Remaining:
    """What Lambda says of a call that has just begun."""

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


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


EVENTS = Path(__file__).parents[2] / "events"


@pytest.mark.parametrize(
    ("case", "status"),
    [
        ("put_customer", 201),
        ("lago_customer", 200),
        ("flexprice_subscription", 201),
        ("put_no_key", 401),
        ("delete_unknown", 404),
        ("flexprice_unknown_plan", 400),
        ("put_bad_customer", 422),
        ("lago_bad_customer", 422),
    ],
)
def test_every_file_of_events(monkeypatch: pytest.MonkeyPatch, case: str, status: int) -> None:
    table = MemoryTable()
    management = managed(table, clock.now)
    management.put("price", "calls usd", PRICE | {"currency": "USD"})
    management.put("plan", "starter", {"prices": ["calls usd"]})
    management.put("customer", "dunlin", {})
    key, _ = create_key(table, ORGANIZATION.id, "events", 0)
    handler = load_over("manage_catalogue", table, monkeypatch).handler
    asked = (EVENTS / f"manage_catalogue.{case}.json").read_text().replace("events-key", key)
    stored = table.items()

    answer = handler(json.loads(asked), None)

    assert answer["statusCode"] == status, answer["body"]
    after = table.items()
    assert (after == stored) is (status > 299)
    assert handler(json.loads(asked), None)["statusCode"] in {200, status}
    assert table.items() == after
