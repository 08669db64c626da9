"""Lago's query parameters, one by one, and its answer."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from meterstone.contracts import lago
from meterstone.contracts.message import Problem, Reply, Request, RequestRefusedError
from meterstone.usage.analytics import CountedDays, DayUsage, UsageQuery
from meterstone.usage.calendar import Granularity

TODAY = date(2023, 11, 30)
ORGANIZATION = "7d1f4f0e-3a52-4a53-9d1c-6a0c7f8b9e10"
DEFAULT = UsageQuery(Granularity.DAILY, date(2023, 10, 31).toordinal(), TODAY.toordinal())


def request(
    parameters: Mapping[str, str | Sequence[str]] | None = None, headers: Mapping[str, str] | None = None
) -> Request:
    several = {
        name: [value] if isinstance(value, str) else list(value) for name, value in (parameters or {}).items()
    }
    return Request.of(
        {
            "httpMethod": "GET",
            "path": "/api/v1/analytics/usage",
            "queryStringParameters": {name: values[-1] for name, values in several.items()} or None,
            "multiValueQueryStringParameters": several or None,
            "headers": dict(headers or {}),
        }
    )


def parse(**parameters: str | Sequence[str]) -> UsageQuery:
    return lago.parse(request(parameters), TODAY.toordinal())


def faults(parameters: Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    with pytest.raises(RequestRefusedError) as refused:
        lago.parse(request(parameters), TODAY.toordinal())
    assert refused.value.reply.status == 422
    body = json.loads(refused.value.reply.body)
    details: dict[str, list[str]] = body.pop("error_details")
    assert body.pop("reasons").keys() == details.keys()
    assert body == {"status": 422, "error": "Unprocessable Entity", "code": "validation_errors"}
    return details


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"time_granularity": "hourly"}, "must be one of daily, weekly, monthly, yearly"),
        ({"currency": "EURO"}, "is not an ISO 4217 currency, such as USD"),
        ({"currency": ["USD", "USD"]}, "is given more than once"),
        ({"currency[]": "USD"}, "must not be a list"),
        ({"customer_type": "person"}, "must be one of company, individual"),
        ({"customer_country": "XX"}, "is not an ISO 3166-1 alpha-2 country, such as NO"),
        ({"is_billable_metric_recurring": "yes"}, "must be true or false"),
        ({"plan_code": ""}, "is empty"),
        ({"plan_code": "x" * 256}, "has 256 characters, 255 are allowed"),
        ({"plan_code": "\ud800"}, "must be text without control characters"),
        ({"plan_code": "two\nlines"}, "must be text without control characters"),
        ({"from_date": "2023-02-29"}, "must be a day of the calendar, such as 2026-01-31"),
        ({"from_date": "2023-11-02", "to_date": "2023-11-01"}, "is after to_date"),
        (
            {"from_date": "2020-01-01", "to_date": "2021-02-05"},
            "makes a range of more than 400 days, the most with daily",
        ),
        (
            {"time_granularity": "weekly", "from_date": "2020-01-01", "to_date": "2023-01-01"},
            "makes a range of more than 3 years, the most with weekly",
        ),
        (
            {"time_granularity": "monthly", "from_date": "2010-01-01", "to_date": "2020-01-01"},
            "makes a range of more than 10 years, the most with monthly",
        ),
        (
            {"time_granularity": "yearly", "from_date": "1990-01-01", "to_date": "2020-01-01"},
            "makes a range of more than 30 years, the most with yearly",
        ),
    ],
)
def test_the_reason_beside_a_code(parameters: dict[str, Any], reason: str) -> None:
    several = {name: [value] if isinstance(value, str) else value for name, value in parameters.items()}
    with pytest.raises(RequestRefusedError) as refused:
        lago.parse(request(several), TODAY.toordinal())
    assert list(json.loads(refused.value.reply.body)["reasons"].values()) == [reason]


def test_without_parameters_it_is_the_last_thirty_days() -> None:
    assert parse() == DEFAULT


@pytest.mark.parametrize(
    ("granularity", "to_date", "from_date"),
    [
        pytest.param("daily", "2023-11-30", "2023-10-31", id="30 days"),
        pytest.param("daily", "0001-01-05", "0001-01-01", id="30 days, not before the calendar"),
        pytest.param("weekly", "2023-11-30", "2023-09-04", id="12 weeks, moved back to a Monday"),
        pytest.param("weekly", "2023-11-27", "2023-09-04", id="12 weeks from a Monday"),
        pytest.param("weekly", "0001-01-01", "0001-01-01", id="12 weeks, not before the calendar"),
        pytest.param("monthly", "2023-11-30", "2022-11-01", id="12 months, moved back to the first"),
        pytest.param("monthly", "2024-02-29", "2023-02-01", id="12 months from a leap day"),
        pytest.param("monthly", "0001-06-01", "0001-01-01", id="12 months, not before the calendar"),
        pytest.param("yearly", "2023-11-30", "2018-01-01", id="5 years, moved back to January"),
        pytest.param("yearly", "0003-01-01", "0001-01-01", id="5 years, not before the calendar"),
    ],
)
def test_default_from_date(granularity: str, to_date: str, from_date: str) -> None:
    query = parse(time_granularity=granularity, to_date=to_date)
    assert date.fromordinal(query.from_day).isoformat() == from_date
    assert date.fromordinal(query.to_day).isoformat() == to_date


@pytest.mark.parametrize(
    ("granularity", "from_date", "last"),
    [
        pytest.param("daily", "2022-01-01", "2023-02-04", id="400 days"),
        pytest.param("weekly", "2020-01-01", "2022-12-31", id="3 years"),
        pytest.param("weekly", "2020-02-29", "2023-02-28", id="3 years from a leap day"),
        pytest.param("monthly", "2014-05-17", "2024-05-16", id="10 years"),
        pytest.param("yearly", "1994-01-01", "2023-12-31", id="30 years"),
    ],
)
def test_longest_range(granularity: str, from_date: str, last: str) -> None:
    longest = parse(time_granularity=granularity, from_date=from_date, to_date=last)
    assert date.fromordinal(longest.to_day).isoformat() == last
    beyond = date.fromordinal(longest.to_day + 1).isoformat()
    asked = {"time_granularity": granularity, "from_date": from_date, "to_date": beyond}
    assert faults(asked) == {"from_date": ["value_is_out_of_range"]}


def test_the_longest_range_ends_with_the_calendar() -> None:
    query = parse(time_granularity="yearly", from_date="9990-01-01", to_date="9999-12-31")
    assert date.fromordinal(query.to_day) == date.max


@pytest.mark.parametrize(
    ("name", "value", "field", "read"),
    [
        pytest.param("time_granularity", "weekly", "granularity", Granularity.WEEKLY, id="granularity"),
        pytest.param("currency", "USD", "currency", "usd", id="currency as Lago writes it"),
        pytest.param("currency", "jpy", "currency", "jpy", id="currency as Flexprice writes it"),
        pytest.param("currency", "HRK", "currency", "hrk", id="withdrawn currency"),
        pytest.param("customer_type", "company", "customer_type", "company", id="customer type"),
        pytest.param("customer_country", "DE", "customer_country", "DE", id="country"),
        pytest.param("customer_country", "de", "customer_country", "DE", id="country, lower case"),
        pytest.param("external_customer_id", "c#1/ä", "external_customer_id", "c#1/ä", id="customer"),
        pytest.param("external_customer_id", "x" * 255, "external_customer_id", "x" * 255, id="longest id"),
        pytest.param("external_subscription_id", " s ", "external_subscription_id", " s ", id="subscription"),
        pytest.param("plan_code", "None", "plan_code", "None", id="plan"),
        pytest.param("billable_metric_code", "tokens", "metric_code", "tokens", id="metric"),
        *[
            pytest.param("is_billable_metric_recurring", text, "recurring", True, id=f"recurring {text}")
            for text in ("true", "True", "1")
        ],
        *[
            pytest.param("is_billable_metric_recurring", text, "recurring", False, id=f"recurring {text}")
            for text in ("false", "False", "0")
        ],
    ],
)
def test_parameter(name: str, value: str, field: str, read: object) -> None:
    query = parse(**{name: value})
    assert getattr(query, field) == read


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        pytest.param("time_granularity", "hourly", "value_is_invalid", id="granularity unknown"),
        pytest.param("time_granularity", "DAILY", "value_is_invalid", id="granularity in capitals"),
        pytest.param("time_granularity", "", "value_is_mandatory", id="granularity empty"),
        pytest.param("currency", "XYZ", "value_is_invalid", id="currency unknown"),
        pytest.param("currency", "US", "value_is_invalid", id="currency too short"),
        pytest.param("currency", "\u0131nr", "value_is_invalid", id="currency with a dotless i"),
        pytest.param("currency", "", "value_is_mandatory", id="currency empty"),
        pytest.param("customer_type", "Company", "value_is_invalid", id="customer type in capitals"),
        pytest.param("customer_country", "XX", "not_a_valid_country_code", id="country unknown"),
        pytest.param("customer_country", "USA", "not_a_valid_country_code", id="country of three letters"),
        pytest.param("customer_country", "\ufb01", "not_a_valid_country_code", id="country as a ligature"),
        pytest.param("customer_country", "", "value_is_mandatory", id="country empty"),
        pytest.param("external_customer_id", "", "value_is_mandatory", id="id empty"),
        pytest.param("external_customer_id", "x" * 256, "value_is_too_long", id="id of 256 characters"),
        pytest.param("plan_code", "x" * 10_000, "value_is_too_long", id="id of 10,000 characters"),
        pytest.param("billable_metric_code", "a\x00b", "value_is_invalid", id="id with a NUL"),
        pytest.param("external_subscription_id", "a\nb", "value_is_invalid", id="id with a line break"),
        pytest.param("external_subscription_id", "\ud800", "value_is_invalid", id="id with half a pair"),
        pytest.param("plan_code", ["a", "b"], "value_is_invalid", id="given twice"),
        pytest.param("plan_code", ["a", "a"], "value_is_invalid", id="given twice, the same"),
        pytest.param("is_billable_metric_recurring", "yes", "value_is_invalid", id="recurring yes"),
        pytest.param("is_billable_metric_recurring", "TRUE", "value_is_invalid", id="recurring in capitals"),
        pytest.param("is_billable_metric_recurring", "", "value_is_mandatory", id="recurring empty"),
        *[
            pytest.param("from_date", text, "invalid_date", id=f"from_date {text!r}")
            for text in (
                "",
                "2023-02-29",
                "2023-13-01",
                "2023-00-10",
                "0000-01-01",
                "10000-01-01",
                "20231101",
                "2023-W44-1",
                "2023-1-1",
                " 2023-11-01",
                "2023-11-01\n",
                "2023-11-01T00:00:00Z",
                "-2023-11-01",
                "\u0662\u0660\u0662\u0663-\u0661\u0661-\u0660\u0661",
                "2023-11-0\uff11",
                "yesterday",
                "2023\x00-11-01",
                "1e400",
                "NaN",
            )
        ],
    ],
)
def test_bad_parameter(name: str, value: str | list[str], code: str) -> None:
    assert faults({name: value}) == {name: [code]}


@pytest.mark.parametrize("given", ["currency[]", "currency[0]", "currency[code]"])
def test_a_list_is_not_taken_for_an_unknown_parameter(given: str) -> None:
    assert faults({given: "USD"}) == {"currency": ["value_is_invalid"]}


def test_from_date_after_to_date() -> None:
    asked = {"from_date": "2023-11-02", "to_date": "2023-11-01"}
    assert faults(asked) == {"from_date": ["invalid_date_range"]}


def test_from_date_after_today() -> None:
    assert faults({"from_date": "2023-12-01"}) == {"from_date": ["invalid_date_range"]}


def test_one_day_is_a_range() -> None:
    query = parse(from_date="2023-11-01", to_date="2023-11-01")
    assert query.from_day == query.to_day == date(2023, 11, 1).toordinal()


def test_every_bad_parameter_is_named_at_once() -> None:
    asked = dict.fromkeys(lago.PARAMETERS, "\x00")
    assert list(faults(asked)) == list(lago.PARAMETERS)


def test_unknown_parameters_are_ignored() -> None:
    assert parse(page="2", Currency="nonsense", **{"other[]": ["a", "b"]}) == DEFAULT


def test_single_valued_parameters_do_without_the_others() -> None:
    """Some emulators of API Gateway leave the multi-valued ones out."""
    event = {
        "httpMethod": "GET",
        "path": "/",
        "queryStringParameters": {"currency": "EUR", "plan_code": None},
    }
    with pytest.raises(RequestRefusedError) as refused:
        lago.parse(Request.of(event), TODAY.toordinal())
    assert json.loads(refused.value.reply.body)["error_details"] == {"plan_code": ["value_is_mandatory"]}


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        pytest.param({"Authorization": "Bearer k-1"}, "k-1", id="as the client sends it"),
        pytest.param({"authorization": "bearer  k-1 "}, "k-1", id="lower case, more spaces"),
        pytest.param({}, None, id="no header"),
        pytest.param({"Authorization": ""}, None, id="empty"),
        pytest.param({"Authorization": "Bearer"}, None, id="no key"),
        pytest.param({"Authorization": "k-1"}, None, id="no scheme"),
        pytest.param({"Authorization": "Basic k-1"}, None, id="another scheme"),
        pytest.param({"Authorization": "Bearer k 1"}, None, id="two keys"),
        pytest.param({"Authorization": "Bearer ключ"}, None, id="not ASCII"),
        pytest.param({"Authorization": "Bearer k\x00"}, None, id="control character"),
        pytest.param({"Authorization": "Bearer " + "k" * 512}, "k" * 512, id="512 characters"),
        pytest.param({"Authorization": "Bearer " + "k" * 513}, None, id="513 characters"),
        pytest.param({"x-api-key": "k-1"}, None, id="the other contract's header"),
    ],
)
def test_api_key(headers: dict[str, str], key: str | None) -> None:
    assert lago.api_key(request(headers=headers)) == key


def test_two_keys_are_none() -> None:
    event: dict[str, Any] = {
        "httpMethod": "GET",
        "path": "/",
        "headers": {"Authorization": "Bearer b"},
        "multiValueHeaders": {"Authorization": ["Bearer a", "Bearer b"]},
    }
    assert lago.api_key(Request.of(event)) is None


def test_two_spellings_of_the_header_are_two_keys() -> None:
    assert lago.api_key(request(headers={"Authorization": "Bearer a", "AUTHORIZATION": "Bearer b"})) is None
    assert lago.api_key(request(headers={"Authorization": "Bearer a", "AUTHORIZATION": "Bearer a"})) == "a"


def day(shown: str, units: str, cents: int, currency: str = "usd", code: str = "tokens") -> DayUsage:
    return DayUsage(date.fromisoformat(shown).toordinal(), currency, code, Decimal(units), cents)


def answer(days: Iterable[DayUsage], deleted_codes: frozenset[str], counted_until: int = 0) -> Reply:
    return lago.answer(ORGANIZATION, DEFAULT, [CountedDays(counted_until, days)], deleted_codes)


def test_a_row_has_all_eight_fields() -> None:
    reply = answer([day("2023-11-01", "1E+3", 50_000)], frozenset({"tokens"}))
    assert (reply.status, json.loads(reply.body)) == (
        200,
        {
            "usages": [
                {
                    "organization_id": ORGANIZATION,
                    "start_of_period_dt": "2023-11-01",
                    "end_of_period_dt": "2023-11-01",
                    "amount_currency": "USD",
                    "amount_cents": 50_000,
                    "billable_metric_code": "tokens",
                    "units": "1000",
                    "is_billable_metric_deleted": True,
                }
            ]
        },
    )


@pytest.mark.parametrize(
    ("units", "printed"),
    [
        ("0.0000001", "0.0000001"),
        ("-12.50", "-12.5"),
        ("1E+3", "1000"),
        ("-0.0", "0"),
        ("1E-15", "0." + "0" * 14 + "1"),
    ],
)
def test_units_are_plain_text(units: str, printed: str) -> None:
    reply = answer([day("2023-11-01", units, 1)], frozenset())
    assert json.loads(reply.body)["usages"][0]["units"] == printed


def test_an_amount_may_exceed_64_bits() -> None:
    reply = answer([day("2023-11-01", "1", 10**30)], frozenset())
    assert f'"amount_cents":{10**30},' in reply.body


def test_a_reply_says_until_when_it_has_counted() -> None:
    assert answer([day("2023-11-01", "1", 1)], frozenset(), counted_until=7).counted_until == 7


def test_no_usage_is_an_empty_list() -> None:
    assert answer([], frozenset()).body == '{"usages":[]}'


def test_an_answer_over_5_mb_is_refused_before_all_is_read() -> None:
    read = 0

    def endless() -> Any:
        nonlocal read
        while read < 1_000_000:
            read += 1
            yield day("2023-11-01", "1", 1, code=f"metric-{read}")

    with pytest.raises(RequestRefusedError) as refused:
        answer(endless(), frozenset())
    assert json.loads(refused.value.reply.body)["error_details"] == {"from_date": ["answer_is_too_large"]}
    assert read < 25_000


@pytest.mark.parametrize("letter", ["x", "€"], ids=["one byte a letter", "three bytes a letter"])
def test_an_answer_of_long_codes_is_refused_by_its_bytes(letter: str) -> None:
    def codes(count: int) -> list[DayUsage]:
        return [day("2023-11-01", "1", 1, code=letter * 250 + str(index)) for index in range(count)]

    row = len(answer(codes(10), frozenset()).body.encode()) // 10
    fits = answer(codes(4_900_000 // row), frozenset())
    assert 4_800_000 < len(fits.body.encode()) < 5_000_000
    with pytest.raises(RequestRefusedError):
        answer(codes(5_100_000 // row), frozenset())


def test_what_only_a_rebuild_can_answer_is_unprocessable() -> None:
    reply = lago.refuse(Problem.NOT_BUILT)
    assert (reply.status, json.loads(reply.body), reply.headers) == (
        422,
        {
            "status": 422,
            "error": "Unprocessable Entity",
            "code": "view_not_built",
            "error_details": {"base": ["view_not_built"]},
            "reasons": {
                "base": "these filters together are answered only after the operator has run a rebuild"
            },
        },
        {},
    )


@pytest.mark.parametrize(("letters", "fits"), [(0, True), (1, False)], ids=["5,000,000", "5,000,001"])
def test_an_answer_of_exactly_5_mb_is_the_largest(letters: int, *, fits: bool) -> None:
    def codes(count: int, last: int) -> list[DayUsage]:
        return [day("2023-11-01", "1", 1, code=f"{index:0250}") for index in range(count)] + [
            day("2023-11-01", "1", 1, code="9" * last)
        ]

    one, two = (len(answer(codes(count, 1), frozenset()).body) for count in (1, 2))
    count = (5_000_000 - one) // (two - one)
    last = 1 + 5_000_000 - one - (count - 1) * (two - one)
    if fits:
        assert len(answer(codes(count, last + letters), frozenset()).body) == 5_000_000
    else:
        with pytest.raises(RequestRefusedError):
            answer(codes(count, last + letters), frozenset())


@pytest.mark.parametrize(
    ("problem", "status", "error"),
    [
        (Problem.UNAUTHORIZED, 401, "Unauthorized"),
        (Problem.NOT_FOUND, 404, "Not Found"),
        (Problem.UNKNOWN_ROUTE, 404, "Not Found"),
        (Problem.WRONG_METHOD, 405, "Method Not Allowed"),
        (Problem.UNAVAILABLE, 503, "Service Unavailable"),
        (Problem.INTERNAL, 500, "Internal Server Error"),
    ],
)
def test_errors_are_in_lagos_shape(problem: Problem, status: int, error: str) -> None:
    reply = lago.refuse(problem)
    assert (reply.status, json.loads(reply.body)) == (status, {"status": status, "error": error})
    assert ("Retry-After" in reply.headers) is (problem is Problem.UNAVAILABLE)
