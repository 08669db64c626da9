"""Writing subscriptions: what a change of one or two of them moves, whether it may, and the one transaction.

Every way of changing a subscription (see `meterstone.catalogue.subscriptions`) ends here, with the terms as they
were read and as they are to be.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import replace
from typing import Final, NamedTuple

from meterstone.catalogue import rules
from meterstone.catalogue.anew import (
    Change,
    counted_anew,
    lists_unreadable,
    of_waiting,
    read_by_a_recount,
    renamed,
    running,
)
from meterstone.catalogue.attempt import Attempt
from meterstone.catalogue.customers import convert, has_usage
from meterstone.catalogue.errors import (
    CatalogueBusyError,
    CatalogueConflictError,
    LostError,
    Put,
    RecordRefusedError,
)
from meterstone.catalogue.rules import Bounds, Moved
from meterstone.catalogue.subjects import Subjects, read_subjects
from meterstone.pricing.price import Price
from meterstone.store.catalogue.recounts import Recount
from meterstone.store.catalogue.stamped import (
    NEVER,
    Stored,
    SubjectSeen,
    TermsSeen,
    mentioned,
    read_terms,
)
from meterstone.store.catalogue.subscription_puts import (
    Concerned,
    TermsPut,
    absent_subscriptions,
    delete_subscription,
    put_mentions,
    put_subscriptions,
    remove_mark,
)
from meterstone.store.catalogue.subscriptions import By, read_subscriptions, read_versions, resolved
from meterstone.store.catalogue.upgrade import settled_by
from meterstone.store.counting.waking import kept_by_the_clock, wake_all, wake_changed
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key, Kind
from meterstone.store.dynamodb.table import text
from meterstone.store.operations.recount import LANDS
from meterstone.usage.arrival import AHEAD, Subject
from meterstone.usage.counting import Counting
from meterstone.usage.instant import MINUTE, SECOND, ZERO_TIME
from meterstone.usage.plan import decode_price
from meterstone.usage.state import follows_clock
from meterstone.usage.subscription import Subscription
from meterstone.usage.terms import Terms, resolve

#: A change that moves usage from so soon on is conditional on what is counted meanwhile. An event lies at most
#: `AHEAD` before the clock, an attempt takes a moment, and clocks differ.
_NEAR: Final = AHEAD + MINUTE

type Prices = Mapping[str, Price]


def bounds_of(
    attempt: Attempt, subjects: Subjects, before: TermsSeen | None, was: Subscription | None, terms: Terms
) -> Bounds:
    """Return what is known of the usage that a change of a subscription could move.

    ``was`` is the subscription of the terms before. Cost: up to 2 queries of one item.
    """
    if before is None or was is None:
        return Bounds(subjects.latest(terms))
    last = max(
        (
            each
            for each in (subjects.latest(before.stored.value), subjects.latest(terms, alone=True))
            if each is not None
        ),
        default=None,
    )
    clocked = _clocked(was)
    if not (last is None or before.of_before or clocked):
        return Bounds(last)
    counted = has_usage(attempt, was.id) or (clocked and has_usage(attempt, was.id, Kind.CHAIN))
    if not counted:
        return Bounds(last)
    settled = settled_by(attempt.table, attempt.organization_id) if before.of_before else None
    if settled is not None:
        last = settled if last is None else max(last, settled)
    return Bounds(last, last is None, clocked)


def _clocked(subscription: Subscription | None) -> bool:
    """Return whether a subscription has a meter whose worth time alone changes."""
    items = () if subscription is None else subscription.line_items
    return any(item.meter is not None and follows_clock(item.meter) for item in items)


def resolved_before(attempt: Attempt, seen: TermsSeen, by: By = By.READ) -> Subscription:
    """Return the subscription of an item that was read: as it is read, or as its record says."""
    (found,) = resolved(
        attempt.table,
        attempt.organization_id,
        [seen.row],
        attempt.account.meters,
        consistent=True,
        facts=False,
        by=by,
    )
    return found


class _Effect(NamedTuple):
    """What a change of a subscription does to usage.

    ``moved``: from when on it is moved, None if nothing is. ``anew``: some was counted there, and is counted anew.
    ``still``: that nothing was counted which time alone changes must hold when the change is written, too.
    ``renamed``: some was counted there, and only the name of its plan is another, from that instant on.
    """

    moved: Moved | None
    anew: bool
    still: bool
    bounds: Bounds
    renamed: int | None = None


_NOTHING: Final = _Effect(None, anew=False, still=False, bounds=Bounds())


def _effect(
    attempt: Attempt, subjects: Subjects, change: Change, was: Subscription | None, now: Subscription
) -> _Effect:
    """Find out what a change does to usage."""
    moved = rules.moved_from(was, now)
    bounds = Bounds() if moved is None else bounds_of(attempt, subjects, change.seen, was, change.terms)
    anew = moved is not None and (
        bounds.counted_from(moved.at, attempt.now) or read_by_a_recount(change.seen, was, now, moved.at)
    )
    renamed: int | None = None
    if anew and moved is not None and was is not None:
        if not rules.concerned(was, now):
            # No tally is concerned: the answer alone is another.
            moved, anew = None, False
        elif not rules.concerned(was, replace(now, plan=was.plan)):
            renamed, moved, anew = moved.at, None, False
    still = moved is not None and not bounds.clocked and _clocked(was)
    return _Effect(moved, anew, still, bounds, renamed)


def write(
    attempt: Attempt,
    changes: Sequence[Change],
    subjects: Subjects,
    plans: Iterable[str] = (),
    absent: Iterable[str] = (),
) -> list[Put[Terms]]:
    """Check subscriptions as they are to be, and write those that differ, all in one transaction.

    ``subjects`` are those of all terms, before and after; ``plans`` the ones that are to be marked as named;
    ``absent`` the ids of subscriptions that must not be there.
    """
    differing = [each for each in changes if each.seen is None or each.terms != each.seen.stored.value]
    if not differing:
        return [_unchanged(attempt, each) for each in changes]
    after = _resolved_after(attempt, changes, subjects)
    before = [None if each.seen is None else resolved_before(attempt, each.seen) for each in changes]
    if any(each.seen is not None and each.seen.recount is not None for each in differing):
        return [_put_waiting(attempt, changes, subjects, plans)]
    effects = [
        _effect(attempt, subjects, change, was, now) if change in differing else _NOTHING
        for change, was, now in zip(changes, before, after, strict=True)
    ]
    settles = [
        effect.bounds.last if change.seen is not None and change.seen.of_before else None
        for change, effect in zip(changes, effects, strict=True)
    ]
    moves, uncounted = [each.moved for each in effects], [each.still for each in effects]
    anew = any(each.anew for each in effects)
    attempt.ready()
    for owner in subjects.customers.values():
        if owner.of_before:
            convert(attempt, owner)
    puts = [
        _put(attempt, change, was, now)
        for change, was, now in zip(changes, before, after, strict=True)
        if change in differing
    ]
    put_mentions(attempt.table, attempt.organization_id, list(_to_mention(differing)))
    recount = None
    if anew:
        _write_in_present_form(attempt, changes, subjects, settles)
        recount, puts = counted_anew(attempt, changes, before, after, puts, moves)
        moves, uncounted = [None for _ in changes], [False for _ in changes]
    else:
        recount = of_waiting(attempt, differing, [moved for moved in moves if moved is not None])
    own: dict[str, Recount] = {}
    for change, was, effect in zip(changes, before, effects, strict=True):
        if effect.renamed is not None and change.seen is not None and was is not None:
            place = next(at for at, put in enumerate(puts) if put.terms.id == was.id)
            puts[place], own[was.id] = renamed(change.seen, was, puts[place], effect.renamed)
    concerned = list(_concerned(attempt, changes, subjects, moves, settles, uncounted))
    recounts = [*([] if recount is None else [recount]), *own.values()]
    absences = absent_subscriptions(attempt.table, attempt.organization_id, absent)
    beside = attempt.subjects_of(_to_mention(differing))
    with attempt.table.deadline.at_most(LANDS / SECOND) if anew else nullcontext():
        if not put_subscriptions(
            attempt.table, attempt.organization_id, puts, concerned, plans, recounts, [*beside, *absences]
        ):
            raise LostError
    if not anew:
        _wake(attempt, changes, before, after, puts)
    written = {put.terms.id: put.stamp for put in puts}
    return [
        Put(
            Stored(each.terms, written[each.terms.id]),
            each.seen is None,
            changed=True,
            recount=own.get(each.terms.id, recount),
        )
        if each in differing
        else _unchanged(attempt, each)
        for each in changes
    ]


def _write_in_present_form(
    attempt: Attempt, changes: Sequence[Change], subjects: Subjects, settles: Sequence[int | None]
) -> None:
    """Write subscriptions of the first stored format as they are, and read all again: raises `LostError` then."""
    older = [(each.seen, bound) for each, bound in zip(changes, settles, strict=True) if each.seen]
    older = [(seen, bound) for seen, bound in older if seen.of_before]
    for seen, bound in older:
        terms, stamp = seen.stored.value, seen.stored.stamp
        put = TermsPut(terms, attempt.stamp(stamp), stamp)
        concerned = list(_concerned(attempt, [Change(seen, terms)], subjects, [None], [bound], [False]))
        put_subscriptions(attempt.table, attempt.organization_id, [put], concerned)
    if older:
        raise LostError


def _put_waiting(
    attempt: Attempt, changes: Sequence[Change], subjects: Subjects, plans: Iterable[str]
) -> Put[Terms]:
    """Put a subscription that is being counted anew: the change waits until that is done.

    A later put takes the place of one that waits.
    """
    seen, terms = changes[0]
    if len(changes) > 1 or seen is None:
        raise CatalogueBusyError("", "usage is being counted anew: try again in a minute")
    attempt.ready()
    counting = seen.counting
    if counting.live is None:
        counting = replace(counting, live=seen.stored.value)
    before = seen.stored.stamp
    was = text(seen.row, "counting")
    put = TermsPut(terms, attempt.stamp(before), before, counting=counting, was=was)
    put_mentions(attempt.table, attempt.organization_id, list(_to_mention(changes)))
    concerned = list(_concerned(attempt, changes, subjects, [None], [None], [False]))
    if not put_subscriptions(
        attempt.table,
        attempt.organization_id,
        [put],
        concerned,
        plans,
        (),
        attempt.subjects_of(_to_mention(changes)),
    ):
        raise LostError
    return Put(Stored(terms, put.stamp), created=False, changed=True, recount=running(attempt, seen))


def settle(attempt: Attempt, name: str) -> Recount | None:
    """Have what was put while a subscription was counted anew take effect: at once, or by a recount of its own.

    Return that recount; None if there is none. Raises `LostError` if another writer was faster.
    """
    seen = read_terms(attempt.table, attempt.organization_id, name)
    if seen is None or seen.counting.live is None or seen.counting.filling or seen.counting.former:
        return None
    terms, live = seen.stored.value, seen.counting.live
    subjects = read_subjects(attempt, [live, terms])
    was, now = (resolved_before(attempt, seen, by) for by in (By.READ, By.RECORD))
    change = Change(seen._replace(stored=Stored(live, seen.stored.stamp)), terms)
    effect = _effect(attempt, subjects, change, was, now)
    attempt.ready()
    stamp = seen.stored.stamp
    counting, was_counted = replace(seen.counting, live=None), text(seen.row, "counting")
    put = TermsPut(terms, stamp, stamp, _clock_goes_otherwise(was, now), counting, was_counted)
    recount: Recount | None
    if effect.anew:
        recount, (put,) = counted_anew(attempt, [change], [was], [now], [put], [effect.moved])
        effect = _NOTHING
    elif effect.renamed is not None:
        put, recount = renamed(seen, was, put, effect.renamed)
    else:
        recount = of_waiting(attempt, [change], [] if effect.moved is None else [effect.moved])
    concerned = list(_concerned(attempt, [change], subjects, [effect.moved], [None], [effect.still]))
    recounts = [] if recount is None else [recount]
    beside = attempt.subjects_of([terms])
    with attempt.table.deadline.at_most(LANDS / SECOND):
        if not put_subscriptions(
            attempt.table, attempt.organization_id, [put], concerned, (), recounts, beside
        ):
            raise LostError
    if put.wakes:
        _wake(attempt, [change], [was], [now], [put])
    return recount


def delete(attempt: Attempt, seen: TermsSeen, subjects: Subjects) -> Stored[Terms]:
    """Delete a subscription of which nothing was counted, and nothing can be on the way.

    That is so if it was called off, or if no event of its subjects was counted since its beginning.
    """
    terms = seen.stored.value
    was = resolved_before(attempt, seen)
    if seen.recount is not None:
        raise CatalogueConflictError("", "its usage is being counted anew: try again in a minute")
    if has_usage(attempt, terms.id):
        raise CatalogueConflictError("", "usage has been counted: end it instead")
    moved = rules.moved_from(was, None)
    bounds = bounds_of(attempt, subjects, seen, was, terms)
    if moved is not None and bounds.last is not None and moved.at <= bounds.last:
        raise CatalogueConflictError(
            "", "events of its customer or its external id are counted since it began: end it instead"
        )
    if any(
        lists_unreadable(attempt, each)
        for each in (Subject.subscription(terms.events_by), Subject.customer(terms.customer_id))
    ):
        raise CatalogueConflictError(
            "",
            "events of its customer or its external id are listed that a meter cannot read: end it instead",
        )
    attempt.ready()
    if subjects.customers[terms.customer_id].of_before:
        convert(attempt, subjects.customers[terms.customer_id])
    change = Change(seen, terms)
    concerned = _concerned(attempt, [change], subjects, [moved], [None], [False])
    if not delete_subscription(
        attempt.table, attempt.organization_id, terms.id, seen.stored.stamp, list(concerned)
    ):
        raise LostError
    return seen.stored


def looked_up(attempt: Attempt, terms: Sequence[Terms]) -> tuple[rules.Versions, Prices]:
    """Read the versions of plans, and the prices, that terms refer to, as far as they are there."""
    table, organization_id = attempt.table, attempt.organization_id
    plans = read_versions(table, organization_id, (version for each in terms for version in each.versions()))
    named = {
        keys.catalogue(organization_id, "price", price): price
        for each in terms
        for price in each.price_ids(plans)
    }
    prices = table.unchanging(named, lambda row: decode_price(text(row, "doc")))
    return plans, {named[key]: price for key, price in prices.items()}


def _resolved_after(attempt: Attempt, changes: Sequence[Change], subjects: Subjects) -> list[Subscription]:
    """Make the subscriptions as they are to be. Raises `RecordRefusedError` with all that is wrong with them."""
    plans, prices = looked_up(attempt, [each.terms for each in changes])
    meters = {meter.id: meter for meter in attempt.account.meters}
    errors: list[tuple[str, str]] = []
    for change in changes:
        terms = change.terms
        if subjects.customers[terms.customer_id].stored is None:
            errors.append(("customer", f"there is no customer {terms.customer_id!r}"))
        for index, item in enumerate(terms.line_items):
            if item.price not in prices:
                errors.append((f"line_items[{index}].price", f"there is no price {item.price!r}"))
        if change.seen is None or terms != change.seen.stored.value:
            errors += rules.line_items(terms, plans, prices, meters)
    if any(item.price not in prices for each in changes for item in each.terms.line_items):
        raise RecordRefusedError(errors)
    # A put changes nothing of how usage is counted: what is woken is of the editions that are read.
    ways = [Counting() if each.seen is None else each.seen.counting for each in changes]
    after = [
        resolve(each.terms, plans, prices, meters, editions=way.editions, renamings=way.renamings)
        for each, way in zip(changes, ways, strict=True)
    ]
    # One that keeps its time and its external id meets no other that it did not meet before.
    moving = {each.terms.id for each in changes if _moves(each)}
    names = {each.terms.events_by for each in changes if each.terms.id in moving}
    others = _others(attempt, names, {each.id for each in after})
    for subscription in after:
        if subscription.id not in moving:
            continue
        beside = [*others, *(each for each in after if each is not subscription)]
        errors += rules.one_external_id(subscription, beside)
    if errors:
        raise RecordRefusedError(errors)
    return after


def _moves(change: Change) -> bool:
    """Return whether a change gives a subscription that is there another time, or another external id."""
    was = None if change.seen is None else change.seen.stored.value
    return was is None or any(
        getattr(was, name) != getattr(change.terms, name)
        for name in ("events_by", "start", "end", "canceled_at")
    )


def _others(attempt: Attempt, external_ids: Iterable[str], but: set[str]) -> list[Subscription]:
    """Read the other subscriptions of external ids. Cost: 1 query each, and 1 get for each subscription."""
    ids = [
        each
        for name in external_ids
        for each in mentioned(attempt.table, keys.by_external_id(attempt.organization_id, name).pk)
    ]
    wanted = [each for each in dict.fromkeys(ids) if each not in but]
    if not wanted:
        return []
    return read_subscriptions(
        attempt.table,
        attempt.organization_id,
        wanted,
        attempt.account.meters,
        consistent=True,
        facts=False,
        by=By.RECORD,
    )


def _put(attempt: Attempt, change: Change, was: Subscription | None, now: Subscription) -> TermsPut:
    before = None if change.seen is None else change.seen.stored.stamp
    wakes = change.seen is not None and (change.seen.unwoken or _clock_goes_otherwise(was, now))
    text_of = change.seen.row if change.seen is not None else {}
    was_counted = text(text_of, "counting") if "counting" in text_of else None
    return TermsPut(change.terms, attempt.stamp(before or NEVER), before, wakes, was=was_counted)


def _clock_goes_otherwise(was: Subscription | None, now: Subscription) -> bool:
    return was is not None and was != now and any(True for _ in kept_by_the_clock(was, now))


def _to_mention(changes: Iterable[Change]) -> Iterator[Terms]:
    """Yield the terms whose subscription is not yet listed under its id, its customer and its external id."""
    for seen, terms in changes:
        was = None if seen is None else seen.stored.value
        if was is None or (was.customer_id, was.events_by) != (terms.customer_id, terms.events_by):
            yield terms


def _concerned(
    attempt: Attempt,
    changes: Sequence[Change],
    subjects: Subjects,
    moves: Sequence[Moved | None],
    settles: Sequence[int | None],
    uncounted: Sequence[bool],
) -> Iterator[Concerned]:
    """Yield each subject of the changes once, with all that is asked of it.

    What is counted meanwhile matters where the change takes effect soon: what lies after it; anything at all where
    a change is ``uncounted``.
    """
    found: dict[Key, Concerned] = {}

    def add(
        subject: SubjectSeen, moved: int | None, settled: int | None, *, named: bool, still: bool = False
    ) -> None:
        if moved is not None and still:
            # Nothing can have been counted before: the latest event stays the latest.
            moved = ZERO_TIME if subject.latest is None else subject.latest + 1
        known = found.get(subject.key, Concerned(subject))
        instants = [each for each in (known.moved, moved) if each is not None]
        bounds = [each for each in (known.settles, settled) if each is not None]
        found[subject.key] = Concerned(
            subject, known.named or named, min(instants, default=None), max(bounds, default=None)
        )

    for (seen, terms), moved, settled, still in zip(changes, moves, settles, uncounted, strict=True):
        at = moved.at if moved is not None and moved.at < attempt.now + _NEAR else None
        add(subjects.customers[terms.customer_id].subject, at, settled, named=True, still=still)
        add(
            subjects.external[terms.events_by],
            None if seen is None else at,
            settled,
            named=False,
            still=still,
        )
        if seen is not None:
            was = seen.stored.value
            add(subjects.customers[was.customer_id].subject, at, settled, named=False, still=still)
            add(subjects.external[was.events_by], at, settled, named=False, still=still)
    yield from found.values()


def _unchanged(attempt: Attempt, change: Change) -> Put[Terms]:
    """Return a subscription that need not be written, once what an earlier put of it has left is done."""
    if change.seen is None:
        raise TypeError("a subscription that is not there differs from any terms")
    stored = change.seen.stored
    if change.seen.unwoken:
        wake_all(attempt.table, attempt.account, resolved_before(attempt, change.seen))
        remove_mark(attempt.table, attempt.organization_id, stored.value.id, stored.stamp)
    mine = stored.stamp in attempt.mine
    return Put(stored, mine and stored.stamp.rev == 1, mine, running(attempt, change.seen))


def _wake(
    attempt: Attempt,
    changes: Sequence[Change],
    before: Sequence[Subscription | None],
    after: Sequence[Subscription],
    puts: Sequence[TermsPut],
) -> None:
    """Wake what the clock goes by, now that it goes otherwise, and take away the marks that tell of it."""
    waking = {put.terms.id: put for put in puts if put.wakes}
    for (seen, terms), was, now in zip(changes, before, after, strict=True):
        if terms.id not in waking or was is None:
            continue
        if seen is not None and seen.unwoken:
            wake_all(attempt.table, attempt.account, now)
        else:
            wake_changed(attempt.table, attempt.organization_id, [(was, now)])
        remove_mark(attempt.table, attempt.organization_id, terms.id, waking[terms.id].stamp)
