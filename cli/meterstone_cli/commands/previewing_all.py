"""`preview --all`: a row for each subscription as soon as it is ready, then a total for each currency."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from meterstone.contracts.csv_text import csv_line
from meterstone.contracts.wording import money
from meterstone.store.catalogue.accounts import Account
from meterstone.store.catalogue.subscriptions import count_subscriptions
from meterstone.store.dynamodb.table import Table
from meterstone.usage.plan import PlanPrices
from meterstone_cli.exit_status import REFUSED
from meterstone_cli.files.preview_file import opened
from meterstone_cli.options import tell_body
from meterstone_cli.plan_preview import (
    COLUMNS,
    PreviewedRow,
    Totals,
    csv_cells,
    encoded,
    exact,
    preview_all,
)
from meterstone_cli.progress import at_terminal, follow, printable, say
from meterstone_cli.screen import Column, Screen
from meterstone_cli.screen import table as table_lines


class Forms(NamedTuple):
    """The file of the rows, None for stdout, and the form of what is printed."""

    output: Path | None
    as_json: bool
    as_csv: bool


def run(table: Table, account: Account, plan: PlanPrices, forms: Forms, now: int) -> None:
    """Preview every subscription of an organization."""
    if forms.output is None:
        totals = _print_rows(table, account, plan, forms, now)
    else:
        totals = _write_rows(table, account, plan, forms.output, now)
    if forms.output is None and (forms.as_json or forms.as_csv):
        # Stdout has the rows, and nothing else.
        for line in _total_lines(totals, Screen()):
            say(line)
    elif forms.as_json:
        for currency, total in sorted(totals.by_currency.items()):
            tell_body(total.shown(currency))
    elif forms.as_csv:
        typer.echo(csv_line(("currency", "subscriptions", "now", "instead", "difference")), nl=False)
        for currency, total in sorted(totals.by_currency.items()):
            sums = (total.now, total.instead, total.difference)
            typer.echo(csv_line((currency, total.subscriptions, *sums)), nl=False)
    else:
        if forms.output is None:
            typer.echo()
        for line in _total_lines(totals, Screen.of_stdout()):
            typer.echo(line)
    if totals.refused:
        say(f"{totals.refused} subscriptions could not be previewed: their rows have the reason")
        raise typer.Exit(REFUSED)


def _print_rows(table: Table, account: Account, plan: PlanPrices, forms: Forms, now: int) -> Totals:
    totals = Totals()
    if forms.as_csv:
        typer.echo(csv_line(COLUMNS), nl=False)
    for row in _followed(table, account, preview_all(table, account, plan, now), 0):
        totals.take(row)
        if forms.as_json:
            typer.echo(encoded(row))
        elif forms.as_csv:
            typer.echo(csv_line(csv_cells(row)), nl=False)
        else:
            typer.echo("\t".join(map(printable, _parts(row))))
    return totals


def _write_rows(table: Table, account: Account, plan: PlanPrices, path: Path, now: int) -> Totals:
    prices = hashlib.sha256(repr(plan.prices).encode()).hexdigest()
    of = {"organization": account.organization.id, "plan": plan.code, "prices": prices}
    with opened(path, of, now) as file:
        if file.finished:
            say(f"{path}: finished before, {file.rows} rows")
        else:
            if file.after is not None:
                say(printable(f"{path}: going on after {file.after}, {file.rows} rows"))
            rows = preview_all(table, account, plan, file.now, file.after)
            for row in _followed(table, account, rows, file.rows):
                file.add(row)
            file.finish()
        return file.totals


def _followed(
    table: Table, account: Account, rows: Iterator[PreviewedRow], done: int
) -> Iterator[PreviewedRow]:
    """Show at a terminal how many rows there are of how many, and in a log how many."""
    total = count_subscriptions(table, account.organization.id) - done if at_terminal() else None
    return follow("subscriptions", rows, total, every=1)


def _parts(row: PreviewedRow) -> Sequence[str]:
    if row.now is None or row.instead is None or row.difference is None:
        return row.subscription_id, row.external_customer_id, f"not previewed: {row.reason}"
    amounts = (money(exact(each), row.currency) for each in (row.now, row.instead, row.difference))
    return row.subscription_id, row.external_customer_id, *amounts


def _total_lines(totals: Totals, screen: Screen) -> Iterator[str]:
    columns = [
        Column("total"),
        *(Column(name, right=True) for name in ("subscriptions", "now", "instead", "difference")),
    ]
    rows = [
        [
            currency.upper(),
            f"{total.subscriptions:,}",
            *(money(each, currency) for each in (total.now, total.instead, total.difference)),
        ]
        for currency, total in sorted(totals.by_currency.items())
    ]
    return table_lines(columns, rows, screen)
