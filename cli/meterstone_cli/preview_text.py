"""A preview, and a price list, as text and as CSV."""

from collections.abc import Iterator, Sequence

from meterstone.contracts.csv_text import Cell
from meterstone.contracts.preview import PreviewAnswer
from meterstone.contracts.price_preview import PricesAnswer
from meterstone.contracts.wording import grouped, money
from meterstone.usage.subscription import Subscription
from meterstone_cli.progress import printable
from meterstone_cli.screen import Column, Screen, table, wrapped
from meterstone_cli.statement_text import exact, explained_lines


def preview_lines(
    subscription: Subscription, answer: PreviewAnswer, screen: Screen, *, explain: bool
) -> Iterator[str]:
    """Return the lines of a preview: what each line item costs now and instead, and the difference."""
    currency, difference = subscription.currency, answer.difference
    times = f"{answer.now.start_time} to {answer.now.end_time}"
    of = f"{subscription.id} of customer {subscription.customer_id}, {times}"
    yield from wrapped(printable(of), screen)
    yield ""
    yield from table(
        [
            Column("line item", cut=True),
            *(Column(name, right=True) for name in ("now", "instead", "difference")),
        ],
        [
            *(
                [
                    printable(each.subscription_line_item_id),
                    *(money(exact(amount), currency) for amount in (each.now, each.instead, each.difference)),
                ]
                for each in difference.charges
            ),
            [
                "total",
                *(
                    money(exact(each), currency)
                    for each in (answer.now.amount, answer.instead.amount, difference.amount)
                ),
            ],
        ],
        screen,
    )
    if explain:
        yield from explained_lines(answer.instead, currency, screen)
    if answer.not_priced:
        yield ""
        yield from wrapped(
            f"The plan has no price for {', '.join(map(printable, answer.not_priced))}.", screen
        )
    if answer.not_counted:
        meters = ", ".join(map(printable, answer.not_counted))
        yield ""
        yield from wrapped(f"The plan has prices for meters of which nothing was counted: {meters}.", screen)


def difference_csv(answer: PreviewAnswer) -> Iterator[Sequence[Cell]]:
    """Yield the rows of a preview for CSV, the names of the columns first."""
    yield "subscription_line_item_id", "meter_id", "currency", "now", "instead", "difference"
    for each in answer.difference.charges:
        amounts = (exact(amount) for amount in (each.now, each.instead, each.difference))
        yield (each.subscription_line_item_id, each.meter_id, answer.now.currency, *amounts)


def price_lines(answer: PricesAnswer, screen: Screen) -> Iterator[str]:
    """Return the lines of a price list: each quantity's amount, then how each comes about."""
    yield from table(
        [Column("quantity", right=True), Column(answer.currency.upper(), right=True)],
        [
            [grouped(exact(each.quantity)), money(exact(each.amount), answer.currency)]
            for each in answer.prices
        ],
        screen,
    )
    yield ""
    for each in answer.prices:
        yield from wrapped(each.sentence, screen)


def price_csv(answer: PricesAnswer) -> Iterator[Sequence[Cell]]:
    """Yield the rows of a price list for CSV, the names of the columns first."""
    yield "quantity", "amount", "currency", "unrounded", "sentence"
    for each in answer.prices:
        numbers = exact(each.quantity), exact(each.amount)
        yield (*numbers, answer.currency, exact(each.unrounded), each.sentence)
