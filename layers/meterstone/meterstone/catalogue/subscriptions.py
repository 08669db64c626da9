"""Changes of subscriptions: a record that is put, an end, another plan, another commitment."""

from collections.abc import Iterable, Mapping, Sequence
from copy import replace
from typing import NamedTuple

from meterstone.catalogue.agreements import (
    delete,
    looked_up,
    write,
)
from meterstone.catalogue.anew import Change
from meterstone.catalogue.attempt import Attempt, Wanted, read
from meterstone.catalogue.building import planned_commitment, terms_of
from meterstone.catalogue.errors import (
    CatalogueConflictError,
    Put,
    RecordRefusedError,
    StaleRecordError,
    UnknownRecordError,
)
from meterstone.catalogue.models import LineItemRecord, SubscriptionRecord
from meterstone.catalogue.offers import Making
from meterstone.catalogue.once import MadeChange, made_under, noting
from meterstone.catalogue.reading import ReadRecord
from meterstone.catalogue.subjects import Subjects, read_subjects
from meterstone.pricing.commitment import Commitment
from meterstone.store.catalogue.stamped import Stored, TermsSeen, read_plans, read_terms
from meterstone.store.catalogue.subscriptions import read_versions
from meterstone.usage.instant import format_instant
from meterstone.usage.plan import Plan
from meterstone.usage.terms import ItemTerm, PlanTerm, Terms, following


class Version(NamedTuple):
    """A version of a plan that is to be followed from an instant on."""

    plan: str
    number: int
    since: int


type _Plans = Mapping[str, tuple[Stored[Plan], bool]]


def stored_terms(attempt: Attempt, name: str) -> Stored[Terms] | None:
    """Read a subscription's terms."""
    seen = read_terms(attempt.table, attempt.organization_id, name)
    return None if seen is None else seen.stored


def put_subscription(
    attempt: Attempt, name: str, make: Making, if_match: Wanted, unless: Sequence[str] = ()
) -> Put[Terms]:
    """Put the subscription of a record, which is made of what is stored.

    A new one that says no start begins now. It is not put if there is any of the subscriptions ``unless``.
    """
    if any(stored_terms(attempt, each) is not None for each in unless):
        raise StaleRecordError("a subscription is there that must not be")
    seen = read_terms(attempt.table, attempt.organization_id, name)
    attempt.match(None if seen is None else seen.stored.stamp, if_match)
    record = make(None if seen is None else seen.stored)
    change, subjects, plans = _of_record(attempt, name, record, seen)
    return write(attempt, [change], subjects, _unnamed(plans), unless)[0]


def delete_subscription(attempt: Attempt, name: str) -> Stored[Terms]:
    """Delete a subscription that was never counted."""
    seen = _known(attempt, name)
    return delete(attempt, seen, read_subjects(attempt, [seen.stored.value]))


def end(attempt: Attempt, name: str, at: int | None) -> Put[Terms]:
    """End a subscription at an instant; None: now."""
    seen = _known(attempt, name)
    terms = seen.stored.value
    subjects = read_subjects(attempt, [terms])
    over = terms.end is not None and terms.end <= attempt.now
    if at is None and (over or terms.canceled_at is not None):
        return write(attempt, [Change(seen, terms)], subjects)[0]
    when = attempt.now if at is None else at
    if when <= terms.start:
        raise CatalogueConflictError("end", "must be after the start: call off what has not begun")
    return write(attempt, [Change(seen, _ended(terms, when))], subjects)[0]


def cancel_pending(attempt: Attempt, name: str) -> Put[Terms]:
    """Call a subscription off that has not begun."""
    seen = _known(attempt, name)
    terms = seen.stored.value
    if terms.canceled_at is None:
        if terms.start <= attempt.now:
            raise CatalogueConflictError("canceled_at", "it has begun: end it instead")
        terms = replace(terms, canceled_at=attempt.now)
    return write(attempt, [Change(seen, terms)], read_subjects(attempt, [terms]))[0]


def take_back(attempt: Attempt, name: str, before: str, until: int | None) -> list[Put[Terms]]:
    """Call a subscription off that has not begun, and have the one that it was to succeed go on until an instant.

    All in one step. The one ``before`` is left alone if it does not run, or ends at another instant by now.
    Returns what was called off, and then the one before if it goes on.
    """
    seen, first = _known(attempt, name), read_terms(attempt.table, attempt.organization_id, before)
    start = seen.stored.value.start
    known = None if first is None else first.stored.value
    if first is None or known is None or known.end != start or not known.start <= attempt.now < start:
        return [cancel_pending(attempt, name)]
    off = replace(seen.stored.value, canceled_at=seen.stored.value.canceled_at or attempt.now)
    changes = [Change(seen, off), Change(first, replace(known, end=until))]
    return write(attempt, changes, read_subjects(attempt, [off, known]))


def change_plan(attempt: Attempt, name: str, plan: str, at: int | None, key: str | None = None) -> Put[Terms]:
    """Have a subscription on another plan from an instant on; None: now.

    Under a ``key`` that is done once (see `meterstone.catalogue.once`).

    If it follows its plan, the line items of the old plan end then, and those of the new one begin. Changes of the
    plan that were planned for later are dropped.
    """
    seen = _known(attempt, name)
    terms = seen.stored.value
    if key is not None and made_under(terms, key) is not None:
        return write(attempt, [Change(seen, terms)], Subjects({}, {}))[0]
    plans = read_plans(attempt.table, attempt.organization_id, [plan])
    if plan not in plans:
        raise RecordRefusedError([("plan", f"there is no plan {plan!r}")])
    stored = plans[plan][0].value
    follows = any(term.version is not None for term in terms.plan)
    subjects = read_subjects(attempt, [terms])
    when = max(attempt.now if at is None else at, terms.start)
    kept = tuple(term for term in terms.plan if (terms.start if term.since is None else term.since) < when)
    if follows:
        _refuse_without_prices({plan: stored.version})
    version = stored.version if follows else None
    if kept:
        same = (kept[-1].value, kept[-1].version) == (plan, version)
        wanted = replace(terms, plan=kept if same else (*kept, PlanTerm(plan, when, version)))
    else:
        # It begins with the plan.
        wanted = replace(terms, plan=(PlanTerm(plan, terms.plan[0].since, version),))
    if follows:
        wanted = _chosen(attempt, terms, wanted, stored.prices)
    if key is not None:
        wanted = noting(wanted, MadeChange(key, plan, when))
    return write(attempt, [Change(seen, wanted)], subjects, _unnamed(plans))[0]


def follow(attempt: Attempt, name: str, version: Version) -> Put[Terms]:
    """Have a subscription follow a version of its plan from an instant on. See `meterstone.usage.terms.following`.

    The line items of prices that both versions have go on. The commitment stays.
    """
    seen = _known(attempt, name)
    terms = seen.stored.value
    wanted = following(terms, version.plan, version.number, version.since)
    if wanted == terms:
        return write(attempt, [Change(seen, terms)], Subjects({}, {}))[0]
    subjects = read_subjects(attempt, [terms])
    versions = read_versions(attempt.table, attempt.organization_id, [(version.plan, version.number)])
    wanted = _chosen(attempt, terms, wanted, versions[version.plan, version.number].prices)
    return write(attempt, [Change(seen, wanted)], subjects)[0]


def change_commitment(attempt: Attempt, name: str, commitment: Commitment | None) -> Put[Terms]:
    """Have a subscription commit to another amount, or to none, over its whole time."""
    seen = _known(attempt, name)
    terms = replace(seen.stored.value, commitment=commitment)
    return write(attempt, [Change(seen, terms)], read_subjects(attempt, [terms]))[0]


def succeed(
    attempt: Attempt, name: str, record: Mapping[str, object], at: int | None
) -> tuple[Put[Terms], Put[Terms]]:
    """End a subscription, and begin another under its external id at that instant; None: now.

    One that has not begun is called off. A call that is repeated finds both done.
    """
    seen = _known(attempt, name)
    terms = seen.stored.value
    new = record.get("id")
    if not isinstance(new, str) or new == name:
        raise RecordRefusedError([("id", "must be the id of another subscription")])
    followed = read_terms(attempt.table, attempt.organization_id, new)
    own = read_subjects(attempt, [terms])
    if followed is not None:
        when = followed.stored.value.start if at is None else at
    else:
        when = (
            terms.start if at is None and terms.start > attempt.now else (attempt.now if at is None else at)
        )
    whole: dict[str, object] = {"customer": terms.customer_id, "external_id": terms.events_by, **record}
    whole["start"] = format_instant(when)
    after, subjects, plans = _of_record(attempt, new, whole, followed)
    both = (
        read_subjects(attempt, [terms, after.terms]) if after.terms.customer_id != terms.customer_id else own
    )
    if both is not own:
        subjects = both
    before = Change(seen, _succeeded(attempt, terms, when))
    first, second = write(attempt, [before, after], subjects, _unnamed(plans))
    return first, second


def _chosen(attempt: Attempt, terms: Terms, wanted: Terms, prices: Iterable[str]) -> Terms:
    """Return terms that choose among the prices of a plan that is new to them, as they did before.

    What was left out of the plans before is left out of this one, too.
    """
    if terms.chosen is None or wanted.plan == terms.plan:
        return wanted
    before, _ = looked_up(attempt, [terms])
    known = {price for each in before.values() for price in each.prices}
    more = (price for price in prices if price not in known)
    return replace(wanted, chosen=tuple(dict.fromkeys((*terms.chosen, *more))))


def _succeeded(attempt: Attempt, terms: Terms, when: int) -> Terms:
    if terms.canceled_at is not None or (terms.end is not None and terms.end <= when):
        return terms
    return replace(terms, canceled_at=attempt.now) if when <= terms.start else _ended(terms, when)


def _ended(terms: Terms, at: int) -> Terms:
    """Return terms that end at an instant. What was to begin later goes."""
    return replace(
        terms,
        end=at,
        line_items=tuple(item for item in terms.line_items if item.start is None or item.start < at),
        plan=tuple(term for term in terms.plan if term.since is None or term.since < at) or terms.plan[:1],
    )


def _of_record(
    attempt: Attempt, name: str, record: Mapping[str, object], seen: TermsSeen | None
) -> tuple[Change, Subjects, _Plans]:
    """Make the change that a record asks for. Raises `RecordRefusedError` with all that is wrong with it."""
    before = None if seen is None else seen.stored.value
    starts = "start" in record
    if not starts:
        start = attempt.now if before is None else before.start
        record = {**record, "start": format_instant(start)}
    found = read("subscription", name, record)
    broken = found.broken
    given = found.record
    if not isinstance(given, SubscriptionRecord):
        raise RecordRefusedError(found.problems)
    known = set() if before is None else {term.value for term in before.plan}
    wanted = [] if "plan" in broken else [fact.value for fact in given.plan]
    # The version of a plan that a subscription has had already is kept: see `terms_of`.
    plans = read_plans(attempt.table, attempt.organization_id, wanted)
    errors: list[tuple[str, str]] = list(found.problems)
    listed = isinstance(record.get("plan"), list)
    errors += [
        (f"plan[{index}].value" if listed else "plan", f"there is no plan {code!r}")
        for index, code in enumerate(wanted)
        if code not in plans and code not in known
    ]
    if errors:
        raise RecordRefusedError([*errors, *_references(attempt, found)])
    versions = {code: stored.value.version for code, (stored, _) in plans.items()}
    if given.follows_plan:
        _refuse_without_prices(versions)
    terms = terms_of(given, attempt.account.organization.timezone, versions, before)
    subjects = read_subjects(attempt, [terms] if before is None else [before, terms])
    if before is None:
        owner = subjects.customers[terms.customer_id]
        zone = given.timezone or (owner.stored and owner.stored.value.timezone) or terms.timezone
        terms = replace(terms, timezone=zone)
    if "commitment" not in given.model_fields_set:
        terms = replace(terms, commitment=_of_plan(attempt, terms))
    return Change(seen, terms), subjects, {code: plans[code] for code in plans if code not in known}


def _refuse_without_prices(versions: Mapping[str, int]) -> None:
    """Refuse to follow a plan of the first stored format, which is but a name. Put anew, it has a version."""
    if errors := [("plan", f"{code!r} has no prices") for code, version in versions.items() if not version]:
        raise RecordRefusedError(errors)


def _of_plan(attempt: Attempt, terms: Terms) -> Commitment | None:
    """Return the commitment of the plan that a subscription follows first, if it is in the same terms."""
    followed = terms.plan[0]
    if followed.version is None:
        return None
    versions, _ = looked_up(attempt, [replace(terms, plan=(followed,), line_items=())])
    return planned_commitment(terms, versions.get((followed.value, followed.version)))


def _references(attempt: Attempt, found: ReadRecord) -> list[tuple[str, str]]:
    """List what a broken record refers to, as far as it can be read, that is not there."""
    given = found.record
    errors: list[tuple[str, str]] = []
    if not isinstance(given, SubscriptionRecord):
        return errors
    if "customer" not in found.broken:
        whose = Terms("", given.customer, "", "", 0, ())
        if read_subjects(attempt, [whose]).customers[given.customer].stored is None:
            errors.append(("customer", f"there is no customer {given.customer!r}"))
    # A broken record has None in the place of a line item that cannot be read.
    items: list[LineItemRecord | None] = (
        list(given.line_items) if "line_items" in given.model_fields_set else []
    )
    wanted = tuple(ItemTerm(each.price) for each in items if each is not None)
    probe = Terms("", "", "", "", 0, (), line_items=wanted)
    _, prices = looked_up(attempt, [probe])
    errors += [
        (f"line_items[{index}].price", f"there is no price {each.price!r}")
        for index, each in enumerate(items)
        if each is not None and each.price not in prices
    ]
    return errors


def _unnamed(plans: _Plans) -> Sequence[str]:
    """Return the plans that no subscription has named yet: from now on they cannot be deleted."""
    return [code for code, (_, used) in plans.items() if not used]


def _known(attempt: Attempt, name: str) -> TermsSeen:
    seen = read_terms(attempt.table, attempt.organization_id, name)
    if seen is None:
        raise UnknownRecordError("subscription", name)
    return seen
