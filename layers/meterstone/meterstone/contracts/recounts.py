"""`GET /catalogue/v1/recounts` on the wire: what a change for many subscriptions has done, and what it is at."""

from collections.abc import Sequence
from typing import Any, Protocol

from meterstone.contracts.catalogue import Asked, next_cursor
from meterstone.contracts.message import Reply
from meterstone.usage.instant import format_instant


class Recount(Protocol):
    """A recount by which subscriptions that follow a plan follow a version of it (see `store.catalogue`)."""

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
        """How many subscriptions follow the version."""

    @property
    def refused(self) -> int:
        """How many cannot."""

    @property
    def reasons(self) -> Sequence[tuple[str, str]]:
        """The first of these, each with the reason."""


def recount_record(recount: Recount) -> dict[str, Any]:
    """Write how far a recount is."""
    return {
        "id": recount.id,
        "plan": recount.plan,
        "plan_version": recount.version,
        "at": format_instant(recount.since),
        "done": recount.done_at is not None,
        "subscriptions": {"done": recount.done, "refused": recount.refused},
        "refusals": [{"subscription": name, "message": reason} for name, reason in recount.reasons],
        "created_at": format_instant(recount.made_at),
        "updated_at": format_instant(recount.put_at),
        "done_at": None if recount.done_at is None else format_instant(recount.done_at),
    }


def recount_begun(recount: Recount) -> dict[str, Any]:
    """Write which recount a put has begun.

    How many line items it moves is known when it is done. No event is counted anew: it takes effect ahead of time.
    """
    return {
        "id": recount.id,
        "at": format_instant(recount.since),
        "line_items": None,
        "events": 0,
    }


def answer_recounts(asked: Asked, recounts: Sequence[Recount], *, more: bool) -> Reply:
    """Write a page of recounts. The next page begins after its last one."""
    after = recounts[-1].id if more and recounts else None
    shown = [recount_record(each) for each in recounts]
    return Reply.of(200, {"recounts": shown, "next_cursor": next_cursor(asked, after)})
