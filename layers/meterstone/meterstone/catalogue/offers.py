"""Changes of prices, plans and meters: what is offered, and what is counted for it."""

from collections.abc import Callable, Mapping
from copy import replace
from typing import Any, Final

from meterstone.catalogue import rules
from meterstone.catalogue.attempt import LONGEST, Attempt, Wanted, read
from meterstone.catalogue.building import checked_price, meter_of, offer_of
from meterstone.catalogue.errors import (
    CatalogueConflictError,
    LostError,
    Put,
    RecordRefusedError,
    UnknownRecordError,
)
from meterstone.catalogue.models import MeterRecord, PlanRecord
from meterstone.catalogue.prices import PriceRecord
from meterstone.pricing.price import Price
from meterstone.store.catalogue import puts
from meterstone.store.catalogue.records import encode_document
from meterstone.store.catalogue.recounts import Recount, read_recounts
from meterstone.store.catalogue.stamped import (
    NEVER,
    MetersSeen,
    Stored,
    last_version,
    read_meters,
    read_plan,
    read_price,
)
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import text
from meterstone.usage.arrival import AHEAD
from meterstone.usage.meter import Meter
from meterstone.usage.plan import Plan, decode_price

#: How soon a meter's deletion takes effect: no event that is counted before the deletion is known can lie later.
_SOON: Final = AHEAD + LONGEST

#: Makes a record of what is stored.
type Making = Callable[[Stored[Any] | None], Mapping[str, object]]


def stored_price(attempt: Attempt, name: str) -> Stored[Price] | None:
    """Read a price."""
    found = read_price(attempt.table, attempt.organization_id, name)
    return None if found is None else Stored(decode_price(found.value), found.stamp)


def put_price(attempt: Attempt, name: str, make: Making, if_match: Wanted) -> Put[Price]:
    """Put the price of a record, which is made of what is stored."""
    before = stored_price(attempt, name)
    attempt.match(None if before is None else before.stamp, if_match)
    found = read("price", name, make(before))
    errors: list[tuple[str, str]] = list(found.problems)
    price = None
    if isinstance(found.record, PriceRecord):
        meter_id = None if "meter_id" in found.broken else found.record.meter_id
        if meter_id is not None and all(meter.id != meter_id for meter in attempt.account.meters):
            errors.append(("meter_id", f"there is no meter {meter_id!r}"))
        price, problems = checked_price(found.record, found.broken)
        errors += problems
    if errors or price is None:
        raise RecordRefusedError(errors)
    if before is not None and before.value == price:
        return _same(attempt, before)
    for path, reason in () if before is None else rules.changed_price(before.value, price):
        raise CatalogueConflictError(path, reason)
    attempt.ready()
    stamp = attempt.stamp(NEVER if before is None else before.stamp)
    was = None if before is None else before.stamp
    if not puts.put_price(attempt.table, attempt.organization_id, name, encode_document(price), stamp, was):
        raise LostError
    return Put(Stored(price, stamp), before is None, changed=True)


def stored_plan(attempt: Attempt, code: str) -> Stored[Plan] | None:
    """Read a plan as it is now."""
    return read_plan(attempt.table, attempt.organization_id, code)[0]


def put_plan(attempt: Attempt, code: str, make: Making, if_match: Wanted) -> Put[Plan]:
    """Put the plan of a record, which is made of what is stored. A changed offer is a new version."""
    before, plan = _offered(attempt, code, make, if_match)
    # A plan of the first stored format has no version yet.
    if before is not None and plan.version and plan == before.value:
        return _same(attempt, before)
    attempt.ready()
    return _put_plan(attempt, plan, before, None)


def offer_to_all(
    attempt: Attempt, code: str, record: Mapping[str, object], if_match: Wanted, at: int | None
) -> tuple[Put[Plan], Recount]:
    """Put a plan for all: the subscriptions that follow it follow its new version from an instant on.

    None: from now on. The recount that has them follow is made in the plan's transaction. If the plan is the same
    already, so is its version; and if a recount of that version was made for the same instant, or is under way and
    no instant is given, it is that one.
    """
    before, plan = _offered(attempt, code, lambda _: record, if_match)
    same = before is not None and plan.version > 0 and plan == before.value
    if before is not None and same and (known := _repeated(attempt, plan, at)) is not None:
        return _same(attempt, before), known
    attempt.ready()
    plan = plan if plan.version else _numbered(attempt, plan, before)
    recount = Recount.of_plan(code, plan.version, attempt.now if at is None else at, attempt.now)
    if before is None or not same:
        return _put_plan(attempt, plan, before, recount), recount
    if not puts.make_recount(attempt.table, attempt.organization_id, before, recount):
        raise LostError
    return _same(attempt, before), recount


def _offered(attempt: Attempt, code: str, make: Making, if_match: Wanted) -> tuple[Stored[Plan] | None, Plan]:
    """Return the plan that is stored, and the one of the record; its version is 0 if it is a new one."""
    before, _ = read_plan(attempt.table, attempt.organization_id, code)
    attempt.match(None if before is None else before.stamp, if_match)
    found = read("plan", code, make(before))
    errors: list[tuple[str, str]] = list(found.problems)
    if isinstance(found.record, PlanRecord) and "prices" not in found.broken:
        known = _prices(attempt, found.record.prices)
        errors += [
            (f"prices[{index}]", f"there is no price {price!r}")
            for index, price in enumerate(found.record.prices)
            if price not in known
        ]
    if errors or not isinstance(found.record, PlanRecord):
        raise RecordRefusedError(errors)
    plan = offer_of(found.record)
    if before is not None and before.value.version and before.value.offers_the_same(plan):
        plan = replace(plan, version=before.value.version)
    return before, plan


def _put_plan(
    attempt: Attempt, plan: Plan, before: Stored[Plan] | None, recount: Recount | None
) -> Put[Plan]:
    if not plan.version:
        plan = _numbered(attempt, plan, before)
    stamp = attempt.stamp(NEVER if before is None else before.stamp)
    if not puts.put_plan(attempt.table, attempt.organization_id, plan, stamp, before, recount):
        raise LostError
    return Put(Stored(plan, stamp), before is None, changed=True)


def _repeated(attempt: Attempt, plan: Plan, at: int | None) -> Recount | None:
    """Return the recount of a plan's version that a call, repeated, has made already. Cost: 1 query of all."""
    found = [
        each
        for each in read_recounts(attempt.table, attempt.organization_id)
        if (each.plan, each.version) == (plan.code, plan.version)
    ]
    if at is not None:
        return next((each for each in found if each.since == at), None)
    # One that has refused some is done again for these.
    return next((each for each in reversed(found) if each.done_at is None or not each.refused), None)


def delete_plan(attempt: Attempt, code: str) -> Stored[Plan]:
    """Delete a plan that no subscription has ever named."""
    before, used = read_plan(attempt.table, attempt.organization_id, code)
    if before is None:
        raise UnknownRecordError("plan", code)
    if used or not before.value.version:
        raise CatalogueConflictError(
            "", "subscriptions have named it, and stay: leave it, and make no more of them"
        )
    attempt.ready()
    if not puts.delete_plan(attempt.table, attempt.organization_id, code, before.stamp):
        raise LostError
    return before


def stored_meter(attempt: Attempt, name: str) -> Stored[Meter] | None:
    """Read a meter."""
    seen = read_meters(attempt.table, attempt.organization_id)
    found = next((meter for meter in seen.meters if meter.id == name), None)
    return None if found is None else Stored(found, seen.stamps.get(name, NEVER))


def put_meter(attempt: Attempt, name: str, make: Making, if_match: Wanted) -> Put[Meter]:
    """Put the meter of a record, which is made of what is stored."""
    seen = read_meters(attempt.table, attempt.organization_id)
    found = next((meter for meter in seen.meters if meter.id == name), None)
    before = None if found is None else Stored(found, seen.stamps.get(name, NEVER))
    attempt.match(None if before is None else before.stamp, if_match)
    given = read("meter", name, make(before))
    if given.problems or not isinstance(given.record, MeterRecord):
        raise RecordRefusedError(given.problems)
    meter = meter_of(given.record)
    if before is not None and before.value == meter:
        return _same(attempt, before)
    if errors := list(rules.shared_names(seen.meters, meter)):
        raise RecordRefusedError(errors)
    if before is not None:
        for path, reason in rules.changed_meter(before.value, meter):
            raise CatalogueConflictError(path, reason)
        _refuse_deletion(attempt, before.value, meter)
    return _put_meter(attempt, seen, before, meter)


def delete_meter(attempt: Attempt, name: str) -> Stored[Meter]:
    """Have a meter count no more events, 5 minutes from now. One that is deleted stays as it is."""
    seen = read_meters(attempt.table, attempt.organization_id)
    found = next((meter for meter in seen.meters if meter.id == name), None)
    if found is None:
        raise UnknownRecordError("meter", name)
    before = Stored(found, seen.stamps.get(name, NEVER))
    soon = attempt.now + _SOON
    if found.deleted_at is not None and found.deleted_at <= soon:
        return before
    return _put_meter(attempt, seen, before, replace(found, deleted_at=soon)).stored


def _refuse_deletion(attempt: Attempt, before: Meter, after: Meter) -> None:
    moved = rules.moved_deletion(before, after)
    if moved is None:
        return
    if before.deleted_at is not None and (after.deleted_at is None or after.deleted_at > before.deleted_at):
        raise CatalogueConflictError("deleted_at", "a deleted meter stays deleted: make a new meter")
    if moved < attempt.now + _SOON:
        raise CatalogueConflictError("deleted_at", "a meter's deletion takes 5 minutes", attempt.now + _SOON)


def _put_meter(attempt: Attempt, seen: MetersSeen, before: Stored[Meter] | None, meter: Meter) -> Put[Meter]:
    attempt.ready()
    stamp = attempt.stamp(NEVER if before is None else before.stamp)
    meters = [meter if each.id == meter.id else each for each in seen.meters]
    if before is None:
        meters.append(meter)
    stamps = {**seen.stamps, meter.id: stamp}
    if not puts.put_meters(attempt.table, attempt.organization_id, meters, stamps, seen):
        raise LostError
    return Put(Stored(meter, stamp), before is None, changed=True)


def _numbered(attempt: Attempt, plan: Plan, before: Stored[Plan] | None) -> Plan:
    """Return a plan with the number of its new version: no number is used again, not even of a deleted plan."""
    present = 0 if before is None else before.value.version
    if before is None or attempt.number:
        last = last_version(attempt.table, attempt.organization_id, plan.code)
        if last is not None:
            if last.version > present and replace(plan, version=last.version) == last:
                return last
            present = max(present, last.version)
    return replace(plan, version=present + 1)


def _prices(attempt: Attempt, names: list[str]) -> set[str]:
    named = {keys.catalogue(attempt.organization_id, "price", each): each for each in names}
    found = attempt.table.unchanging(named, lambda row: decode_price(text(row, "doc")))
    return {named[key] for key in found}


def _same[T](attempt: Attempt, stored: Stored[T]) -> Put[T]:
    """Return a record that need not be written; an earlier attempt may have written it, its answer lost."""
    mine = stored.stamp in attempt.mine
    return Put(stored, mine and stored.stamp.rev == 1, changed=mine)
