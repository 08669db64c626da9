"""Carrying recounts on.

Of usage: see `meterstone.store.operations.recount`. When it is done, what was put meanwhile takes effect. Of a
move: see `meterstone.store.operations.move`.

Of a plan that was put for all: the subscriptions that follow it, one after another, in the order of their list.
Each subscription is changed in a transaction of its own, by the same code as any change of it. So a recount that
is stopped anywhere is carried on from its place, and what is done twice changes nothing. A subscription that
cannot follow, such as one of which usage was counted that the change would move, is noted, and the others go on.

Subscriptions that are made meanwhile follow the new version by themselves: see `SETTLED` in
`meterstone.store.catalogue.recounts`.
"""

import time
from collections.abc import Callable, Mapping
from secrets import token_hex
from typing import Any, Final

from meterstone.catalogue.agreements import settle
from meterstone.catalogue.attempt import Attempt, in_turn
from meterstone.catalogue.errors import CatalogueBusyError, CatalogueError, Put, UnknownRecordError
from meterstone.catalogue.many import put_many
from meterstone.catalogue.subscriptions import Version, follow
from meterstone.store.catalogue.pages import read_some_terms
from meterstone.store.catalogue.recounts import (
    Recount,
    come_on,
    delete_old,
    due_recounts,
    finish,
    is_swept,
    read_recount_at,
    release,
    take,
    turned_recounts,
)
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.table import Table, text
from meterstone.store.operations.log_counting import RecountReport
from meterstone.store.operations.move import CustomerMoving, MoveReport, PlanRenaming
from meterstone.store.operations.recount import Recounting
from meterstone.store.operations.retired import delete_retired
from meterstone.store.operations.turns import Surroundings
from meterstone.usage.terms import Terms, following

TOGETHER: Final = 400
"""How many subscriptions are read at once. A recount's place is written after each such step."""

_MARK: Final = 8


def carry_on(
    table: Table,
    key: Key,
    clock: Callable[[], int],
    until: int,
    sleep: Callable[[float], None] = time.sleep,
) -> Recount | None:
    """Carry a recount on until it is done, or until an instant. Return how far it is.

    Returns None if there is nothing to do: it is done, it is not time yet, another carries it on, or its
    organization is gone. Whatever is raised, it is to be carried on then: of a plan, `CatalogueBusyError` while a
    rebuild or a purge is running.
    """
    me = token_hex(_MARK)
    recount = take(table, key, me, clock())
    if recount is None:
        return None
    if clock() < recount.ready_at:
        release(table, key, me, recount.ready_at)
        return None
    try:
        if recount.is_move:
            return _follow_move(table, key, me, recount, Surroundings(until, clock, sleep))
        if recount.subscriptions:
            return _count_anew(table, key, me, recount, Surroundings(until, clock, sleep))
        while clock() < until:
            after = _step(table, keys.organization_of_recount(key), clock, recount)
            if after.done_at is not None:
                return after if finish(table, key, me, after) else None
            if not come_on(table, key, me, after):
                return None
            recount = after
    except Exception:
        release(table, key, me, clock())
        raise
    release(table, key, me, clock())
    return recount


def _follow_move(table: Table, key: Key, me: str, recount: Recount, around: Surroundings) -> Recount | None:
    """Have what was counted follow a move. Return how far it is; None if another carries it on."""
    clock = around.clock

    def at(report: MoveReport) -> Recount:
        return recount.coming_on(
            report.place, report.subscriptions, report.unpublished, report.waits_for, clock()
        )

    def keep(report: MoveReport) -> bool:
        return come_on(table, key, me, at(report))

    organization_id = keys.organization_of_recount(key)
    moving = CustomerMoving if recount.customer else PlanRenaming
    whose = recount.customer or recount.renamed
    report = moving(table, organization_id, whose, around, recount.place, keep).run()
    after = at(report)
    return _finished(table, key, me, after, clock) if report.done else _left(table, key, me, after, clock)


def _count_anew(table: Table, key: Key, me: str, recount: Recount, around: Surroundings) -> Recount | None:
    """Carry a recount of usage on. Return how far it is; None if another carries it on."""
    organization_id, clock = keys.organization_of_recount(key), around.clock

    def at(report: RecountReport) -> Recount:
        done = max(report.events, recount.done)
        return recount.coming_on(report.place, done, report.unpublished, report.waits_for, clock())

    def keep(report: RecountReport) -> bool:
        return come_on(table, key, me, at(report))

    ids = recount.subscriptions
    report = Recounting(table, organization_id, recount.id, ids, around, recount.place, keep).run()
    after = at(report)
    if not report.done:
        return _left(table, key, me, after, clock)
    for name in ids:

        def settling(attempt: Attempt, name: str = name) -> Recount | None:
            return settle(attempt, name)

        # It was taken when it was put: however much is read for it.
        in_turn(table, organization_id, clock, settling, forced=True)
    return _finished(table, key, me, after, clock)


def _left(table: Table, key: Key, me: str, recount: Recount, clock: Callable[[], int]) -> Recount:
    """Leave a recount to whoever comes next."""
    come_on(table, key, me, recount)
    release(table, key, me, clock())
    return recount


def _finished(table: Table, key: Key, me: str, recount: Recount, clock: Callable[[], int]) -> Recount | None:
    """End a recount. Return None if another carries it on."""
    # Its place has the ids of subscriptions or subjects, who may be purged.
    done = recount._replace(done_at=clock(), place="")
    return done if finish(table, key, me, done) else None


def carry_all_on(
    table: Table,
    clock: Callable[[], int],
    until: int,
    sleep: Callable[[float], None] = time.sleep,
    tell: Callable[[str, Recount], None] = lambda *_: None,
) -> list[Recount]:
    """Carry on what is due of all organizations, one recount after another. Return how far each is.

    ``tell`` is called with the organization of each and how far it is, as soon as it was carried on.

    Those that were done long ago are deleted; of usage, what was read before goes a while after they are done. One
    that fails, whatever it fails by, does not keep the others from their turns; its error is raised at the end.
    Where one has waited in vain, the others of its organization would, too: they have their turns in a later call.
    """
    delete_old(table, clock())
    found: list[Recount] = []
    waiting: set[str] = set()
    failed: Exception | None = None
    for key in due_recounts(table, clock()):
        if clock() >= until:
            break
        organization_id = keys.organization_of_recount(key)
        if organization_id in waiting:
            continue
        try:
            recount = carry_on(table, key, clock, until, sleep)
        except Exception as error:  # noqa: BLE001 - it is raised at the end
            error.add_note(f"recount {key.sk} of organization {organization_id}")
            failed = error
            continue
        if recount is not None:
            tell(organization_id, recount)
            found.append(recount)
            if recount.waits_for:
                waiting.add(organization_id)
    _delete_what_was_read(table, clock, until)
    if failed is not None:
        raise failed
    return found


def _delete_what_was_read(table: Table, clock: Callable[[], int], until: int) -> None:
    """Delete the tallies of before of recounts that are done, where nobody reads them any more."""
    for key in turned_recounts(table, clock()):
        organization_id = keys.organization_of_recount(key)
        recount = read_recount_at(table, key)
        if recount is None or clock() >= until:
            continue
        for subscription_id in recount.subscriptions:
            delete_retired(table, organization_id, subscription_id)
        is_swept(table, key, recount)


def _step(table: Table, organization_id: str, clock: Callable[[], int], recount: Recount) -> Recount:
    """Have the next subscriptions of the list follow, and return the recount as it is then."""
    of = keys.catalogue_kind(organization_id, "subscription")
    # No key has a character below FIRST, so that this is above the last key and not above the next.
    begin = recount.place + FIRST if recount.place else of.sk
    rows = table.query_first(of.pk, begin, of.sk + LAST, TOGETHER, consistent=True)
    if not rows:
        now = clock()
        # The place has the id of a subscription, which may be purged.
        return recount._replace(place="", put_at=now, done_at=now)
    names = [text(row, "id") for row in rows]
    older: list[Terms] = []
    for stored in read_some_terms(table, organization_id, names, consistent=True):
        terms = stored.value
        if following(terms, recount.plan, recount.version, recount.since) != terms:
            older.append(terms)
        elif _follows(terms, recount):
            recount = recount._replace(done=recount.done + 1)
    for terms, outcome in zip(older, _follow(table, organization_id, clock, recount, older), strict=True):
        if isinstance(outcome, CatalogueBusyError):
            raise outcome
        if isinstance(outcome, UnknownRecordError):
            continue  # It was deleted meanwhile.
        if isinstance(outcome, CatalogueError):
            recount = recount.refusing(terms.id, str(outcome))
        elif _follows(outcome.stored.value, recount):
            recount = recount._replace(done=recount.done + 1)
    return recount._replace(place=text(rows[-1], "sk"), put_at=clock())


def _follow(
    table: Table, organization_id: str, clock: Callable[[], int], recount: Recount, older: list[Terms]
) -> list[Put[Any] | CatalogueError]:
    """Have subscriptions follow, several at once. Return in their order what became of each."""
    version = Version(recount.plan, recount.version, recount.since)

    def putting(attempt: Attempt, name: str, _: Mapping[str, object]) -> Put[Any]:
        return follow(attempt, name, version)

    def alone(name: str, _: Mapping[str, object]) -> Put[Any]:
        return in_turn(table, organization_id, clock, lambda attempt: follow(attempt, name, version))

    # What each refers to is read together, as it was a moment ago; each change reads the rest by itself.
    told = [(each.id, {"customer": each.customer_id, "external_id": each.events_by}) for each in older]
    return put_many(table, organization_id, clock, "subscription", told, putting, alone) if told else []


def _follows(terms: Terms, recount: Recount) -> bool:
    return any((each.value, each.version) == (recount.plan, recount.version) for each in terms.plan)
