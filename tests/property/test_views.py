"""Laws of the views: explained, an answer is the same answer; previewed unchanged, too. Over any catalogue."""

import json
from collections.abc import Mapping
from copy import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, localcontext
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from meterstone.contracts import explain as explain_contract
from meterstone.contracts import flexprice, preview
from meterstone.pricing.commitment import Commitment, CommitmentSplit
from meterstone.pricing.money import round_money
from meterstone.pricing.price import Price
from meterstone.store.reading.window import WindowStore
from meterstone.usage.explanation import Explanation, explain
from meterstone.usage.measure import measure
from meterstone.usage.plan import PlanPrices
from meterstone.usage.preview import Changed, Changes, OtherCommitment, changed, in_force_throughout
from meterstone.usage.recorded import RecordedReader
from meterstone.usage.statement import rate
from meterstone.usage.subscription import LineItem, Subscription
from meterstone.usage.window import Window
from support.counting import describe, examples
from support.memory_table import MemoryTable
from support.oracle import Oracle
from support.scenario import World, make, oracles, scenarios, windows

type Json = Mapping[str, Any]


class Views:
    """A subscription of a world, and the views of its usage over a window."""

    def __init__(self, data: st.DataObject) -> None:
        scenario = data.draw(scenarios())
        describe(scenario)
        self.world = World(scenario).run()
        self.table = self.world.settled
        self.subscription = data.draw(st.sampled_from(scenario.subscriptions))
        self.now = scenario.end
        self.window = Window(*data.draw(windows(scenario, self.subscription)))

    def explained(self, changes: Changes | None = None) -> tuple[Explanation, Changed | None]:
        """Explain the usage as it is, or as it would be."""
        reader = WindowStore(self.table).reader(self.world.account, self.subscription, self.now)
        recorded = RecordedReader(reader)
        usage = measure(self.subscription, self.window, recorded, self.now)
        if changes is None:
            return explain(usage, rate(usage), recorded, self.now), None
        other = changed(usage, changes, recorded, self.now)
        return explain(other.usage, rate(other.usage), recorded, self.now, other.given), other

    def answer(self) -> Json:
        """Give the answer of the usage endpoint."""
        return read(flexprice.answer(self.world.statement(self.subscription, self.window, self.now)).body)

    def preview(self, changes: Changes) -> Json:
        """Give the answer of a preview."""
        now, _ = self.explained()
        instead, other = self.explained(changes)
        assert other is not None
        return read(preview.answer(now, instead, other).body)


def read(body: str) -> Json:
    found: Json = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    return found


def explained(views: Views) -> Json:
    return read(explain_contract.answer(views.explained()[0]).body)


def without_explanation(answer: Json) -> Json:
    """Leave out what the view adds."""
    charges = [{k: v for k, v in charge.items() if k != "explanation"} for charge in answer["charges"]]
    return {k: v for k, v in answer.items() if k != "commitment"} | {"charges": charges}


def rounded(amount: Decimal, decimals: Decimal) -> Decimal:
    unit = Decimal(1).scaleb(-int(decimals))
    return amount.quantize(unit, rounding=ROUND_HALF_UP)


def recompute(answer: Json) -> None:
    """Work out every amount from what explains it, by arithmetic of our own."""
    with localcontext(prec=200):
        for charge in answer["charges"]:
            recompute_charge(charge, charge["explanation"])
        commitment = answer["commitment"]
        if commitment is None:
            alone = [charge["explanation"]["amount"] for charge in answer["charges"]]
            assert [charge["amount"] for charge in answer["charges"]] == alone
        else:
            recompute_commitment(answer, commitment)
        assert answer["amount"] == sum(charge["amount"] for charge in answer["charges"])


def recompute_charge(charge: Json, told: Json) -> None:
    """Work out what a charge costs before the commitment."""
    for line in told["lines"]:
        assert line["subtotal"] == line["quantity"] * line["unit_amount"] + line["flat_amount"], line
    assert told["unrounded"] == sum(line["subtotal"] for line in told["lines"])
    assert told["amount"] == rounded(told["unrounded"], told["rounded_to"])
    if "buckets" not in told:
        recompute_quantities(charge["price"], told)


def recompute_quantities(price: Json, told: Json) -> None:
    """Work out the quantities of the lines from the measured quantity, where no buckets are priced apart."""
    quantity, lines = told["quantity"], told["lines"]
    if "packages" in told:
        packages = told["packages"]
        way = ROUND_CEILING if packages["round"] == "up" else ROUND_FLOOR
        count = (max(quantity, Decimal(0)) / packages["size"]).to_integral_value(way)
        assert packages["count"] == count == sum(line["quantity"] for line in lines)
    elif price["billing_model"] == "FLAT_FEE" or quantity > 0:
        assert sum(line["quantity"] for line in lines) == quantity
    else:
        assert lines == []
    if price.get("tier_mode") == "SLAB":
        for line in lines[:-1]:
            assert line["quantity"] == line["to"] - line["from"]
        assert all(line["to"] is None or line["quantity"] <= line["to"] - line["from"] for line in lines)


def recompute_commitment(answer: Json, commitment: Json) -> None:
    """Go through the steps, and work out what is left, and every row, from them."""
    by_amount, factor = commitment["split"] == "amount", commitment["overage_factor"]
    of_item = {c["subscription_line_item_id"]: c["explanation"] for c in answer["charges"]}
    credited = sum(told["amount"] for told in of_item.values() if told["amount"] < 0 and by_amount)
    left, overage = commitment["offered"], Decimal(0)
    assert left == commitment["amount"] - credited
    used: dict[str, Decimal] = {}
    for step, charge in zip(commitment["steps"], answer["charges"], strict=True):
        told, item = charge["explanation"], charge["subscription_line_item_id"]
        assert (step["subscription_line_item_id"], step["amount"]) == (item, charge["amount"])
        assert step["is_overage"] == charge["is_overage"]
        assert (step["left_before"], step["overage_before"]) == (left, overage)
        assert step["left_after"] == left - step["taken"]
        left, overage = step["left_after"], overage + step["beyond"]
        used[item] = used.get(item, Decimal(0)) + step["taken"] + step["beyond"]
        if not step["is_overage"]:
            due = step["taken"] or min(told["amount"], Decimal(0))
            assert charge["amount"] == rounded(due, told["rounded_to"])
        elif by_amount:
            before, after = step["overage_before"], step["overage_before"] + step["beyond"]
            grown = [rounded(each * factor, told["rounded_to"]) for each in (before, after)]
            assert charge["amount"] == grown[1] - grown[0]
        else:
            assert charge["amount"] == rounded(step["beyond"] * factor, told["rounded_to"])
    assert left >= 0
    if by_amount:
        assert used == {item: max(told["amount"], Decimal(0)) for item, told in of_item.items()}


@examples(60)
@given(st.data())
def test_explained_an_answer_is_the_same_answer(data: st.DataObject) -> None:
    views = Views(data)
    assert without_explanation(explained(views)) == views.answer()


@examples(120)
@given(st.data())
def test_every_amount_can_be_worked_out_from_what_explains_it(data: st.DataObject) -> None:
    recompute(explained(Views(data)))


@examples(60)
@given(st.data())
def test_a_preview_with_nothing_changed_is_the_answer(data: st.DataObject) -> None:
    views = Views(data)
    found = views.preview(Changes())
    assert without_explanation(found["now"]) == without_explanation(found["instead"]) == views.answer()
    assert found["difference"]["amount"] == 0
    assert all(each["difference"] == 0 for each in found["difference"]["charges"])


@examples(60)
@given(st.data())
def test_a_preview_of_the_plan_in_force_is_the_answer(data: st.DataObject) -> None:
    views = Views(data)
    codes = [code for code in ("basic", "pro") if in_force_throughout(views.subscription, code, views.window)]
    for code in codes:
        found = views.preview(Changes(plan=PlanPrices(code, ())))
        assert without_explanation(found["instead"]) == views.answer()


@examples(60)
@given(st.data())
def test_the_prices_quantities_and_commitment_in_force_are_the_answer(data: st.DataObject) -> None:
    """Given by name, and prices under another id, so that they are priced anew: buckets of whole days, too."""
    views = Views(data)
    explanation, _ = views.explained()
    subscription = views.subscription
    items = explanation.items.values()
    prices = {each.item.id: replace(each.item.price, id="another") for each in items}
    quantities = {each.item.id: each.cost.quantity for each in items if not bucketed(each.item)}
    changes = Changes(None, prices, OtherCommitment(subscription.commitment), quantities)
    instead, _ = views.explained(changes)
    assert amounts(instead) == amounts(explanation)
    assert cadences(instead) == cadences(explanation)


def bucketed(item: LineItem) -> bool:
    return item.meter is not None and item.meter.bucket_size is not None


def cadences(explanation: Explanation) -> dict[str, str]:
    return {name: each.cadence.code for name, each in explanation.items.items()}


def amounts(explanation: Explanation) -> list[tuple[str, Decimal, Decimal, bool]]:
    rows = explanation.statement.settlement.rows
    return [(row.source.key.id, row.quantity, row.amount, row.is_overage) for row in rows]


@examples(100)
@given(st.data())
def test_a_preview_of_other_prices_is_what_the_subscription_would_owe_with_them(data: st.DataObject) -> None:
    """The oracle prices the raw events under the other prices."""
    views = Views(data)
    random = Random(data.draw(st.integers(0, 2**64)))  # noqa: S311 - nothing secret
    other = with_other_prices(views.subscription, random)
    commitment = random.choice(
        [None, *(Commitment(Decimal(9), Decimal(2), each) for each in CommitmentSplit)]
    )
    other = replace(other, commitment=commitment)
    prices = {item.id: item.price for item in other.line_items}
    rows = set(views.explained()[0].items)
    asked = {item: price for item, price in prices.items() if item in rows}
    instead, _ = views.explained(Changes(prices=asked, commitment=OtherCommitment(commitment)))
    events = [own.events for own in oracles(views.world.scenario) if own.subscription == views.subscription]
    oracle = Oracle(other, events[0])
    wanted = oracle.measured(views.window.start, views.window.end, views.now, lifetime=False)
    found = {
        each: (cost.quantity, round_money(cost.amount, other.currency))
        for each, cost in instead.statement.lines.items()
    }
    assert found == wanted
    recompute(read(explain_contract.answer(instead).body))


def with_other_prices(subscription: Subscription, random: Random) -> Subscription:
    """Give every line item the price of another scenario's, by its own billing period."""
    found: list[Price] = []
    while not found:
        scenario = make(random, 1, 1)
        found = [item.price for each in scenario.subscriptions for item in each.line_items]
    items = []
    for item in subscription.line_items:
        own = item.price
        price = replace(
            random.choice(found),
            currency=subscription.currency,
            meter_id=own.meter_id,
            billing_period=own.billing_period,
            billing_period_count=own.billing_period_count,
        )
        items.append(replace(item, price=price))
    return replace(subscription, line_items=tuple(items))


@examples(60)
@given(st.data())
def test_a_preview_stores_nothing_and_reads_what_the_answer_reads(data: st.DataObject) -> None:
    views = Views(data)
    table = views.table
    assert isinstance(table, MemoryTable)
    before = stored(table)
    table.cost.reset()
    views.world.statement(views.subscription, views.window, views.now)
    read_by_answer = table.cost.items, table.cost.read_units
    explanation, _ = views.explained()
    unbucketed = [each.item for each in explanation.items.values() if not bucketed(each.item)]
    changes = Changes(
        prices={item.id: replace(item.price, id="another") for item in unbucketed},
        commitment=OtherCommitment(Commitment(Decimal(1), Decimal(3))),
        quantities={item.id: Decimal(7) for item in unbucketed},
    )
    table.cost.reset()
    views.explained(changes)
    assert (table.cost.items, table.cost.read_units) == read_by_answer
    assert stored(table) == before


def stored(table: MemoryTable) -> str:
    return repr(sorted(table.items().items(), key=repr))
