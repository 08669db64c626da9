"""What the subscriptions of an organization would have paid under a plan, one after the other.

Each is previewed over its last billing period that has ended, as the preview endpoint does. The usage of one
subscription is held at a time, and the plan's prices are read once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Raw

from meterstone.contracts.csv_text import Cell
from meterstone.contracts.message import number
from meterstone.pricing.money import ZERO, add, plain, subtract
from meterstone.store.catalogue.accounts import Account
from meterstone.store.catalogue.subscriptions import list_subscriptions
from meterstone.store.dynamodb.table import Table
from meterstone.usage.instant import format_instant
from meterstone.usage.past import past_periods
from meterstone.usage.plan import PlanPrices
from meterstone.usage.preview import ChangeError, Changes, PlanWithoutPricesError, changed
from meterstone.usage.statement import rate
from meterstone.usage.subscription import Subscription
from meterstone_cli.billing import bill_of


class PreviewedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription's row: what it paid and would have paid for its last period, or why neither is known.

    `not_priced` has the line items, and `not_counted` the meters, that the plan leaves out or adds.
    """

    subscription_id: str
    external_subscription_id: str
    external_customer_id: str
    currency: str
    start_time: str | None = None
    end_time: str | None = None
    now: Raw | None = None
    instead: Raw | None = None
    difference: Raw | None = None
    not_priced: list[str] = []
    not_counted: list[str] = []
    reason: str | None = None


COLUMNS: Final = PreviewedRow.__struct_fields__


class TotalObject(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of one currency, as they are printed."""

    currency: str
    subscriptions: int
    now: Raw
    instead: Raw
    difference: Raw


@dataclass
class Total:
    """The sums of one currency."""

    subscriptions: int = 0
    now: Decimal = ZERO
    instead: Decimal = ZERO

    @property
    def difference(self) -> Decimal:
        """What would be paid more, or less if it is below zero."""
        return subtract(self.instead, self.now)

    def shown(self, currency: str) -> TotalObject:
        """Write the sums as they are printed."""
        return TotalObject(
            currency=currency,
            subscriptions=self.subscriptions,
            now=number(self.now),
            instead=number(self.instead),
            difference=number(self.difference),
        )


@dataclass
class Totals:
    """The sums of all rows so far, by currency, and how many subscriptions could not be previewed."""

    by_currency: dict[str, Total] = field(default_factory=dict)
    refused: int = 0

    def take(self, row: PreviewedRow) -> None:
        """Add a row."""
        if row.now is None or row.instead is None:
            self.refused += 1
            return
        total = self.by_currency.setdefault(row.currency, Total())
        total.subscriptions += 1
        total.now = add(total.now, exact(row.now))
        total.instead = add(total.instead, exact(row.instead))

    def stored(self) -> Mapping[str, object]:
        """Return the sums as JSON keeps them."""
        sums = {
            currency: [total.subscriptions, plain(total.now), plain(total.instead)]
            for currency, total in self.by_currency.items()
        }
        return {"totals": sums, "refused": self.refused}

    @classmethod
    def of(cls, totals: Mapping[str, tuple[int, str, str]], refused: int) -> "Totals":
        """Return sums that were stored."""
        return cls(
            {
                currency: Total(subscriptions, Decimal(now), Decimal(instead))
                for currency, (subscriptions, now, instead) in totals.items()
            },
            refused,
        )


def exact(value: Raw) -> Decimal:
    """Read a number of a row."""
    return Decimal(bytes(value).decode())


def preview_all(
    table: Table, account: Account, plan: PlanPrices, now: int, after: str | None = None
) -> Iterator[PreviewedRow]:
    """Yield a row for each subscription in the order of their keys, or for those after one of an id.

    Cost of each: 1 get, and what the preview endpoint reads of it but the plan.
    """
    for subscription in list_subscriptions(table, account.organization.id, after):
        yield preview_row(table, account, subscription, plan, now)


def preview_row(
    table: Table, account: Account, subscription: Subscription, plan: PlanPrices, now: int
) -> PreviewedRow:
    """Return the row of one subscription."""
    row = PreviewedRow(
        subscription_id=subscription.id,
        external_subscription_id=subscription.external_id,
        external_customer_id=subscription.customer_id,
        currency=subscription.currency,
    )
    periods = past_periods([subscription], now, 0, 1).page
    if not periods:
        return msgspec.structs.replace(row, reason="no billing period of it has ended")
    ((_, (window,)),) = periods
    row = msgspec.structs.replace(
        row, start_time=format_instant(window.start), end_time=format_instant(window.end)
    )
    bill = bill_of(table, account, subscription, window, now)
    try:
        other = changed(bill.usage, Changes(plan), bill.reader, now)
    except PlanWithoutPricesError as error:
        reason = f"the plan {error.code} has no prices in {error.currency.upper()}"
        return msgspec.structs.replace(row, reason=reason)
    except ChangeError as error:
        return msgspec.structs.replace(row, reason=str(error))
    amount, instead = bill.statement.settlement.amount, rate(other.usage).settlement.amount
    return msgspec.structs.replace(
        row,
        now=number(amount),
        instead=number(instead),
        difference=number(subtract(instead, amount)),
        not_priced=[item.id for item in other.unpriced],
        not_counted=list(other.uncounted),
    )


def encoded(row: PreviewedRow) -> str:
    """Write a row as a line of JSON, without its end."""
    return msgspec.json.encode(row).decode()


def csv_cells(row: PreviewedRow) -> list[Cell]:
    """Write a row as cells of CSV. Lists are parted by spaces."""
    cells: list[Cell] = []
    for value in msgspec.structs.astuple(row):
        match value:
            case Raw():
                cells.append(exact(value))
            case list():
                cells.append(" ".join(value))
            case _:
                cells.append(value)
    return cells
