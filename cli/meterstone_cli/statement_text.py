"""A subscription's statement as text and as CSV: a row a charge and, if asked for, how each came about."""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from msgspec import Raw, UnsetType

from meterstone.contracts.csv_text import Cell
from meterstone.contracts.explain import CommitmentObject, ExplainedAnswer, ExplainedCharge, explained
from meterstone.contracts.wording import grouped, money, unit_price
from meterstone.pricing.money import plain
from meterstone.usage.explanation import Explanation
from meterstone.usage.instant import format_instant
from meterstone.usage.subscription import in_force
from meterstone_cli.billing import freshness
from meterstone_cli.progress import printable
from meterstone_cli.screen import Column, Screen, table, wrapped

_CSV = (
    *("subscription_line_item_id", "meter_id", "meter_display_name", "quantity", "amount", "currency"),
    *("is_overage", "overage_factor", "start_time", "end_time"),
)


def exact(value: Raw) -> Decimal:
    """Read a number of an answer."""
    return Decimal(bytes(value).decode())


def statement_lines(explanation: Explanation, screen: Screen, *, explain: bool) -> Iterator[str]:
    """Return the lines of a statement, each charge explained if that is wanted."""
    answer, currency = explained(explanation), explanation.statement.subscription.currency
    yield from wrapped(_heading(explanation), screen)
    yield ""
    yield from table(
        [
            Column("charge", cut=True),
            Column("line item", cut=True),
            Column("quantity", right=True),
            Column(currency.upper(), right=True),
        ],
        [
            *(
                [_name(each), printable(each.subscription_line_item_id), *_numbers(each)]
                for each in answer.charges
            ),
            ["total", "", "", money(exact(answer.amount), currency)],
        ],
        screen,
    )
    if explain:
        yield from explained_lines(answer, currency, screen)
    else:
        yield from _committed(answer, currency, screen)
    yield ""
    yield from wrapped(freshness(explanation.statement.counted_until), screen)


def explained_lines(answer: ExplainedAnswer, currency: str, screen: Screen) -> Iterator[str]:
    """Return how each charge came about, and what each did to the commitment."""
    told: set[str] = set()
    for each in answer.charges:
        yield ""
        yield from _charge(each, screen)
        # A line item whose charge is split has two rows, and its lines once.
        if each.subscription_line_item_id not in told:
            yield from _lines(each, currency, screen)
        told.add(each.subscription_line_item_id)
    yield from _committed(answer, currency, screen)
    if answer.commitment is not None:
        yield ""
        yield from _steps(answer, answer.commitment, currency, screen)


def statement_csv(explanation: Explanation, *, explain: bool) -> Iterator[Sequence[Cell]]:
    """Yield the rows of a statement for CSV, the names of the columns first."""
    answer = explained(explanation)
    yield (*_CSV, *(("sentence",) if explain else ()))
    for each in answer.charges:
        factor = each.overage_factor
        yield (
            *(each.subscription_line_item_id, each.meter_id, each.meter_display_name),
            *(exact(each.quantity), exact(each.amount), each.currency, each.is_overage),
            *(None if isinstance(factor, UnsetType) else exact(factor), answer.start_time, answer.end_time),
            *((each.explanation.sentence,) if explain else ()),
        )


def _heading(explanation: Explanation) -> str:
    subscription, window = explanation.statement.subscription, explanation.statement.window
    plan = in_force(subscription.plan, max(window.start, window.end - 1))
    of_plan = "" if plan is None else f" on the plan {plan}"
    times = f"{format_instant(window.start)} to {format_instant(window.end)}"
    return printable(f"{subscription.id} of customer {subscription.customer_id}{of_plan}, {times}")


def _name(charge: ExplainedCharge) -> str:
    return printable(charge.meter_display_name) + (" (overage)" if charge.is_overage else "")


def _numbers(charge: ExplainedCharge) -> tuple[str, str]:
    return grouped(exact(charge.quantity)), money(exact(charge.amount), charge.currency)


def _charge(charge: ExplainedCharge, screen: Screen) -> Iterator[str]:
    told = charge.explanation
    yield f"{_name(charge)} ({printable(charge.subscription_line_item_id)})"
    yield from wrapped(printable(told.sentence), screen, "  ")
    for cut in told.window.cut:
        yield f"  its {cut.at} is cut by {cut.by.replace('_', ' ')}: {getattr(told.window, f'{cut.at}_time')}"


def _lines(charge: ExplainedCharge, currency: str, screen: Screen) -> Iterator[str]:
    told = charge.explanation
    if told.lines:
        columns = [
            Column(name, right=True) for name in ("from", "to", "quantity", "unit price", "flat", "amount")
        ]
        lines = [
            [
                *(grouped(exact(line.from_)), "" if line.to is None else grouped(exact(line.to))),
                grouped(exact(line.quantity)),
                *(
                    unit_price(exact(each), currency)
                    for each in (line.unit_amount, line.flat_amount, line.subtotal)
                ),
            ]
            for line in told.lines
        ]
        inner = screen._replace(width=max(screen.width - 2, 1))
        yield from (f"  {line}" for line in table(columns, lines, inner))
    amount, unrounded = exact(told.amount), exact(told.unrounded)
    if amount != unrounded:
        yield f"  {plain(unrounded)} is rounded to {money(amount, currency)}"


def _committed(answer: ExplainedAnswer, currency: str, screen: Screen) -> Iterator[str]:
    if isinstance(answer.commitment_amount, UnsetType):
        return
    parts = [f"Commitment {money(exact(answer.commitment_amount), currency)}"]
    for text, value in (("used", answer.commitment_utilized), ("overage", answer.overage_amount)):
        if not isinstance(value, UnsetType):
            parts.append(f"{text} {money(exact(value), currency)}")
    if not isinstance(answer.overage_factor, UnsetType):
        parts.append(f"at {plain(exact(answer.overage_factor))} times the price beyond it")
    yield ""
    yield from wrapped(", ".join(parts), screen)


def _steps(
    answer: ExplainedAnswer, commitment: CommitmentObject, currency: str, screen: Screen
) -> Iterator[str]:
    """Return what each row did to the commitment."""
    columns = [
        Column("charge", cut=True),
        *(
            Column(name, right=True)
            for name in ("left before", "taken", "left after", "beyond", "overage before")
        ),
        Column("amount", right=True),
    ]
    rows = [
        [
            _name(charge),
            *(
                unit_price(exact(each), currency)
                for each in (step.left_before, step.taken, step.left_after, step.beyond, step.overage_before)
            ),
            money(exact(step.amount), currency),
        ]
        for charge, step in zip(answer.charges, commitment.steps, strict=True)
    ]
    offered = money(exact(commitment.offered), currency)
    yield from wrapped(f"Of the commitment, {offered} is offered to the charges in order:", screen)
    yield from table(columns, rows, screen)
