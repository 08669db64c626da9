"""The commands that say what usage would cost otherwise, `preview` and `price`. They store nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Never

import typer

from meterstone import clock
from meterstone.contracts import preview as contract
from meterstone.contracts import price_preview
from meterstone.contracts.csv_text import csv_line
from meterstone.contracts.message import RequestRefusedError
from meterstone.contracts.preview import PreviewAnswer
from meterstone.pricing.money import plain
from meterstone.store.catalogue.accounts import Account
from meterstone.store.catalogue.plans import read_plan_prices
from meterstone.store.dynamodb.table import Table
from meterstone.usage.explanation import explain as explanation_of
from meterstone.usage.plan import PlanPrices
from meterstone.usage.preview import ChangeError, changed, in_force_throughout, price_list
from meterstone.usage.statement import rate
from meterstone.usage.subscription import Subscription
from meterstone_cli import billing
from meterstone_cli.catalogue.document import UnreadableFileError, Value, read_document
from meterstone_cli.commands import previewing_all
from meterstone_cli.exit_status import NOT_UNDERSTOOD, REFUSED
from meterstone_cli.options import Csv, Json, Organization, TableName, tell_body
from meterstone_cli.preview_text import difference_csv, preview_lines, price_csv, price_lines
from meterstone_cli.progress import printable, say
from meterstone_cli.screen import Screen
from meterstone_cli.session import known_account, open_table

_NONE: Final = "none"
#: The options, by the field of the request that they become.
_OPTIONS: Final = {
    "instead.plan": "--plan",
    "instead.prices": "--prices",
    "instead.commitment.amount": "--commitment",
    "instead.commitment.overage_factor": "--overage-factor",
    "instead.commitment.split": "--split",
    "instead.quantities": "--quantity",
    "price": "--price",
    "quantities": "--quantity",
}

File = Annotated[
    Path | None,
    typer.Option(
        "--prices", exists=True, dir_okay=False, help="YAML or JSON: prices by line item or meter id."
    ),
]
Quantities = Annotated[
    list[str] | None,
    typer.Option(
        "--quantity", "--quantities", metavar="ID=NUMBER", help="Of a line item or meter id; repeatable."
    ),
]


def preview(
    organization: Organization,
    subscription: Annotated[
        str | None, typer.Option("--subscription", "-s", help="One subscription, by its id or external id.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every subscription of the organization, over its last period.")
    ] = False,
    plan: Annotated[str | None, typer.Option(help="Another plan, by its code.")] = None,
    prices: File = None,
    commitment: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Another commitment; `none` for no commitment.")
    ] = None,
    overage_factor: Annotated[
        str | None, typer.Option(metavar="FACTOR", help="That of the commitment. [default: as it is]")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="How it is split: amount or whole_units. [default: as it is]")
    ] = None,
    quantities: Quantities = None,
    begin: Annotated[str | None, typer.Option("--from", help="First day, or an instant, RFC 3339.")] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", help="Last day, itself included; or the instant before which it ends."),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say how each charge would come about.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="With --all: the file of the rows, .csv or JSON lines. It is gone on with."
        ),
    ] = None,
    as_json: Json = False,
    as_csv: Csv = False,
    table_name: TableName = "meterstone",
) -> None:
    """Say what usage would have cost under another plan, other prices, commitment or quantities.

    Of one subscription, it is what the preview endpoint answers: the charges now and instead, in the current
    billing period unless --from and --to say another window.

    With --all and --plan, it is a row for each subscription, over its last billing period that has ended: id,
    customer, what it paid, what it would have paid, and the difference, parted by tabs; then a total for each
    currency. Who cannot be previewed has a row with the reason, and the exit status is 1 then. Written to an
    --output, the rows are safe: stopped, run the same again, and it goes on where it was.
    """
    _refuse_both(as_json=as_json, as_csv=as_csv)
    if every == (subscription is not None):
        _refuse("name a --subscription, or say --all")
    if subscription is not None and output is not None:
        _refuse("--output is for --all")
    if every:
        one: dict[str, object] = {
            "--prices": prices,
            "--commitment": commitment,
            "--overage-factor": overage_factor,
            "--split": split,
        }
        one |= {"--quantity": quantities or None, "--from": begin, "--to": end, "--explain": explain or None}
        _refuse_if(f"{name} is for one --subscription" for name, value in one.items() if value is not None)
        if plan is None:
            _refuse("--all wants a --plan")
    table = open_table(table_name)
    account = known_account(table, organization)
    if subscription is None:
        listed = _known_plan(table, account, plan or "")
        forms = previewing_all.Forms(output, as_json=as_json, as_csv=as_csv)
        previewing_all.run(table, account, listed, forms, clock.now())
        return
    found = billing.find_subscription(table, account, subscription)
    instead = {
        **({} if plan is None else {"plan": plan}),
        **({} if prices is None else {"prices": _document(prices)}),
        **({} if not quantities else {"quantities": _by_id(quantities)}),
        **_commitment(found, commitment, overage_factor, split),
    }
    asked = billing.Asked(found.id, begin, end)
    answer = _previewed(table, account, found, asked, instead)
    if as_json:
        tell_body(answer)
    elif as_csv:
        _tell_csv(difference_csv(answer))
    else:
        for line in preview_lines(found, answer, Screen.of_stdout(), explain=explain):
            typer.echo(line)


def price(
    file: Annotated[
        Path,
        typer.Option(
            "--price", exists=True, dir_okay=False, help="YAML or JSON: a price, as in a catalogue."
        ),
    ],
    quantities: Annotated[
        list[str], typer.Option("--quantity", "-q", metavar="NUMBER", help="What to price; repeatable.")
    ],
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Say what quantities cost under a price: quantity, amount, and how it comes about. Needs no table."""
    _refuse_both(as_json=as_json, as_csv=as_csv)
    try:
        asked = price_preview.read({"price": _document(file), "quantities": list(quantities)})
    except RequestRefusedError as error:
        _refuse_faults(error)
    costs = price_list(asked.price, asked.quantities)
    answer = price_preview.priced(asked.price, costs)
    if as_json:
        tell_body(answer)
    elif as_csv:
        _tell_csv(price_csv(answer))
    else:
        for line in price_lines(answer, Screen.of_stdout()):
            typer.echo(line)


def _previewed(
    table: Table,
    account: Account,
    subscription: Subscription,
    asked: billing.Asked,
    instead: Mapping[str, object],
) -> PreviewAnswer:
    """Preview one subscription as the endpoint does."""
    now = clock.now()
    try:
        request = contract.read({"subscription_id": subscription.id, "instead": instead})
        window = billing.window_of(subscription, asked, now)
        plan = None
        if request.plan is not None and not in_force_throughout(subscription, request.plan, window):
            plan = _known_plan(table, account, request.plan)
        bill = billing.bill_of(table, account, subscription, window, now)
        other = changed(bill.usage, request.changes(plan), bill.reader, now)
    except billing.WindowError as error:
        _refuse(str(error))
    except ChangeError as error:
        _refuse_change(error)
    except RequestRefusedError as error:
        _refuse_faults(error)
    as_it_is = explanation_of(bill.usage, bill.statement, bill.reader, now)
    would_be = explanation_of(other.usage, rate(other.usage), bill.reader, now, other.given)
    return contract.previewed(as_it_is, would_be, other)


def _refuse_change(error: ChangeError) -> Never:
    try:
        contract.refuse_change(error)
    except RequestRefusedError as refused:
        _refuse_faults(refused)


def _known_plan(table: Table, account: Account, code: str) -> PlanPrices:
    found = read_plan_prices(table, account.organization.id, code)
    if found is None:
        say(printable(f"there is no plan {code} in this organization: its catalogue's plans have the codes"))
        raise typer.Exit(REFUSED)
    return found


def _commitment(
    subscription: Subscription, amount: str | None, factor: str | None, split: str | None
) -> Mapping[str, object]:
    """Return the commitment of the request. What is not given of it is as it is now."""
    if amount is None:
        parts = (("--overage-factor", factor), ("--split", split))
        _refuse_if(f"{name} wants a --commitment" for name, value in parts if value is not None)
        return {}
    if amount == _NONE:
        return {"commitment": None}
    own = subscription.commitment
    given = {"amount": amount, "overage_factor": factor, "split": split}
    if own is not None:
        given["overage_factor"] = plain(own.overage_factor) if factor is None else factor
        given["split"] = own.split if split is None else split
    return {"commitment": {name: value for name, value in given.items() if value is not None}}


def _by_id(quantities: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in quantities:
        name, sign, value = each.rpartition("=")
        if not sign or name in found:
            _refuse(f"--quantity {each}: {'is given twice' if sign else 'must be ID=NUMBER'}")
        found[name] = value
    return found


def _document(path: Path) -> Value:
    try:
        return read_document(path)
    except UnreadableFileError as error:
        say(printable(f"{path}: {error}"))
        raise typer.Exit(REFUSED) from error


def _tell_csv(rows: Iterator[Sequence[Any]]) -> None:
    for cells in rows:
        typer.echo(csv_line(cells), nl=False)


def _refuse_faults(error: RequestRefusedError) -> Never:
    """End with what is wrong with the fields of a request, by the options that they came from."""
    body = json.loads(error.reply.body)
    details: Mapping[str, Mapping[str, str]] = body.get("details", {})
    for path, detail in details.items():
        say(printable(f"{_option(path)}: {detail['reason']}"))
    if not details:
        say(printable(body["message"]))
    raise typer.Exit(REFUSED)


def _option(path: str) -> str:
    for field, option in _OPTIONS.items():
        if path == field or path.startswith((f"{field}.", f"{field}[")):
            return f"{option} {path.removeprefix(field).removeprefix('.')}".rstrip()
    return path


def _refuse_both(*, as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        _refuse("give either --json or --csv")


def _refuse(*lines: str) -> Never:
    for line in lines:
        say(printable(line))
    raise typer.Exit(NOT_UNDERSTOOD)


def _refuse_if(reasons: Iterator[str]) -> None:
    found = list(reasons)
    if found:
        _refuse(*found)
