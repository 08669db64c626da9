"""Changes that have usage counted anew: what is counted, how much is read for it, and the recount that does it.

A change of subscriptions that moves counted usage begins to fill editions by the new terms, and makes a recount,
in its own transaction (see `meterstone.usage.counting`). A change that counts nothing anew may still take in what
waits, or leave what a meter could not read without a line item: then a recount brings the lists up to date. Where
only the name of the plan is another, what was counted moves as it is (see `meterstone.store.operations.move`).
"""

from collections.abc import Sequence
from copy import replace
from secrets import token_hex
from typing import Final, NamedTuple

from meterstone.catalogue import rules
from meterstone.catalogue.attempt import Attempt
from meterstone.catalogue.customers import MOST_MOVES
from meterstone.catalogue.errors import CatalogueConflictError
from meterstone.catalogue.rules import Moved
from meterstone.store.catalogue.recounts import Recount, read_recount, running_move
from meterstone.store.catalogue.stamped import TermsSeen
from meterstone.store.catalogue.subscription_puts import TermsPut
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.operations.recount import AHEAD_OF_NOW
from meterstone.usage.arrival import AHEAD, Subject
from meterstone.usage.counting import Counting
from meterstone.usage.instant import END_OF_TIME, ZERO_TIME
from meterstone.usage.subscription import Subscription
from meterstone.usage.terms import Terms

MOST_LOG: Final = 20_000_000
"""How many bytes of events are read for a recount that nobody asks for by force."""

_MARK: Final = 4
#: How many unmatched events of a subject are looked at: those that are done stay for two days.
_LOOKED_AT: Final = 25


class Change(NamedTuple):
    """A subscription as it was read (None: there is none), and its terms as they are to be."""

    seen: TermsSeen | None
    terms: Terms


class _Renaming(NamedTuple):
    """The put that gives a plan other names, and the recount by which usage follows."""

    put: TermsPut
    recount: Recount


def read_by_a_recount(
    seen: TermsSeen | None, was: Subscription | None, now: Subscription, moved: int
) -> bool:
    """Return whether a recount may have passed over events that a change takes in from some instant on.

    What was accepted up to its cut is not counted into its edition any more, though the stream has not delivered
    it yet. So what counts by the new terms must be read from the log again.
    """
    if seen is None or was is None or not any(moved <= cut.at + AHEAD for cut in seen.counting.cuts):
        return False
    return rules.takes_in(was, now)


def counted_anew(
    attempt: Attempt,
    changes: Sequence[Change],
    before: Sequence[Subscription | None],
    after: Sequence[Subscription],
    puts: Sequence[TermsPut],
    moves: Sequence[Moved | None],
) -> tuple[Recount, list[TermsPut]]:
    """Have subscriptions counted anew: the puts say so, and the recount does it.

    All subscriptions that one change concerns turn at once. Raises `CatalogueConflictError` if there is much to be
    read for it, and nobody has said that it is to be.
    """
    written = {put.terms.id: put for put in puts}
    scopes: dict[str, list[tuple[str, int]]] = {}
    for change, was, now, moved in zip(changes, before, after, moves, strict=True):
        if moved is not None and change.terms.id in written:
            scopes[change.terms.id] = [("", ZERO_TIME)] if was is None else rules.concerned(was, now)
    recount = Recount.of_usage(
        [name for name, found in scopes.items() if found],
        sorted({scope for found in scopes.values() for scope, _ in found if scope}),
        min(moved.at for moved in moves if moved is not None),
        attempt.now,
        token_hex(_MARK),
    )
    recount = recount._replace(events=_logged(attempt, changes))
    # An attempt may have taken some seconds by now. The cut must be there before it has come.
    cut = attempt.clock() + AHEAD_OF_NOW
    for seen, terms in changes:
        if scopes.get(terms.id):
            # Until it is counted, a new one is as if it had no time.
            live = replace(terms, canceled_at=attempt.now) if seen is None else seen.stored.value
            counting = Counting() if seen is None else seen.counting
            begun = counting.begun(live, terms, scopes[terms.id], cut, attempt.account.generation, recount.id)
            written[terms.id] = written[terms.id]._replace(counting=begun, wakes=False)
    return recount, list(written.values())


def renamed(seen: TermsSeen, was: Subscription, put: TermsPut, since: int) -> _Renaming:
    """Have what was counted of a subscription follow the names of its plan, which are others from ``since`` on."""
    before = seen.counting.renamings
    if len(before.former) >= MOST_MOVES:
        raise CatalogueConflictError("", "usage is still to follow earlier changes: try again in a minute")
    renamings = before.next(plan=was.plan)
    counting = replace(put.counting or seen.counting, renamings=renamings)
    recount = Recount.of_renaming(put.terms.id, renamings.number, since, put.stamp.put_at)
    return _Renaming(put._replace(counting=counting), recount)


def of_waiting(attempt: Attempt, changes: Sequence[Change], moves: Sequence[Moved]) -> Recount | None:
    """Return a recount that brings the lists of what does not count up to date; None if nothing is listed.

    What waits of the subjects may count now; what a meter could not read may be no more for any line item.

    Cost: 2 queries of one item, and 2 of a few items for each subject where these find any, if the change is not
    ahead of time.
    """
    since = min((moved.at for moved in moves), default=END_OF_TIME)
    if since > attempt.now or not _lists_any(attempt):
        return None
    for terms in (each.terms for each in changes):
        for subject in (Subject.subscription(terms.events_by), Subject.customer(terms.customer_id)):
            if _waits(attempt, subject) or lists_unreadable(attempt, subject):
                ids = [each.terms.id for each in changes]
                return Recount.of_usage(ids, [], since, attempt.now, token_hex(_MARK))
    return None


def _lists_any(attempt: Attempt) -> bool:
    """Return whether anything of anybody waits or cannot be read. Several puts on one attempt ask once."""
    for pk in (
        keys.unmatched_of(attempt.organization_id, "", "").pk,
        keys.unreadable_of(attempt.organization_id, "", "").pk,
    ):
        if pk not in attempt.lists:
            attempt.lists[pk] = bool(attempt.table.query_first(pk, FIRST, LAST, 1))
    return any(attempt.lists.values())


def _waits(attempt: Attempt, subject: Subject) -> bool:
    pk, prefix = keys.unmatched_of(attempt.organization_id, *subject)
    rows = attempt.table.query_first(pk, *keys.range_of(prefix), _LOOKED_AT)
    return len(rows) == _LOOKED_AT or any("done" not in row for row in rows)


def lists_unreadable(attempt: Attempt, subject: Subject) -> bool:
    """Return whether events of a subject are listed that a meter cannot read. Cost: 1 query of one item."""
    pk, prefix = keys.unreadable_of(attempt.organization_id, *subject)
    return bool(attempt.table.query_first(pk, *keys.range_of(prefix), 1))


def _logged(attempt: Attempt, changes: Sequence[Change]) -> int | None:
    """Return how many events the logs have that are read for a recount; None if they are read by force.

    Raises `CatalogueConflictError` if they are larger than `MOST_LOG`. Cost: 0.5 read units for each 4 KB of them,
    up to that; nothing by force.
    """
    if attempt.forced:
        return None
    terms = [each.terms for each in changes] + [each.seen.stored.value for each in changes if each.seen]
    subjects = dict.fromkeys(
        subject
        for each in terms
        for subject in (Subject.subscription(each.events_by), Subject.customer(each.customer_id))
    )
    number, left = 0, MOST_LOG
    for subject in subjects:
        found, size = attempt.table.count_in(keys.event(attempt.organization_id, *subject, "").pk, left)
        number, left = number + found, left - size
        if left < 0:
            raise CatalogueConflictError(
                "", "more than 20 MB of events would be read to count usage anew: ask for it by force"
            )
    return number


def running(attempt: Attempt, seen: TermsSeen) -> Recount | None:
    """Return the recount of a subscription that is under way."""
    if seen.recount:
        return read_recount(attempt.table, attempt.organization_id, seen.recount)
    if not seen.counting.renamings.former:
        return None
    return running_move(attempt.table, attempt.organization_id, renamed=seen.stored.value.id)
