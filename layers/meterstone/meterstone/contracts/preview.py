"""`POST /v1/subscriptions/usage/preview` on the wire: what usage would cost otherwise.

The body is that of the usage endpoint and `instead`, an object with any of `plan`, `prices`, `commitment` and
`quantities`; an empty one changes nothing. Errors have Flexprice's shape, with the path of each bad field. A plan
that has no prices is 422 `invalid_operation`: the request is right, and the catalogue cannot answer it yet.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Never

import msgspec
from msgspec import Raw

from meterstone.contracts import flexprice
from meterstone.contracts.explain import ExplainedAnswer, explained
from meterstone.contracts.fields import Fields, amount, one_of, text_of
from meterstone.contracts.flexprice import UsageRequest
from meterstone.contracts.message import Reply, Request, RequestRefusedError, number
from meterstone.contracts.price_object import read_price
from meterstone.pricing.commitment import Commitment, CommitmentSplit, Settlement
from meterstone.pricing.money import LONGEST_NUMBER, QUANTITY_DIGITS, ZERO, add, subtract
from meterstone.pricing.money import number as exact
from meterstone.pricing.price import Price
from meterstone.usage.explanation import Explanation
from meterstone.usage.identifier import checked_id
from meterstone.usage.plan import PlanPrices
from meterstone.usage.preview import (
    Changed,
    ChangeError,
    Changes,
    ImpossibleChangeError,
    OtherCommitment,
    PlanWithoutPricesError,
)
from meterstone.usage.subscription import LineItem

_MOST_FAULTS = 100


class PreviewRequest(msgspec.Struct, frozen=True):
    """A request: that of the usage endpoint, and what would be otherwise. The plan is a code."""

    usage: UsageRequest
    plan: str | None = None
    prices: Mapping[str, Price] = msgspec.field(default_factory=dict)
    commitment: OtherCommitment | None = None
    quantities: Mapping[str, Decimal] = msgspec.field(default_factory=dict)

    def changes(self, plan: PlanPrices | None) -> Changes:
        """Return the changes, with the prices of the plan."""
        return Changes(plan, self.prices, self.commitment, self.quantities)


class DifferenceObject(msgspec.Struct, frozen=True, kw_only=True):
    """What a line item costs now and instead, its overage included."""

    subscription_line_item_id: str
    meter_id: str
    now: Raw
    instead: Raw
    difference: Raw


class DifferencesObject(msgspec.Struct, frozen=True, kw_only=True):
    """What would be paid more, or less if it is below zero: in all, and by line item."""

    amount: Raw
    charges: list[DifferenceObject]


class PreviewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `not_priced` lists line items, and `not_counted` meters, that a plan leaves out or adds."""

    now: ExplainedAnswer
    instead: ExplainedAnswer
    difference: DifferencesObject
    not_priced: list[str]
    not_counted: list[str]


class UnreadNumber:
    """A JSON number that is too long to be read. No field takes it."""


def read_number(text: str) -> int | Decimal | UnreadNumber:
    """Read a JSON number with all its digits."""
    if len(text) > LONGEST_NUMBER:
        return UnreadNumber()
    return int(text) if text.removeprefix("-").isdecimal() else Decimal(text)


def read_quantity(value: object) -> Decimal:
    """Read a quantity: a number, or the text of one. Raises `ValueError`."""
    return exact(value, QUANTITY_DIGITS)


def parse(request: Request) -> PreviewRequest:
    """Read the body. Raises `RequestRefusedError` with all bad fields at once."""
    return read(flexprice.read_object(request, read_number))


def read(body: Mapping[str, Any]) -> PreviewRequest:
    """Read a body that is decoded. Raises `RequestRefusedError` with all bad fields at once."""
    faults: dict[str, str] = {}
    usage = flexprice.read_request(body, faults)
    fields = Fields(body, "", faults)
    if "instead" not in body:
        faults["instead"] = "is required"
    instead = fields.inner("instead")
    asked = PreviewRequest(usage) if instead is None else _instead(usage, instead, faults)
    if faults:
        refuse_faults(faults)
    return asked


def _instead(usage: UsageRequest, instead: Fields, faults: dict[str, str]) -> PreviewRequest:
    plan = instead.get("plan", text_of(checked_id), "", nullable=True)
    prices: dict[str, Price] = {}
    if (given := instead.inner("prices", nullable=True)) is not None:
        for key, raw in given.items():
            prices[key] = read_price(Fields(raw, given.at(key), faults), with_currency=False)
    quantities: dict[str, Decimal] = {}
    if (given := instead.inner("quantities", nullable=True)) is not None:
        quantities = {key: given.get(key, read_quantity, ZERO) for key, _ in given.items()}
    commitment = OtherCommitment(read_commitment(instead)) if instead.has("commitment") else None
    instead.refuse_others()
    return PreviewRequest(usage, plan or None, prices, commitment, quantities)


def read_commitment(fields: Fields) -> Commitment | None:
    """Read a commitment; None if it is null or absent."""
    given = fields.inner("commitment", nullable=True)
    if given is None:
        return None
    found = Commitment(
        given.require("amount", amount, ZERO),
        given.require("overage_factor", amount, ZERO),
        given.get("split", one_of(CommitmentSplit), CommitmentSplit.AMOUNT),
    )
    given.refuse_others()
    return found


def answer(now: Explanation, instead: Explanation, changed: Changed) -> Reply:
    """Write the usage as it is priced now, as it would be priced, and the difference, as the reply."""
    body = previewed(now, instead, changed)
    return Reply.of(200, body, counted_until=now.statement.counted_until)


def previewed(now: Explanation, instead: Explanation, changed: Changed) -> PreviewAnswer:
    """Write the usage as it is priced now, as it would be priced, and the difference, as the body."""
    was, would = now.statement.settlement, instead.statement.settlement
    before, after = _by_item(was), _by_item(would)
    return PreviewAnswer(
        now=explained(now),
        instead=explained(instead),
        difference=DifferencesObject(
            amount=number(subtract(would.amount, was.amount)),
            charges=[
                DifferenceObject(
                    subscription_line_item_id=item.id,
                    meter_id=item.price.meter_id,
                    now=number(before[item.id]),
                    instead=number(after.get(item.id, ZERO)),
                    difference=number(subtract(after.get(item.id, ZERO), before[item.id])),
                )
                for item in dict.fromkeys(row.source.key for row in was.rows)
            ],
        ),
        not_priced=[item.id for item in changed.unpriced],
        not_counted=list(changed.uncounted),
    )


def refuse_change(error: ChangeError) -> Never:
    """Refuse changes that cannot be previewed. Raises `RequestRefusedError`: 400, or 422 for want of prices."""
    match error:
        case ImpossibleChangeError(faults=faults):
            refuse_faults({f"instead.{fault.path}": fault.reason for fault in faults})
        case PlanWithoutPricesError(code=code, currency=currency):
            reason = (
                f"the plan {code!r} has no price in {currency.upper()} that is offered then: its prices are those "
                f"that the plan's record lists"
            )
            details = {"instead.plan": {"reason": reason}}
            message = f"This plan cannot be previewed: {reason}."
            raise RequestRefusedError(flexprice.error(422, "invalid_operation", message, details))
        case _:
            raise TypeError(f"no such error: {type(error).__name__}")


def refuse_unknown_plan(code: str) -> Never:
    """Refuse a plan that the organization does not have. Raises `RequestRefusedError`."""
    refuse_faults({"instead.plan": f"is no plan of the catalogue: {code!r}"})


def refuse_faults(faults: Mapping[str, str]) -> Never:
    """Refuse a request for what is wrong with its fields, the first of them. Raises `RequestRefusedError`."""
    first = list(faults.items())[:_MOST_FAULTS]
    flexprice.refuse_fields({_writable(path): _writable(reason) for path, reason in first})


def _writable(text: str) -> str:
    """Return a text as it can be sent: names of the request may have halves of surrogate pairs in them."""
    return text.encode(errors="backslashreplace").decode()


def _by_item(settlement: Settlement[LineItem]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for row in settlement.rows:
        key = row.source.key.id
        found[key] = add(found.get(key, ZERO), row.amount)
    return found
