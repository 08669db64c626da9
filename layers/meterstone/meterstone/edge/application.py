"""The edge of every function: routes, keys, the log line, and the replies to exceptions.

A request has one log line, which also carries its metrics (CloudWatch's embedded metric format). The line names a
good key by its id. It never has a key, a query, a body or a customer's name.
"""

import os
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from time import perf_counter
from typing import Any, Final, NamedTuple, Protocol

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from meterstone.api_key import well_formed
from meterstone.contracts.message import Contract, Problem, Reply, Request, RequestRefusedError
from meterstone.edge.key_limit import KeyLimit
from meterstone.edge.metrics import namespace
from meterstone.scope import Scope
from meterstone.usage.instant import format_instant
from meterstone.usage.subscription import Organization

READING: Final = 3.5
"""Seconds that the store may take for a question: Lago's Python client hangs up after 5."""

INGESTION: Final = 8.0
"""Seconds that the store may take to log events. A function's time-out is 10 (`Timeout` in `template.yaml`)."""

CHANGING: Final = 20.0
"""Seconds that the store may take to change the catalogue. That function's time-out is 28; a gateway waits 29."""

#: The header with the time at which the newest event counted in an answer came in.
_FRESHNESS: Final = "X-Meterstone-Counted-Until"
_SERVICE: Final = "meterstone"
_SERVER_ERRORS: Final = 500

type Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
type Answer[A] = Callable[[A, Request], Reply]


class KeyOwner(Protocol):
    """The owner of a request's API key."""

    @property
    def organization(self) -> Organization:
        """The organization whose data the key opens. There is one for each key."""

    @property
    def key_id(self) -> str:
        """The id of the key, which is no secret."""

    @property
    def scopes(self) -> AbstractSet[Scope]:
        """The scopes of the key: it opens the routes of these alone."""


class RequestCost(Protocol):
    """The items of the table that were read for a request."""

    @property
    def items(self) -> int:
        """The number of items."""

    @property
    def read_units(self) -> float:
        """The read units that the items cost."""


class Accounts[A: KeyOwner](Protocol):
    """The functions of a store that the edge needs."""

    @property
    def cost(self) -> RequestCost:
        """The items and read units since the request began."""

    def begin(self, seconds: float, /) -> None:
        """Begin a request. What the store does for it must be done, or have failed, in so many seconds."""

    def account(self, api_key: str, /) -> A | None:
        """Look a key up; None if it is malformed, unknown or revoked."""


class _Route[A](NamedTuple):
    answer: Answer[A]
    scope: Scope


class Application[A: KeyOwner]:
    """One function: its routes, each answered in the shapes of a contract.

    `contract` is used for every route that names no other, and for paths without a route. `problems` maps the
    store's exceptions to problems, which each contract writes in its own way. An application answers one request
    at a time, as Lambda asks. Several applications in one process may answer at the same time.

    `seconds` is how long the store may take for a request, from when the handler is called. It must leave the
    function enough of its own time-out to answer that the store is not available.
    """

    def __init__(
        self,
        contract: Contract,
        store: Accounts[A],
        problems: Mapping[type[Exception], Problem],
        *,
        seconds: float,
    ) -> None:
        self._contract = self._speaking = contract
        self._store = store
        self._seconds = seconds
        self._problems = problems
        self._limit = KeyLimit.from_environment()
        # By path, then by method.
        self._routes: dict[str, dict[str, _Route[A]]] = {}
        self._contracts: dict[str, Contract] = {}
        self._elsewhere: dict[str, tuple[str, ...]] = {}
        # Without a location: the one line is always written at the same place.
        self._logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME", _SERVICE), location=None)
        self._metrics = EphemeralMetrics(namespace=namespace(), service=self._logger.service)
        self._cold = True
        self._seen: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self.handler: Handler = _traced(self._handle)

    def route(
        self, method: str, path: str, contract: Contract | None = None, *, scope: Scope
    ) -> Callable[[Answer[A]], Answer[A]]:
        """Register the function that answers a method and path.

        It is called if the request's key is good and has the scope. All methods of a path speak one contract.
        """
        self._contracts.setdefault(path, contract or self._contract)

        def register(answer: Answer[A]) -> Answer[A]:
            self._routes.setdefault(path, {})[method] = _Route(answer, scope)
            return answer

        return register

    def answered_elsewhere(self, path: str, *methods: str) -> None:
        """Say which methods of a path another function answers: `Allow` lists them too."""
        self._elsewhere[path] = methods

    @property
    def scopes(self) -> dict[tuple[str, str], Scope]:
        """The scope of each route, by its method and path."""
        return {
            (method, path): route.scope
            for path, routes in self._routes.items()
            for method, route in routes.items()
        }

    def count(self, **numbers: int) -> None:
        """Add numbers to the metrics of the present request, each under the name of its argument."""
        for name, value in numbers.items():
            self._counts[name] = self._counts.get(name, 0) + value

    def _handle(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        started = perf_counter()
        self._store.begin(self._seconds)
        self._seen = {"route": "unknown", "organization": "unknown", "key": "unknown"}
        self._counts = {}
        self._speaking = self._contract
        failure: Exception | None = None
        if event.get("resource") in self._routes:
            # The event's own path begins, behind a custom domain, with the domain's base path. And where a route
            # names a part of its path, that part is a parameter.
            event = event | {"path": event["resource"]}
        try:
            path = event["path"].rstrip("/")
            self._speaking = self._contracts.get(path, self._contract)
            reply = _proxy_reply(self._answer(event, path))
        except Exception as error:  # noqa: BLE001 - the outermost edge: no stack trace may reach the caller
            failure = error
            reply = _proxy_reply(self._speaking.refuse(Problem.INTERNAL))
        self._log(event, context, reply["statusCode"], perf_counter() - started, failure)
        return reply

    def _answer(self, event: Mapping[str, Any], path: str) -> Reply:
        """Answer by the route of the path and the event's method, or say that there is none."""
        method = event["httpMethod"].upper()
        routes = self._routes.get(path)
        if routes is None:
            return self._speaking.refuse(Problem.UNKNOWN_ROUTE)
        route = routes.get(method)
        if route is None:
            reply = self._speaking.refuse(Problem.WRONG_METHOD)
            body = "" if method == "HEAD" else reply.body
            allowed = (*routes, *self._elsewhere.get(path, ()))
            return Reply(reply.status, body, {"Allow": ", ".join(allowed)})
        self._seen["route"] = f"{method} {path}"
        try:
            request = Request.of(event)
            key = self._speaking.api_key(request)
            account = self._store.account(key) if key else None
            if account is None:
                self._seen["key"] = "unknown" if key and well_formed(key) else "malformed"
                return self._speaking.refuse(Problem.UNAUTHORIZED)
            self._seen |= {"organization": account.organization.id, "key": account.key_id}
            wait = self._limit.take(account.key_id)
            if wait:
                return _try_again(self._speaking.refuse(Problem.TOO_MANY_REQUESTS), wait)
            # Whoever lacks the scope learns nothing of the request's merits: nothing of it is read before.
            if route.scope not in account.scopes:
                return self._speaking.forbid(route.scope)
            return route.answer(account, request)
        except RequestRefusedError as refused:
            return refused.reply
        except tuple(self._problems) as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> Reply:
        problem = next(problem for kind, problem in self._problems.items() if isinstance(error, kind))
        if problem in (Problem.UNAVAILABLE, Problem.NOT_BUILT):
            self._seen["reason"] = str(error)
        return self._speaking.refuse(problem)

    def _log(
        self, event: Mapping[str, Any], context: Any, status: int, seconds: float, failure: Exception | None
    ) -> None:
        cost, milliseconds = self._store.cost, round(seconds * 1000, 3)
        self._metrics.add_dimension("route", self._seen["route"])
        self._metrics.add_metric("Latency", MetricUnit.Milliseconds, milliseconds)
        self._metrics.add_metric("ItemsRead", MetricUnit.Count, cost.items)
        self._metrics.add_metric("ReadUnits", MetricUnit.Count, cost.read_units)
        self._metrics.add_metric("Failures", MetricUnit.Count, int(status >= _SERVER_ERRORS))
        for name, value in self._counts.items():
            self._metrics.add_metric(name, MetricUnit.Count, value)
        fields = {
            **self._metrics.serialize_metric_set(),
            **self._seen,
            "status": status,
            "items": cost.items,
            "read_units": cost.read_units,
            "milliseconds": milliseconds,
            "request_id": (event.get("requestContext") or {}).get("requestId"),
            "function_request_id": getattr(context, "aws_request_id", None),
            "cold_start": self._cold,
        }
        self._metrics.clear_metrics()
        self._cold = False
        if failure is not None:
            self._logger.error("request failed", exc_info=failure, extra=fields)
        elif status >= _SERVER_ERRORS:
            # Of a level that is logged also where requests are not.
            self._logger.warning("request", extra=fields)
        else:
            self._logger.info("request", extra=fields)


def _traced(handler: Handler) -> Handler:
    """Trace the handler if the environment explicitly says that tracing is not disabled."""
    if os.environ.get("POWERTOOLS_TRACE_DISABLED") != "false":
        return handler
    # Imported only here, since importing the tracer takes as long as making the DynamoDB client.
    from aws_lambda_powertools.tracing import Tracer  # noqa: PLC0415

    traced: Handler = Tracer(patch_modules=["botocore"]).capture_lambda_handler(
        handler, capture_response=False
    )
    return traced


def _try_again(reply: Reply, seconds: int) -> Reply:
    return Reply(reply.status, reply.body, {**reply.headers, "Retry-After": str(seconds)})


def _proxy_reply(reply: Reply) -> dict[str, Any]:
    """Write a reply as a REST proxy integration answers."""
    headers = dict(reply.headers)
    if reply.counted_until:
        headers[_FRESHNESS] = format_instant(reply.counted_until)
    headers.setdefault("Content-Type", reply.content_type)
    return {
        "statusCode": reply.status,
        "body": reply.body,
        "isBase64Encoded": False,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
    }
