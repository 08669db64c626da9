"""Pricing alone: no table, no HTTP."""

import statistics
from collections.abc import Callable
from decimal import Decimal

from benchmarks import world
from benchmarks.figures import Figure, Part, cpu_ms, per_second

from meterstone.contracts import flexprice
from meterstone.pricing.cost import cost
from meterstone.pricing.price import Price
from meterstone.usage.measure import WindowUsage, rated_items
from meterstone.usage.statement import rate
from meterstone.usage.window import window_for

_MODELS = ("FLAT_FEE", "PACKAGE", "TIERED, VOLUME", "TIERED, SLAB")
_QUANTITY = Decimal("123456.789")
_LINE_ITEMS = 50
_BUDGET_MS = 3.0


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Cost evaluations per second, and an answer of 50 line items."""
    calls, rounds = (2000, 20) if quick else (20_000, 200)
    figures = []
    for place, model in enumerate(_MODELS):
        price = world.price("price", world.METERS[0], place)
        figures.append(Figure(f"cost, {model}", per_second(_costing(price), calls), "/s"))
    times = cpu_ms(_answering(), rounds)
    figures.append(
        Figure(
            f"answer of {_LINE_ITEMS} line items, CPU",
            statistics.median(times),
            "ms",
            _BUDGET_MS,
            {"p99 ms": sorted(times)[int(0.99 * len(times))]},
        )
    )
    return Part(
        "pricing",
        figures,
        limits=[
            "cost: the Decimal arithmetic of its lines (four tiers; a quantity in the third)",
            "answer: 50 costs, one commitment over all rows, and writing 50 whole price objects",
        ],
    )


def _costing(price: Price) -> Callable[[], object]:
    return lambda: cost(price, _QUANTITY)


def _answering() -> Callable[[], object]:
    subscription = world.subscription(7, items=_LINE_ITEMS)
    window = window_for(subscription, None, None, lifetime=False, now=world.NOW)
    quantities = {item.id: _QUANTITY + place for place, item in enumerate(subscription.line_items)}

    def answer() -> None:
        measured = tuple((item, quantities[item.id]) for item in rated_items(subscription, window))
        reply = flexprice.answer(rate(WindowUsage(subscription, window, measured, world.NOW)))
        if reply.status != 200:  # noqa: PLR2004 - HTTP OK
            raise AssertionError(reply.body)

    return answer
