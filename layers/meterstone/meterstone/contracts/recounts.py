"""`GET /catalogue/v1/recounts` on the wire: how far the work is that changes of the catalogue have begun.

There are three kinds (see `store.catalogue.recounts`). By one of a ``plan``, the subscriptions that follow it
follow a version of it, one after another. By one of ``usage``, what was counted of subscriptions is counted anew.
By one of a ``move``, what was counted of a customer's subscriptions is grouped by the customer's facts of now, or
what was counted of one subscription by the name that its plan has now.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from meterstone.contracts.catalogue import Asked, next_cursor
from meterstone.contracts.message import Reply
from meterstone.usage.instant import format_instant


class Recount(Protocol):
    """A recount.

    It is of a move if it names a customer or a renamed subscription, of usage if it names subscriptions, else of a
    plan.
    """

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def plan(self) -> str:
        """The plan's code."""

    @property
    def version(self) -> int:
        """The number of the plan's version."""

    @property
    def since(self) -> int:
        """From when on the version is followed."""

    @property
    def made_at(self) -> int:
        """When it was made."""

    @property
    def put_at(self) -> int:
        """When it last came on."""

    @property
    def done_at(self) -> int | None:
        """When it was done; None until then."""

    @property
    def done(self) -> int:
        """How many subscriptions follow the version, or the move; of usage, how many events were counted."""

    @property
    def refused(self) -> int:
        """How many cannot."""

    @property
    def reasons(self) -> Sequence[tuple[str, str]]:
        """The first of these, each with the reason; of usage and a move, why totals do not take its worth."""

    @property
    def waits_for(self) -> str:
        """What must be over before it can come on; empty if nothing must."""

    @property
    def subscriptions(self) -> Sequence[str]:
        """The subscriptions whose usage is counted anew; none if it is of a plan."""

    @property
    def line_items(self) -> Sequence[str]:
        """The line items that are, or the recurring meters whose chains are; none: all of the subscriptions."""

    @property
    def events(self) -> int | None:
        """How many events the logs had when it was made; None if it was made by force: they were not counted."""

    @property
    def customer(self) -> str:
        """The customer that has moved; empty if none has."""

    @property
    def renamed(self) -> str:
        """The subscription whose plan has another name; empty if none has."""


def recount_record(recount: Recount) -> dict[str, Any]:
    """Write how far a recount is."""
    if recount.customer or recount.renamed:
        return _of_move(recount)
    return _of_usage(recount) if recount.subscriptions else _of_plan(recount)


def _of_move(recount: Recount) -> dict[str, Any]:
    return {
        "id": recount.id,
        "kind": "move",
        **({"customer": recount.customer} if recount.customer else {"subscription": recount.renamed}),
        "at": format_instant(recount.since),
        "done": recount.done_at is not None,
        "subscriptions": {"done": recount.done, "refused": recount.refused},
        "refusals": _refusals(recount),
        "waits_for": recount.waits_for or None,
        **_when(recount),
    }


def _of_plan(recount: Recount) -> dict[str, Any]:
    return {
        "id": recount.id,
        "kind": "plan",
        "plan": recount.plan,
        "plan_version": recount.version,
        "at": format_instant(recount.since),
        "done": recount.done_at is not None,
        "subscriptions": {"done": recount.done, "refused": recount.refused},
        "refusals": _refusals(recount),
        **_when(recount),
    }


def _of_usage(recount: Recount) -> dict[str, Any]:
    return {
        "id": recount.id,
        "kind": "usage",
        "at": format_instant(recount.since),
        "done": recount.done_at is not None,
        "subscriptions": list(recount.subscriptions),
        "line_items": list(recount.line_items),
        "events": {"logged": recount.events, "counted": recount.done},
        "refusals": _refusals(recount),
        "waits_for": recount.waits_for or None,
        **_when(recount),
    }


def _refusals(recount: Recount) -> list[dict[str, str]]:
    return [{"subscription": name, "message": reason} for name, reason in recount.reasons]


def _when(recount: Recount) -> dict[str, Any]:
    return {
        "created_at": format_instant(recount.made_at),
        "updated_at": format_instant(recount.put_at),
        "done_at": None if recount.done_at is None else format_instant(recount.done_at),
    }


def recount_begun(recount: Recount) -> dict[str, Any]:
    """Write which recount a put has begun, or waits for.

    ``line_items`` are those that are counted anew, or the recurring meters whose chains are; none are named where
    all of the subscription are. ``events`` is how many are read for that, null if they were not counted. Of a plan
    that is put for all, neither is known: each subscription that has usage then has a recount of its own. For a
    move no event is read, and no line item counted anew.
    """
    return {
        "id": recount.id,
        "at": format_instant(recount.since),
        "line_items": list(recount.line_items),
        "events": recount.events,
    }


def answer_recounts(asked: Asked, recounts: Sequence[Recount], *, more: bool) -> Reply:
    """Write a page of recounts. The next page begins after its last one."""
    after = recounts[-1].id if more and recounts else None
    shown = [recount_record(each) for each in recounts]
    return Reply.of(200, {"recounts": shown, "next_cursor": next_cursor(asked, after)})
