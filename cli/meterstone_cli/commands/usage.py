"""The command that shows what was used and what it costs: by the day of an organization, or a subscription's bill.

It reads the table itself, by the code that answers the two endpoints, and not over HTTP. So it works where no
function runs, needs no API key beside the credentials that every other command has, and is not held to 5 MB; and
its numbers are the endpoints' numbers, as there is no second way to them.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final, Never

import typer

from meterstone import clock
from meterstone.contracts import flexprice, lago
from meterstone.contracts.csv_text import csv_line
from meterstone.contracts.explain import explained
from meterstone.contracts.message import Request, RequestRefusedError
from meterstone.store.catalogue.accounts import Account
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Table
from meterstone.store.reading.analytics import AnalyticsStore
from meterstone.usage.analytics import UsageQuery, rows
from meterstone.usage.calendar import Granularity, zone
from meterstone.usage.explanation import explain as explanation_of
from meterstone_cli import billing
from meterstone_cli.exit_status import NOT_UNDERSTOOD, REFUSED
from meterstone_cli.options import Csv, Json, Organization, TableName, tell_body
from meterstone_cli.progress import printable, say
from meterstone_cli.screen import Screen
from meterstone_cli.session import known_account, open_table
from meterstone_cli.statement_text import statement_csv, statement_lines
from meterstone_cli.usage_text import usage_lines

_NO_LIMIT: Final = 10**9


class By(StrEnum):
    """How long the calendar buckets are."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


_GRANULARITIES: Final = {
    By.DAY: Granularity.DAILY,
    By.WEEK: Granularity.WEEKLY,
    By.MONTH: Granularity.MONTHLY,
    By.YEAR: Granularity.YEARLY,
}
#: The options that say which usage is shown, by the parameter of the endpoint.
_OPTIONS: Final = {
    "time_granularity": "--by",
    "currency": "--currency",
    "from_date": "--from",
    "to_date": "--to",
    "customer_type": "--customer-type",
    "external_customer_id": "--customer",
    "customer_country": "--country",
    "external_subscription_id": "--external-subscription",
    "is_billable_metric_recurring": "--recurring",
    "plan_code": "--plan",
    "billable_metric_code": "--metric",
}


def usage(
    organization: Organization,
    subscription: Annotated[
        str | None,
        typer.Option(
            "--subscription", "-s", help="The bill of one subscription, by its id, or by its external id."
        ),
    ] = None,
    by: Annotated[By | None, typer.Option(help="How long the rows are. [default: day]")] = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="First day. Of a subscription also an instant, RFC 3339.")
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", help="Last day, itself included; or the instant before which it ends."),
    ] = None,
    lifetime: Annotated[
        bool, typer.Option("--lifetime", help="All of a subscription, from its start until now.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say of each charge of a subscription how it came about.")
    ] = False,
    currency: Annotated[str | None, typer.Option(help="Usage in one currency, such as USD.")] = None,
    customer: Annotated[str | None, typer.Option(help="Of one customer, by its external id.")] = None,
    external_subscription: Annotated[
        str | None, typer.Option(help="Of one external id of subscriptions.")
    ] = None,
    plan: Annotated[str | None, typer.Option(help="Of one plan, by its code.")] = None,
    metric: Annotated[str | None, typer.Option(help="Of one meter, by its code.")] = None,
    recurring: Annotated[
        bool | None, typer.Option("--recurring/--not-recurring", help="Of meters that carry over, or not.")
    ] = None,
    country: Annotated[str | None, typer.Option(help="Of customers in one country, such as NO.")] = None,
    customer_type: Annotated[
        str | None, typer.Option(help="Of customers of a type: company, individual.")
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
    table_name: TableName = "meterstone",
) -> None:
    """Show what was used, and what it costs: of an organization by the day, or one subscription's bill.

    Without --subscription, each currency has a row and a bar a day (or --by week, month, year), and a row a meter.
    They are the last 30 days, unless --from and --to say others, which the organization's time zone begins. The
    numbers are those of the analytics endpoint, and so are the filters.

    With --subscription, it is what the usage endpoint answers: a row a charge, in the current billing period
    unless --from and --to say another window. --explain adds how each came about, and what a commitment took.

    Currencies are never added up. Whether it is all that has come in, the last line says.
    """
    filters = {
        "time_granularity": None if by is None else _GRANULARITIES[by],
        "currency": currency,
        "external_customer_id": customer,
        "external_subscription_id": external_subscription,
        "plan_code": plan,
        "billable_metric_code": metric,
        "is_billable_metric_recurring": None if recurring is None else str(recurring).lower(),
        "customer_country": country,
        "customer_type": customer_type,
    }
    given = {name: str(value) for name, value in filters.items() if value is not None}
    if as_json and as_csv:
        _refuse("give either --json or --csv")
    if subscription is None and (explain or lifetime):
        _refuse(
            f"{'--explain' if explain else '--lifetime'} is of one subscription: name it with --subscription"
        )
    if subscription is not None and given:
        of_one = f"is not for one --subscription; --external-subscription {subscription} shows its days"
        _refuse(*(f"{_OPTIONS[name]} {of_one}" for name in given))
    table = open_table(table_name)
    account = known_account(table, organization)
    if subscription is not None:
        asked = billing.Asked(subscription, begin, end, lifetime=lifetime)
        _show_bill(table, account, asked, explain=explain, as_json=as_json, as_csv=as_csv)
        return
    given |= {name: day for name, day in (("from_date", begin), ("to_date", end)) if day is not None}
    _show_days(table, account, given, as_json=as_json, as_csv=as_csv)


def _show_days(
    table: Table, account: Account, given: Mapping[str, str], *, as_json: bool, as_csv: bool
) -> None:
    now = clock.now()
    query = _query(account, given, now)
    days = AnalyticsStore(table).daily_usage(account, query, now)
    found = rows(days, query.granularity, account.deleted_codes(now), most_rows=_NO_LIMIT)
    if not found.rows:
        _refuse_unknown(table, account, query)
    usages = lago.usage_objects(account.organization.id, found.rows)
    if as_json:
        for each in usages:
            tell_body(each)
    elif as_csv:
        typer.echo(csv_line(lago.UsageObject.__struct_fields__), nl=False)
        for each, row in zip(usages, found.rows, strict=True):
            typer.echo(csv_line(lago.csv_cells(each, row)), nl=False)
    else:
        for line in usage_lines(account.organization, query, _named(given), found, Screen.of_stdout()):
            typer.echo(line)
    if as_json or as_csv:
        say(billing.freshness(found.counted_until))


def _query(account: Account, given: Mapping[str, str], now: int) -> UsageQuery:
    """Read the options as the endpoint reads its parameters."""
    parameters = {name: (value,) for name, value in given.items()}
    request = Request("GET", "/api/v1/analytics/usage", "", parameters, {}, "", is_base64=False)
    try:
        return lago.parse(request, today=zone(account.organization.timezone).day_of(now))
    except RequestRefusedError as error:
        reasons = json.loads(error.reply.body)["reasons"]
        _refuse(*(f"{_OPTIONS[name]} {reason}" for name, reason in reasons.items()))


def _named(given: Mapping[str, str]) -> list[str]:
    """Say which filters were given."""
    times = ("time_granularity", "from_date", "to_date")
    return [
        f"{_OPTIONS[name].removeprefix('--').replace('-', ' ')} {value}"
        for name, value in given.items()
        if name not in times
    ]


def _refuse_unknown(table: Table, account: Account, query: UsageQuery) -> None:
    """End with what is not known of the ids in a query that had no answer, if anything is."""
    organization = account.organization.id
    where = "in this organization: its catalogue's"
    asked = {"customer": query.external_customer_id, "plan": query.plan_code}
    unknown = [
        f"there is no {kind} {name} {where} {kind}s have the ids"
        for kind, name in asked.items()
        if name is not None and table.get(keys.catalogue(organization, kind, name)) is None
    ]
    external, code = query.external_subscription_id, query.metric_code
    if external is not None and not billing.sharing(table, account, external):
        unknown.append(f"there is no subscription {external} {where} subscriptions have the external ids")
    if code is not None and code not in {meter.code for meter in account.meters}:
        known = ", ".join(sorted({meter.code for meter in account.meters}))
        unknown.append(f"there is no meter of the code {code} in this organization, but {known}")
    for line in unknown:
        say(printable(line))
    if unknown:
        raise typer.Exit(REFUSED)


def _show_bill(
    table: Table, account: Account, asked: billing.Asked, *, explain: bool, as_json: bool, as_csv: bool
) -> None:
    try:
        bill = billing.measured(table, account, asked, clock.now())
    except billing.WindowError as error:
        _refuse(str(error))
    told = explanation_of(bill.usage, bill.statement, bill.reader, bill.now)
    if as_json:
        tell_body(explained(told) if explain else flexprice.usage(bill.statement))
    elif as_csv:
        for cells in statement_csv(told, explain=explain):
            typer.echo(csv_line(cells), nl=False)
    else:
        for line in statement_lines(told, Screen.of_stdout(), explain=explain):
            typer.echo(line)
    if as_json or as_csv:
        say(billing.freshness(bill.statement.counted_until))


def _refuse(*lines: str) -> Never:
    for line in lines:
        say(printable(line))
    raise typer.Exit(NOT_UNDERSTOOD)
