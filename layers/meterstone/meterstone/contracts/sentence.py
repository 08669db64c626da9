"""One plain sentence for each charge, which the customer who pays it understands.

"109,783 tokens: 100,000 at $0.00001 and 9,783 at $0.000008, together $1.08". Numbers in a sentence are written for
people: with separators of thousands, amounts with the currency's decimals. The exact ones stand beside it.
"""

from decimal import ROUND_HALF_UP, Context, Decimal
from typing import assert_never

from meterstone.pricing.consumption import Step
from meterstone.pricing.currency import precision, symbol
from meterstone.pricing.lines import Cost, Line
from meterstone.pricing.money import ZERO, multiply, plain, round_money, subtract
from meterstone.pricing.price import BillingModel, Price, RoundType, TierMode
from meterstone.usage.calendar import BucketSize
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.subscription import LineItem

_NOTHING_TO_PAY = "nothing to pay"
_SHOWN = Decimal("0.000001")
_ROUNDING = Context(prec=120, rounding=ROUND_HALF_UP)
#: A shorter word that ends in an s is no plural: gas, bus.
_SHORTEST_PLURAL = 4


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
    due = money(round_money(cost.amount, currency), currency)
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
    whole = sentence(item.price, item.meter, cost, currency)
    if step is None:
        return whole
    row, amount = step.row, money(step.row.amount, currency)
    if row.quantity == row.source.quantity and not row.is_overage:
        return whole
    split = row.quantity != row.source.quantity
    part = f"{amount_of(row.quantity)} of {used(item.meter, cost.quantity)}"
    if not row.is_overage:
        return f"{part}, within the commitment: {amount}"
    factor = plain(row.overage_factor or ZERO)
    if split:
        beyond = unit_price(step.beyond, currency)
        return f"{part}, beyond the commitment: {beyond} at {factor} times the price, {amount}"
    return f"{whole}; all of it is beyond the commitment, at {factor} times the price: {amount}"


def used(meter: Meter | None, quantity: Decimal) -> str:
    """Return a quantity as a phrase, with the meter's display name as its unit.

    >>> calls = Meter("calls", "calls", "API calls", Aggregation.COUNT, "call")
    >>> used(calls, Decimal(1)), used(calls, Decimal(1200))
    ('1 API call', '1,200 API calls')
    """
    number = amount_of(quantity)
    if meter is None:
        return f"{number} {_units('units', quantity)}"
    name, bucket = meter.name, meter.bucket_size
    match meter.aggregation:
        case Aggregation.COUNT | Aggregation.SUM | Aggregation.SUM_WITH_MULTIPLIER:
            phrase = f"{number} {_units(name, quantity)}"
            if meter.recurring:
                phrase += " held"
        case Aggregation.COUNT_UNIQUE:
            phrase = f"{number} different {_units(name, quantity)}"
            if meter.recurring:
                phrase += " so far"
        case Aggregation.WEIGHTED_SUM:
            phrase = f"{number} {_units(name, quantity)} on average over the time"
        case Aggregation.MAX:
            value = (
                "highest value" if bucket is None else f"sum of the highest values of each {_each(bucket)}"
            )
            return f"{number} as the {value} of “{name}”"
        case Aggregation.AVG:
            return f"{number} as the average value of “{name}”"
        case Aggregation.LATEST:
            return f"{number} as the latest value of “{name}”"
        case never:
            assert_never(never)
    return phrase


def amount_of(quantity: Decimal) -> str:
    """Return a quantity for people; one with more than 6 decimals is rounded, and says so.

    >>> amount_of(Decimal("109783")), amount_of(Decimal("-1.50")), amount_of(Decimal("0.66666667"))
    ('109,783', '-1.5', 'about 0.666667')
    """
    rounded = quantity.quantize(_SHOWN, context=_ROUNDING)
    text = plain(rounded)
    if rounded == quantity:
        return _grouped(text)
    if not rounded:
        return _grouped(plain(quantity))
    return f"about {_grouped(text)}"


def money(amount: Decimal, currency: str) -> str:
    """Return a rounded amount, with all the decimals of its currency.

    >>> money(Decimal("1234.5"), "usd"), money(Decimal(-3), "jpy"), money(Decimal(1), "kwd")
    ('$1,234.50', '-¥3', 'KD 1.000')
    """
    return _with_symbol(f"{amount.copy_abs():,.{precision(currency)}f}", currency, negative=amount < 0)


def unit_price(amount: Decimal, currency: str) -> str:
    """Return an amount that is not rounded, with at least the decimals of its currency.

    >>> unit_price(Decimal("0.00001"), "usd"), unit_price(Decimal("12.5"), "usd"), unit_price(Decimal(5), "jpy")
    ('$0.00001', '$12.50', '¥5')
    """
    integer, _, decimals = plain(amount.copy_abs()).partition(".")
    decimals = decimals.ljust(precision(currency), "0")
    text = f"{int(integer):,}.{decimals}" if decimals else f"{int(integer):,}"
    return _with_symbol(text, currency, negative=amount < 0)


def _with_symbol(text: str, currency: str, *, negative: bool) -> str:
    sign = symbol(currency) or currency.upper()
    space = " " if sign[-1].isalpha() else ""
    return f"{'-' if negative else ''}{sign}{space}{text}"


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
    counted = f"{packages} {_units('packages', line.quantity)} of {size:,}"
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
            return (
                ", each begun one counted as whole"
                if bucketed
                else ", the last one begun and counted as whole"
            )
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
        case Aggregation.COUNT | Aggregation.SUM | Aggregation.SUM_WITH_MULTIPLIER | Aggregation.COUNT_UNIQUE:
            return "Nothing is held" if meter.recurring else "Nothing was used"
        case Aggregation.WEIGHTED_SUM:
            return "Nothing was held"
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
    return f"{head}{apart}," if apart else head


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


def _grouped(text: str) -> str:
    integer, point, decimals = text.partition(".")
    sign = "-" if integer.startswith("-") else ""
    return f"{sign}{int(integer.removeprefix('-')):,}{point}{decimals}"


def _units(name: str, quantity: Decimal) -> str:
    """Return a name as a unit: in lower case unless it begins with an abbreviation, singular for 1.

    >>> _units("Prompt tokens", Decimal(2)), _units("API calls", Decimal(1)), _units("Queries", Decimal(1))
    ('prompt tokens', 'API call', 'query')
    """
    first, rest = name[:1], name[1:]
    if rest[:1].islower():
        first = first.lower()
    return _singular(first + rest) if quantity == 1 else first + rest


def _singular(name: str) -> str:
    """Return a name with its last English plural in the singular; as it is, if there is none.

    >>> _singular("stored answers"), _singular("models in use"), _singular("storage GB"), _singular("gas used")
    ('stored answer', 'model in use', 'storage GB', 'gas used')
    """
    words = name.split(" ")
    for place in range(len(words) - 1, -1, -1):
        word = words[place]
        if len(word) >= _SHORTEST_PLURAL and word.endswith("s") and not word.endswith(("ss", "us", "is")):
            return " ".join((*words[:place], _singular_word(word), *words[place + 1 :]))
    return name


def _singular_word(word: str) -> str:
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word[:-2] if word.endswith(("ches", "shes", "sses", "xes")) else word[:-1]
