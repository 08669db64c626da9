"""One plain sentence for each charge, which the customer who pays it understands.

"109,783 tokens: 100,000 at $0.00001 and 9,783 at $0.000008, together $1.08". Numbers in a sentence are written for
people: with separators of thousands, amounts with the currency's decimals. The exact ones stand beside it.
"""

from decimal import Decimal
from typing import assert_never

from meterstone.contracts.wording import amount_of, is_clause, money, unit_price, units, used, whole
from meterstone.pricing.consumption import Step
from meterstone.pricing.lines import Cost, Line
from meterstone.pricing.money import ZERO, multiply, plain, round_money, subtract
from meterstone.pricing.price import BillingModel, Price, RoundType, TierMode
from meterstone.usage.calendar import BucketSize
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.subscription import LineItem

_NOTHING_TO_PAY = "nothing to pay"


def sentence(price: Price, meter: Meter | None, cost: Cost, currency: str) -> str:
    """Return the sentence of a cost: how much was used, at which prices, and the rounded amount.

    >>> from meterstone.pricing.cost import cost
    >>> price = Price("p", "usd", BillingModel.FLAT_FEE, Decimal("0.25"))
    >>> sentence(price, None, cost(price, Decimal(1200)), "usd")
    '1,200 units at $0.25 each: $300.00'
    """
    if not cost.quantity and not cost.lines:
        return f"{_nothing(meter)}: {_NOTHING_TO_PAY}"
    head = used(meter, cost.quantity)
    rounded = round_money(cost.amount, currency)
    due = money(rounded, currency)
    if cost.amount and not rounded:
        due = f"rounded to {due}"
    match price.billing_model:
        case BillingModel.FLAT_FEE:
            return _flat(head, meter, cost, currency, due)
        case BillingModel.PACKAGE:
            return _packages(price, head, meter, cost, currency, due)
        case BillingModel.TIERED:
            return _tiers(price, head, meter, cost, currency, due)
        case never:
            assert_never(never)


def row_sentence(item: LineItem, cost: Cost, step: Step[LineItem] | None, currency: str) -> str:
    """Return the sentence of a row: that of its charge, and what the commitment made of it."""
    alone = sentence(item.price, item.meter, cost, currency)
    if step is None:
        return alone
    row, amount = step.row, money(step.row.amount, currency)
    if row.quantity == row.source.quantity and not row.is_overage:
        return alone
    split = row.quantity != row.source.quantity
    part = f"{amount_of(row.quantity)} of {whole(item.meter, cost.quantity)}"
    if not row.is_overage:
        return f"{part}, within the commitment: {amount}"
    factor = plain(row.overage_factor or ZERO)
    if split:
        beyond = unit_price(step.beyond, currency)
        return f"{part}, beyond the commitment: {beyond} at {factor} times the price, {amount}"
    return f"{alone}; all of it is beyond the commitment, at {factor} times the price: {amount}"


def _flat(head: str, meter: Meter | None, cost: Cost, currency: str, due: str) -> str:
    if not cost.lines:
        # The buckets came to 0 together.
        return f"{head}: {_NOTHING_TO_PAY}"
    line = cost.lines[0]
    if not line.unit_amount:
        return f"{head}{_apart(meter)}, free of charge: {_NOTHING_TO_PAY}"
    each = f"at {unit_price(line.unit_amount, currency)}{_each_of(line.quantity)}"
    return f"{_before_price(head, meter)} {each}: {due}"


def _packages(price: Price, head: str, meter: Meter | None, cost: Cost, currency: str, due: str) -> str:
    transform = price.transform_quantity
    size = 0 if transform is None else transform.divide_by
    if not cost.lines:
        return f"{head}{_apart(meter)}: {_too_few(cost.quantity, size)}{_NOTHING_TO_PAY}"
    line = cost.lines[0]
    packages = amount_of(line.quantity)
    counted = f"{packages} {units('packages', line.quantity)} of {size:,}"
    each = f"at {unit_price(price.amount, currency)}{_each_of(line.quantity)}"
    return f"{head}{_apart(meter)}, in {counted} {each}{_rest(price, cost, line, meter)}: {due}"


def _too_few(quantity: Decimal, size: int) -> str:
    if quantity < 0:
        return "below zero, "
    return f"less than one package of {size:,}, " if quantity < size else "no whole package, "


def _rest(price: Price, cost: Cost, line: Line, meter: Meter | None) -> str:
    """Say what the rounding to whole packages did, where it did something."""
    transform = price.transform_quantity
    if transform is None:
        return ""
    rest = subtract(cost.quantity, multiply(line.quantity, Decimal(transform.divide_by)))
    if not rest:
        return ""
    bucketed = meter is not None and meter.bucket_size is not None
    match transform.round:
        case RoundType.UP:
            if bucketed:
                return ", each begun one counted as whole"
            which = "" if line.quantity == 1 else "the last one "
            return f", {which}begun and counted as whole"
        case RoundType.DOWN:
            return ", only whole ones" if bucketed else f", {amount_of(rest)} beyond them not charged"
        case never:
            assert_never(never)


def _tiers(price: Price, head: str, meter: Meter | None, cost: Cost, currency: str, due: str) -> str:
    apart = _apart(meter)
    if not cost.lines:
        below = "below zero, " if cost.quantity < 0 else ""
        return f"{head}{apart}: {below}{_NOTHING_TO_PAY}"
    if len(cost.lines) > 1:
        parts = [_part(line, currency) for line in cost.lines]
        return f"{head}{apart}: {', '.join(parts[:-1])} and {parts[-1]}, together {due}"
    (line,) = cost.lines
    why = ""
    if price.tier_mode is TierMode.VOLUME and line.from_ and not apart:
        why = f", as there are more than {amount_of(line.from_)}"
    if not line.unit_amount and not line.flat_amount:
        return f"{head}{apart}, free of charge{why}: {_NOTHING_TO_PAY}"
    if not line.unit_amount:
        return f"{head}{apart}, for a flat {unit_price(line.flat_amount, currency)}{why}: {due}"
    each = f"at {unit_price(line.unit_amount, currency)}{_each_of(line.quantity)}"
    return f"{_before_price(head, meter)} {each}{_plus(line, currency)}{why}: {due}"


def _part(line: Line, currency: str) -> str:
    quantity = amount_of(line.quantity)
    if not line.unit_amount:
        return (
            f"{quantity} for a flat {unit_price(line.flat_amount, currency)}"
            if line.flat_amount
            else f"{quantity} free"
        )
    return f"{quantity} at {unit_price(line.unit_amount, currency)}{_plus(line, currency)}"


def _plus(line: Line, currency: str) -> str:
    return f" plus a flat {unit_price(line.flat_amount, currency)}" if line.flat_amount else ""


def _nothing(meter: Meter | None) -> str:
    if meter is None:
        return "Nothing was used"
    match meter.aggregation:
        case Aggregation.SUM | Aggregation.WEIGHTED_SUM if meter.recurring:
            return "Nothing was held"
        case (
            Aggregation.COUNT
            | Aggregation.SUM
            | Aggregation.SUM_WITH_MULTIPLIER
            | Aggregation.COUNT_UNIQUE
            | Aggregation.WEIGHTED_SUM
        ):
            return "Nothing was used"
        case Aggregation.MAX | Aggregation.AVG | Aggregation.LATEST:
            return f"No value of “{meter.name}” above 0"
        case never:
            assert_never(never)


def _apart(meter: Meter | None) -> str:
    """Say that the buckets of a bucketed meter are priced one by one."""
    if meter is None or meter.bucket_size is None:
        return ""
    return f", each {_each(meter.bucket_size)} priced by itself"


def _before_price(head: str, meter: Meter | None) -> str:
    apart = _apart(meter)
    return f"{head}{apart}," if apart or is_clause(meter) else head


def _each(size: BucketSize) -> str:
    match size:
        case BucketSize.MINUTE:
            return "minute"
        case BucketSize.FIFTEEN_MINUTES:
            return "stretch of 15 minutes"
        case BucketSize.THIRTY_MINUTES:
            return "stretch of 30 minutes"
        case BucketSize.HOUR:
            return "hour"
        case BucketSize.THREE_HOURS:
            return "stretch of 3 hours"
        case BucketSize.SIX_HOURS:
            return "stretch of 6 hours"
        case BucketSize.TWELVE_HOURS:
            return "stretch of 12 hours"
        case BucketSize.DAY:
            return "day"
        case BucketSize.WEEK:
            return "week"
        case BucketSize.MONTH:
            return "month"
        case never:
            assert_never(never)


def _each_of(quantity: Decimal) -> str:
    return "" if quantity == 1 else " each"
