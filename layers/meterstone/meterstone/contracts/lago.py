"""Lago's `GET /api/v1/analytics/usage` on the wire: query parameters, the answer, and errors.

The API's description leaves some questions open. The answers here:

- A parameter given more than once, even with the same value, and a list such as `currency[]=USD` are refused. If
  such a filter were silently dropped, the answer would show more usage than was asked for.
- An empty value is refused for the same reason.
- Error codes are Lago's (in its `config/locales/en.yml`) where Lago has one for the case. `answer_is_too_large`
  and `view_not_built` are our own.
- `Accept: text/csv` is answered with the same rows as CSV, whose columns are the fields. Errors stay JSON.
- Lago's clients read codes in `error_details`. Beside it, `reasons` has the same keys, and says in words what the
  codes leave open: a text for each list of codes.
"""

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple, assert_never

import msgspec

from meterstone.contracts.csv_text import VARY, Cell, csv_reply
from meterstone.contracts.message import (
    RETRY_AFTER,
    Problem,
    Reply,
    Request,
    RequestRefusedError,
    possible_key,
)
from meterstone.pricing.currency import is_currency
from meterstone.pricing.money import plain
from meterstone.scope import Scope
from meterstone.usage.analytics import (
    AnswerTooLargeError,
    CountedDays,
    UsageQuery,
    UsageRow,
    default_from_day,
    last_to_day,
    rows,
)
from meterstone.usage.calendar import Granularity
from meterstone.usage.charge import CUSTOMER_TYPES
from meterstone.usage.identifier import LONGEST_ID, is_text

LARGEST_ANSWER: Final = 5_000_000
"""How many bytes an answer may have. Lambda itself refuses answers over 6 MB."""

INVALID: Final = "value_is_invalid"
MISSING: Final = "value_is_mandatory"
TOO_LONG: Final = "value_is_too_long"
INVALID_DATE: Final = "invalid_date"
INVALID_RANGE: Final = "invalid_date_range"
OUT_OF_RANGE: Final = "value_is_out_of_range"
INVALID_COUNTRY: Final = "not_a_valid_country_code"
ANSWER_TOO_LARGE: Final = "answer_is_too_large"
VIEW_NOT_BUILT: Final = "view_not_built"
MISSING_SCOPE: Final = "missing_scope"

PARAMETERS: Final = (
    "time_granularity",
    "currency",
    "from_date",
    "to_date",
    "customer_type",
    "external_customer_id",
    "customer_country",
    "external_subscription_id",
    "is_billable_metric_recurring",
    "plan_code",
    "billable_metric_code",
)


_COUNTRIES: Final = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT "
    "BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH "
    "ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT "
    "HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS "
    "LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI "
    "NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG "
    "SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG "
    "UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW"
)

COUNTRIES: Final = frozenset(_COUNTRIES.split())
"""ISO 3166-1 alpha-2, as Lago's API lists it."""

#: How long a range may be at most: see `last_to_day`.
_LONGEST: Final = {
    Granularity.DAILY: "400 days",
    Granularity.WEEKLY: "3 years",
    Granularity.MONTHLY: "10 years",
    Granularity.YEARLY: "30 years",
}
_BOOLEANS: Final = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class UsageObject(msgspec.Struct, frozen=True, gc=False):
    """A row on the wire. The official Python client needs all eight fields, none of them null."""

    organization_id: str
    start_of_period_dt: str
    end_of_period_dt: str
    #: Upper case.
    amount_currency: str
    #: In the currency's minor unit.
    amount_cents: int
    billable_metric_code: str
    #: Plain decimal text; negative where usage fell.
    units: str
    is_billable_metric_deleted: bool


#: The place of `units`, which only the last field follows.
_UNITS: Final = UsageObject.__struct_fields__.index("units")


class Fault(NamedTuple):
    """What is wrong with one field: Lago's code, and the reason in words that do not repeat the value.

    ``detail`` is a code of our own that says more, or empty.
    """

    code: str
    reason: str
    detail: str = ""

    def codes(self) -> list[str]:
        """List the codes, Lago's first."""
        return [self.code, self.detail] if self.detail else [self.code]


class ValueFaultError(ValueError):
    """A parameter's value is refused."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.fault = Fault(code, reason)


def api_key(request: Request) -> str | None:
    """Return the key of `Authorization: Bearer KEY`; the scheme's case does not matter."""
    match (request.header("authorization") or "").split():
        case [scheme, key] if scheme.lower() == "bearer":
            return possible_key(key)
        case _:
            return None


def parse(request: Request, today: int) -> UsageQuery:
    """Read the query parameters. `today` is the organization's present day, the default of `to_date`.

    Unknown parameters are ignored. Raises `RequestRefusedError` (422) with all bad parameters at once.
    """
    faults = repeated(request.parameters, PARAMETERS)

    def read[Value](name: str, reader: Callable[[str], Value]) -> Value | None:
        if name in faults or name not in request.parameters:
            return None
        try:
            return reader(request.parameters[name][0])
        except ValueFaultError as error:
            faults[name] = error.fault
            return None

    granularity = read("time_granularity", _granularity) or Granularity.DAILY
    from_day, to_day = read("from_date", _day), read("to_date", _day)
    last = today if to_day is None else to_day
    query = UsageQuery(
        granularity,
        default_from_day(granularity, last) if from_day is None else from_day,
        last,
        currency=read("currency", _currency),
        customer_type=read("customer_type", _customer_type),
        external_customer_id=read("external_customer_id", identifier),
        customer_country=read("customer_country", _country),
        external_subscription_id=read("external_subscription_id", identifier),
        recurring=read("is_billable_metric_recurring", _boolean),
        plan_code=read("plan_code", identifier),
        metric_code=read("billable_metric_code", identifier),
    )
    if not faults.keys() & {"time_granularity", "from_date", "to_date"}:
        if query.from_day > query.to_day:
            faults["from_date"] = Fault(INVALID_RANGE, "is after to_date")
        elif query.to_day > last_to_day(granularity, query.from_day):
            reason = f"makes a range of more than {_LONGEST[granularity]}, the most with {granularity}"
            faults["from_date"] = Fault(OUT_OF_RANGE, reason)
    if faults:
        # In the order of the parameters, so that the same request has the same answer.
        raise RequestRefusedError(
            unprocessable({name: faults[name] for name in PARAMETERS if name in faults})
        )
    return query


def answer(
    organization_id: str,
    query: UsageQuery,
    items: Iterable[CountedDays],
    deleted_codes: Container[str],
    *,
    as_csv: bool = False,
) -> Reply:
    """Write the answer to a query, from the days of usage as stored items have them, in JSON or as CSV.

    Raises `RequestRefusedError` (422) if the answer would be over 5 MB. The rest of the items is then not read.
    """
    try:
        found = rows(items, query.granularity, deleted_codes, most_rows=LARGEST_ANSWER // _SMALLEST_ROW)
    except AnswerTooLargeError:
        raise RequestRefusedError(_too_large()) from None
    usages = usage_objects(organization_id, found.rows)
    if as_csv:
        cells = map(csv_cells, usages, found.rows)
        reply = csv_reply(UsageObject.__struct_fields__, cells, counted_until=found.counted_until)
    else:
        reply = Reply.of(200, {"usages": usages}, VARY, found.counted_until)
    if is_too_large(reply):
        raise RequestRefusedError(_too_large())
    return reply


def usage_objects(organization_id: str, found: Iterable[UsageRow]) -> list[UsageObject]:
    """Write rows as they stand in an answer."""
    dates: dict[int, str] = {}
    return [
        UsageObject(
            organization_id,
            dates.get(row.start_day) or _iso(row.start_day, dates),
            dates.get(row.end_day) or _iso(row.end_day, dates),
            row.currency.upper(),
            row.amount_cents,
            row.metric_code,
            str(row.units) if isinstance(row.units, int) else plain(row.units),
            row.deleted,
        )
        for row in found
    ]


def csv_cells(usage: UsageObject, row: UsageRow) -> Sequence[Cell]:
    """Write a row as cells of CSV: the fields, but units as a number. A text that begins with a sign is quoted."""
    return (*msgspec.structs.astuple(usage)[:_UNITS], row.units, usage.is_billable_metric_deleted)


def is_too_large(reply: Reply) -> bool:
    """Return whether an answer has more bytes than an answer may have."""
    size = len(reply.body) if reply.body.isascii() else len(reply.body.encode())
    return size > LARGEST_ANSWER


def refuse(problem: Problem) -> Reply:
    """Write the reply to a problem: `{"status", "error"}`, and for a 422 also a code and details.

    `NOT_BUILT` is a 422: each parameter is valid, but this combination of filters has no answer yet. After a 503
    clients would ask again, in vain until a rebuild is run. Rails lists an error that concerns no single parameter
    under `base`.
    """
    match problem:
        case Problem.UNAUTHORIZED:
            return _error(401, "Unauthorized")
        case Problem.TOO_MANY_REQUESTS:
            return _error(429, "Too Many Requests")
        case Problem.NOT_FOUND | Problem.UNKNOWN_ROUTE:
            return _error(404, "Not Found")
        case Problem.WRONG_METHOD:
            return _error(405, "Method Not Allowed")
        case Problem.NOT_BUILT:
            reason = "these filters together are answered only after the operator has run a rebuild"
            return unprocessable({"base": Fault(VIEW_NOT_BUILT, reason)}, VIEW_NOT_BUILT)
        case Problem.UNAVAILABLE:
            return _error(503, "Service Unavailable", RETRY_AFTER)
        case Problem.INTERNAL:
            return _error(500, "Internal Server Error")
        case _:
            assert_never(problem)


def forbid(scope: Scope) -> Reply:
    """Refuse a key that lacks a scope: `{"status", "error", "code"}`, as Lago does, and which scope it lacks."""
    return Reply.of(
        403,
        {
            "status": 403,
            "error": "Forbidden",
            "code": MISSING_SCOPE,
            "error_details": {"scope": [scope]},
            "reasons": {"scope": f"this key does not have the scope '{scope}', which this route needs"},
        },
    )


def _error(status: int, error: str, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply.of(status, {"status": status, "error": error}, headers)


def unprocessable(
    faults: Mapping[str, Fault | Mapping[str, Fault]], code: str = "validation_errors"
) -> Reply:
    """Answer 422 with each field's code and reason; of a batch, each event's fields under its place."""
    return Reply.of(
        422,
        {
            "status": 422,
            "error": "Unprocessable Entity",
            "code": code,
            "error_details": {name: _codes(fault) for name, fault in faults.items()},
            "reasons": {name: _reasons(fault) for name, fault in faults.items()},
        },
    )


def _codes(found: Fault | Mapping[str, Fault]) -> list[str] | dict[str, list[str]]:
    return (
        found.codes() if isinstance(found, Fault) else {name: fault.codes() for name, fault in found.items()}
    )


def _reasons(found: Fault | Mapping[str, Fault]) -> str | dict[str, str]:
    return found.reason if isinstance(found, Fault) else {name: fault.reason for name, fault in found.items()}


def _too_large() -> Reply:
    reason = f"the answer would have more than {LARGEST_ANSWER} bytes: ask for fewer days, or filter more"
    return unprocessable({"from_date": Fault(ANSWER_TOO_LARGE, reason)})


def repeated(parameters: Mapping[str, tuple[str, ...]], names: Container[str]) -> dict[str, Fault]:
    """Return the faults of those parameters that are given as a list, or more than once."""
    faults = {}
    for given, values in parameters.items():
        name, bracket, _ = given.partition("[")
        if name in names and (bracket or len(values) > 1):
            reason = "must not be a list" if bracket else "is given more than once"
            faults[name] = Fault(INVALID, reason)
    return faults


def _granularity(text: str) -> Granularity:
    if _given(text) not in Granularity:
        raise ValueFaultError(INVALID, f"must be one of {', '.join(Granularity)}")
    return Granularity(text)


def _day(text: str) -> int:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text).toordinal()
    except ValueError:
        pass  # No such day, and no year 0.
    raise ValueFaultError(INVALID_DATE, "must be a day of the calendar, such as 2026-01-31")


def _currency(text: str) -> str:
    if not is_currency(_given(text)):
        raise ValueFaultError(INVALID, "is not an ISO 4217 currency, such as USD")
    return text.lower()


def _customer_type(text: str) -> str:
    if _given(text) not in CUSTOMER_TYPES:
        raise ValueFaultError(INVALID, f"must be one of {', '.join(sorted(CUSTOMER_TYPES))}")
    return text


def _country(text: str) -> str:
    # upper() would map some letters beyond ASCII onto ASCII letters.
    if not _given(text).isascii() or text.upper() not in COUNTRIES:
        raise ValueFaultError(INVALID_COUNTRY, "is not an ISO 3166-1 alpha-2 country, such as NO")
    return text.upper()


def _boolean(text: str) -> bool:
    if _given(text) not in _BOOLEANS:
        raise ValueFaultError(INVALID, "must be true or false")
    return _BOOLEANS[text]


def identifier(text: str) -> str:
    """Read an id or a code. Raises `ValueFaultError` for what none can be."""
    if len(_given(text)) > LONGEST_ID:
        raise ValueFaultError(TOO_LONG, f"has {len(text)} characters, {LONGEST_ID} are allowed")
    if not is_text(text):
        raise ValueFaultError(INVALID, "must be text without control characters")
    return text


def _given(text: str) -> str:
    if not text:
        raise ValueFaultError(MISSING, "is empty")
    return text


def _iso(day: int, known: dict[int, str]) -> str:
    text = known.get(day)
    if text is None:
        text = known[day] = date.fromordinal(day).isoformat()
    return text


_SMALLEST_ROW: Final = len(
    msgspec.json.encode(
        UsageObject("-" * 36, "0001-01-01", "0001-01-01", "USD", 0, "c", "1", is_billable_metric_deleted=True)
    )
)
