"""The edge: keys, routes, what becomes of exceptions, and the log line. `tests/api` has the functions' own."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter, sleep
from typing import Any

import pytest

from meterstone.contracts import flexprice, lago
from meterstone.contracts.message import Problem, Reply, Request, RequestRefusedError
from meterstone.edge.application import Application
from meterstone.scope import ALL_SCOPES, Scope
from meterstone.usage.subscription import Organization
from support.functions import forget_logger

ORGANIZATION = Organization("7d1f4f0e-3a52-4a53-9d1c-6a0c7f8b9e10")
KEY = "good-key"


@dataclass(frozen=True)
class Account:
    organization: Organization = ORGANIZATION
    key_id: str = "4f1c2d"
    scopes: frozenset[Scope] = ALL_SCOPES


@dataclass
class Cost:
    items: int = 0
    read_units: float = 0


@dataclass
class Accounts:
    """Knows one key; looking it up reads 3 items at 1.5 units."""

    cost: Cost = field(default_factory=Cost)
    asked: list[str] = field(default_factory=list)
    scopes: frozenset[Scope] = ALL_SCOPES
    #: How many seconds each request was given.
    begun: list[float] = field(default_factory=list)

    def begin(self, seconds: float, /) -> None:
        self.cost.items, self.cost.read_units = 0, 0
        self.begun.append(seconds)

    def account(self, api_key: str, /) -> Account | None:
        self.asked.append(api_key)
        self.cost.items += 3
        self.cost.read_units += 1.5
        return Account(scopes=self.scopes) if api_key == KEY else None


class OutOfReachError(Exception):
    """The store cannot be read."""


class MissingError(Exception):
    """The store has nothing of that name."""


@dataclass
class PartialHour:
    """An application of four routes, and what it answers."""

    capsys: pytest.CaptureFixture[str]
    store: Accounts = field(default_factory=Accounts)
    #: How long an answer takes, in seconds.
    takes: float = 0
    #: When the newest event came in that is counted in the answer.
    counted_until: int = 0

    failure: Exception | None = None

    @cached_property
    def app(self) -> Application[Account]:
        """The application, made when it is first asked: its log goes to the output of then."""
        problems: dict[type[Exception], Problem] = {
            OutOfReachError: Problem.UNAVAILABLE,
            MissingError: Problem.NOT_FOUND,
        }
        app: Application[Account] = Application(lago, self.store, problems, seconds=3.5)
        app.route("GET", "/usage", scope=Scope.READ)(self.answer)
        app.route("POST", "/usage", scope=Scope.INGEST)(self.answer)
        app.route("POST", "/flex", flexprice, scope=Scope.CATALOGUE)(self.answer)
        app.route("GET", "/flex", scope=Scope.READ)(self.answer)
        return app

    def answer(self, account: Account, request: Request) -> Reply:
        sleep(self.takes)
        if self.failure is not None:
            raise self.failure
        self.app.count(Answers=1)
        self.app.count(Answers=2, Others=5)
        body = {"organization": account.organization.id, "path": request.path}
        return Reply.of(201, body, {"X-Own": "1"}, self.counted_until)

    def ask(
        self, method: str, path: str, resource: str | None = None, **headers: str
    ) -> tuple[int, Any, dict[str, str]]:
        """Give the status, the body and the headers, whose names are in lower case."""
        reply = self.app.handler(
            {
                "httpMethod": method,
                "path": path,
                "resource": resource,
                "headers": headers,
                "queryStringParameters": None,
                "body": None,
                "requestContext": {"requestId": "r-1", "stage": "prod", "path": path},
            },
            None,
        )
        assert reply["isBase64Encoded"] is False
        headers = {name.lower(): values[0] for name, values in reply["multiValueHeaders"].items()}
        assert headers["content-type"] == "application/json"
        return reply["statusCode"], json.loads(reply["body"] or "null"), headers

    def logged(self) -> dict[str, Any]:
        (line,) = self.capsys.readouterr().out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


LAGO_KEY = {"Authorization": f"Bearer {KEY}"}
FLEX_KEY = {"x-api-key": KEY}


@pytest.fixture
def edge(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> PartialHour:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "edge")
    forget_logger("edge")
    return PartialHour(capsys)


@pytest.mark.parametrize(
    ("method", "path", "headers", "route"),
    [
        pytest.param("GET", "/usage", LAGO_KEY, "GET /usage", id="a route"),
        pytest.param("POST", "/usage", LAGO_KEY, "POST /usage", id="another method"),
        pytest.param("GET", "/usage/", LAGO_KEY, "GET /usage", id="a slash behind it"),
        pytest.param("POST", "/flex", FLEX_KEY, "POST /flex", id="a contract of its own"),
        pytest.param("GET", "/flex", FLEX_KEY, "GET /flex", id="the contract is the path's"),
    ],
)
def test_a_good_key_is_answered(
    edge: PartialHour, method: str, path: str, headers: dict[str, str], route: str
) -> None:
    status, body, found = edge.ask(method, path, **headers)
    line = edge.logged()

    assert (status, body) == (201, {"organization": ORGANIZATION.id, "path": path})
    assert found["x-own"] == "1"
    assert (line["route"], line["organization"], line["status"]) == (route, ORGANIZATION.id, 201)
    assert line["key"] == "4f1c2d"


@pytest.mark.parametrize(
    ("method", "resource", "path", "status"),
    [
        pytest.param("GET", "/usage", "/billing/v2/usage", 201, id="a base path"),
        pytest.param("GET", "/usage", "/usage/", 201, id="a slash behind it"),
        pytest.param("POST", "/flex", "/usage", 201, id="a base path like a route"),
        pytest.param("PUT", "/usage", "/billing/usage", 405, id="a wrong method"),
        pytest.param("GET", "/{proxy+}", "/usage", 201, id="a resource that is no route"),
        pytest.param("GET", "/{proxy+}", "/billing/usage", 404, id="neither is a route"),
        pytest.param("GET", "", "/usage", 201, id="an empty resource"),
    ],
)
def test_behind_a_custom_domain_the_resource_is_the_route(
    edge: PartialHour, method: str, resource: str, path: str, status: int
) -> None:
    found, body, _ = edge.ask(method, path, resource, **LAGO_KEY, **FLEX_KEY)
    assert found == status
    if status == 201:
        assert body["path"] == (resource if resource in {"/usage", "/flex"} else path)
        assert edge.logged()["route"] == f"{method} {body['path']}"


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        pytest.param(KEY, "4f1c2d", id="good"),
        pytest.param("mst_pl5wi_MZBlpuPiY1quAllrxsziRn_pHmaxaKB6Zhxm0", "unknown", id="nobody's"),
        pytest.param("mst_pl5wi_MZBlpuPiY1quAllrxsziRn_pHmaxaKB6Zhx", "malformed", id="no key"),
        pytest.param("ключ", "malformed", id="no text of keys"),
        pytest.param("", "malformed", id="empty"),
    ],
)
@pytest.mark.parametrize(
    ("path", "header", "before"), [("/usage", "Authorization", "Bearer "), ("/flex", "x-api-key", "")]
)
def test_the_log_line_says_which_key(
    edge: PartialHour, path: str, header: str, before: str, key: str, shown: str
) -> None:
    edge.ask("POST", path, **{header: before + key})
    line = edge.logged()
    assert line["key"] == shown
    assert not key or key not in json.dumps(line, ensure_ascii=False)


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        pytest.param("/usage", LAGO_KEY, {"status": 429, "error": "Too Many Requests"}, id="Lago's shape"),
        pytest.param(
            "/flex",
            FLEX_KEY,
            {
                "code": "too_many_requests",
                "message": "This key asks too often. Try again.",
                "http_status_code": 429,
            },
            id="Flexprice's shape",
        ),
    ],
)
def test_a_key_that_asks_too_often_is_told_when_to_come_again(
    edge: PartialHour, path: str, headers: dict[str, str], body: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERSTONE_REQUESTS_PER_KEY", "0.01")
    assert edge.ask("POST", path, **headers)[0] == 201
    edge.logged()
    status, found, answered = edge.ask("POST", path, **headers)
    line = edge.logged()
    assert (status, found, answered["retry-after"]) == (429, body, "100")
    assert (line["status"], line["key"], line["organization"]) == (429, "4f1c2d", ORGANIZATION.id)
    assert "Answers" not in line
    # Whoever has no good key is told so, and takes nothing from the key's bucket.
    assert edge.ask("POST", path)[0] == 401


@pytest.mark.parametrize("key", [pytest.param({each}, id=f"{each} alone") for each in Scope] + [set()])
@pytest.mark.parametrize(
    ("method", "path", "headers", "scope"),
    [
        ("GET", "/usage", LAGO_KEY, "read"),
        ("POST", "/usage", LAGO_KEY, "ingest"),
        ("POST", "/flex", FLEX_KEY, "catalogue"),
        ("GET", "/flex", FLEX_KEY, "read"),
    ],
)
def test_a_route_is_entered_with_its_own_scope_alone(
    edge: PartialHour, method: str, path: str, headers: dict[str, str], scope: Scope, key: set[Scope]
) -> None:
    edge.store.scopes = frozenset(key)
    status, body, _ = edge.ask(method, path, **headers)
    line = edge.logged()
    assert status == line["status"] == (201 if scope in key else 403)
    assert ("Answers" in line) == (scope in key)
    # Its use is seen, and it costs what any other request costs.
    assert (line["key"], line["route"], line["items"]) == ("4f1c2d", f"{method} {path}", 3)
    if status == 403:
        assert f"'{scope}'" in json.dumps(body)
        assert line["Failures"] == [0]


def test_a_route_without_a_scope_cannot_be_registered(edge: PartialHour) -> None:
    with pytest.raises(TypeError, match="scope"):
        edge.app.route("GET", "/more")  # type: ignore[call-arg]


def test_a_key_without_the_scope_is_limited_too(edge: PartialHour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSTONE_REQUESTS_PER_KEY", "0.01")
    edge.store.scopes = frozenset()
    assert [edge.ask("GET", "/usage", **LAGO_KEY)[0] for _ in range(2)] == [403, 429]


def test_a_wrong_method_is_told_before_a_missing_scope(edge: PartialHour) -> None:
    edge.store.scopes = frozenset()
    assert edge.ask("PUT", "/usage", **LAGO_KEY)[0] == 405


@pytest.mark.parametrize(
    ("path", "headers", "asked", "body"),
    [
        pytest.param("/usage", {}, [], {"status": 401, "error": "Unauthorized"}, id="none"),
        pytest.param(
            "/usage",
            {"Authorization": "Bearer bad"},
            ["bad"],
            {"status": 401, "error": "Unauthorized"},
            id="unknown",
        ),
        pytest.param(
            "/usage", FLEX_KEY, [], {"status": 401, "error": "Unauthorized"}, id="the other contract's"
        ),
        pytest.param(
            "/flex", {"x-api-key": "bad"}, ["bad"], {"error": "Unauthorized"}, id="in the path's contract"
        ),
    ],
)
def test_a_bad_key_is_refused_in_the_path_s_contract(
    edge: PartialHour, path: str, headers: dict[str, str], asked: list[str], body: object
) -> None:
    assert edge.ask("POST", path, **headers)[:2] == (401, body)
    assert edge.store.asked == asked
    assert edge.logged()["organization"] == "unknown"


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        pytest.param("GET", "/nothing", 404, None, id="no such path"),
        pytest.param("GET", "/", 404, None, id="the root"),
        pytest.param("PUT", "/usage", 405, "GET, POST", id="no such method"),
        pytest.param("PUT", "/usage/", 405, "GET, POST", id="no such method, a slash behind it"),
        pytest.param("DELETE", "/flex", 405, "POST, GET", id="of another contract"),
        pytest.param("HEAD", "/usage", 405, "GET, POST", id="HEAD has no body"),
    ],
)
def test_unrouted(edge: PartialHour, method: str, path: str, status: int, allow: str | None) -> None:
    found, body, headers = edge.ask(method, path, **LAGO_KEY)

    assert found == status
    assert headers.get("allow") == allow
    if method == "HEAD":
        assert body is None
    else:
        assert body.get("status" if path != "/flex" else "http_status_code") == status
    assert edge.logged()["route"] == "unknown"
    assert edge.store.asked == []


@pytest.mark.parametrize(
    ("failure", "status", "reason", "failures"),
    [
        pytest.param(OutOfReachError("the table"), 503, "the table", 1, id="out of reach"),
        pytest.param(MissingError("x"), 404, None, 0, id="missing"),
        pytest.param(RequestRefusedError(Reply(422, "{}")), 422, None, 0, id="refused"),
        pytest.param(KeyError("x"), 500, None, 1, id="a defect"),
    ],
)
@pytest.mark.parametrize(("path", "headers"), [("/usage", LAGO_KEY), ("/flex", FLEX_KEY)])
def test_failures(
    edge: PartialHour,
    path: str,
    headers: dict[str, str],
    failure: Exception,
    status: int,
    reason: str | None,
    failures: int,
) -> None:
    edge.failure = failure
    found, body, answered = edge.ask("POST", path, **headers)
    line = edge.logged()

    assert found == line["status"] == status
    assert line.get("reason") == reason
    assert line["Failures"] == [failures]
    assert line["message"] == ("request failed" if status == 500 else "request")
    assert ("retry-after" in answered) is (status == 503)
    if status != 422:
        assert ("http_status_code" in body) is (path == "/flex")


@pytest.mark.parametrize(
    ("accepted", "shown"), [(0, None), (1, "1970-01-01T00:00:00.000001Z"), (10**6, "1970-01-01T00:00:01Z")]
)
def test_an_answer_says_until_when_it_counts(edge: PartialHour, accepted: int, shown: str | None) -> None:
    edge.counted_until = accepted

    assert edge.ask("GET", "/usage", **LAGO_KEY)[2].get("x-meterstone-counted-until") == shown


def test_the_log_line_has_what_was_read_and_counted_for_one_request(edge: PartialHour) -> None:
    for cold in (True, False):
        edge.ask("GET", "/usage", **LAGO_KEY)
        line = edge.logged()

        assert (line["items"], line["read_units"]) == (3, 1.5)
        assert (line["ItemsRead"], line["ReadUnits"]) == ([3], [1.5])
        assert (line["Answers"], line["Others"], line["Failures"]) == ([3], [5], [0])
        assert (line["request_id"], line["cold_start"], line["level"]) == ("r-1", cold, "INFO")
        assert KEY not in json.dumps(line)


@pytest.mark.parametrize("seconds", [0, 0.03])
def test_the_log_line_has_the_latency_in_milliseconds(edge: PartialHour, seconds: float) -> None:
    edge.takes = seconds
    started = perf_counter()
    edge.ask("GET", "/usage", **LAGO_KEY)
    most = (perf_counter() - started) * 1000
    line = edge.logged()

    assert seconds * 1000 <= line["milliseconds"] <= most
    assert line["milliseconds"] > 0
    assert line["Latency"] == [line["milliseconds"]]
    assert line["milliseconds"] == round(line["milliseconds"], 3)


def test_the_store_has_so_many_seconds_for_each_request(edge: PartialHour) -> None:
    """They begin before the key is looked up, also for a request that no route is for."""
    edge.ask("GET", "/usage", **LAGO_KEY)
    edge.ask("GET", "/nowhere")
    assert edge.store.begun == [3.5, 3.5]
