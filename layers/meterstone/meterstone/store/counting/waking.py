"""Waking: tallies whose subscription has changed are made due at once.

A tally stores when the clock alone will next change it. That time was calculated from the spans and line items of
the old subscription. To wake a tally is to make it due at once, and to raise its version. So a fold that has read
the tally before cannot write the old time back.
"""

from collections.abc import Iterable, Iterator

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.stamped import stamp_of
from meterstone.store.catalogue.subscription_puts import remove_mark
from meterstone.store.catalogue.subscriptions import resolved
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key, Kind
from meterstone.store.dynamodb.packing import counter_key
from meterstone.store.dynamodb.table import Table, text
from meterstone.usage.charge import ChargePeriod
from meterstone.usage.edition import stored_as
from meterstone.usage.instant import END_OF_TIME, ZERO_TIME, key_instant
from meterstone.usage.meter import Meter
from meterstone.usage.period import BillingPeriod
from meterstone.usage.state import follows_clock, traits
from meterstone.usage.subscription import Subscription


def wake_changed(
    table: Table, organization_id: str, changed: Iterable[tuple[Subscription, Subscription]]
) -> None:
    """Wake, in every generation, the tallies of changed subscriptions, given as they were before and after."""
    account = read_account(table, organization_id, consistent=True)
    if account is None:
        return
    generations = [each for each in (account.live, account.next, account.previous) if each is not None]
    for before, after in changed:
        for sk, meter in dict(kept_by_the_clock(before, after)).items():
            for generation in generations:
                wake_tally(table, organization_id, generation.name, after, meter, sk)


def wake_unwoken(table: Table, account: Account) -> int:
    """Wake the tallies of subscriptions whose put was stopped before it could. Return how many subscriptions.

    The account must have been read consistently. Cost: 1 query of the index, and for each subscription found that
    of `wake_all` and 2 writes.
    """
    organization_id, woken = account.organization.id, 0
    for key in list(table.due(keys.unwoken(organization_id), key_instant(END_OF_TIME - 1))):
        row = table.get(key, consistent=True)
        # The index may be older than the item.
        if row is None or "due_pk" not in row:
            continue
        (subscription,) = resolved(
            table, organization_id, [row], account.meters, consistent=True, facts=False
        )
        wake_all(table, account, subscription)
        remove_mark(table, organization_id, subscription.id, stamp_of(row))
        woken += 1
    return woken


def wake_all(table: Table, account: Account, subscription: Subscription) -> None:
    """Wake all tallies of a subscription that follow the clock. Cost: up to 2 queries for each generation."""
    for each in (account.live, account.next, account.previous):
        if each is not None:
            wake_subscription(table, account.organization.id, each.name, subscription)


def wake_subscription(
    table: Table, organization_id: str, generation: str, subscription: Subscription
) -> None:
    """Wake all tallies of a subscription that follow the clock, in one generation. Cost: up to 2 queries."""
    kept = {
        item.meter.id: item.meter
        for item in subscription.line_items
        if item.meter is not None and follows_clock(item.meter)
    }
    pk = keys.usage(organization_id, generation, subscription.id)
    for kind in (Kind.COUNTER, Kind.CHAIN) if kept else ():
        for row in table.query_prefix(pk, keys.usage_kind(kind), consistent=True):
            meter = kept.get(text(row, "m"))
            if "v" in row and meter is not None:
                wake_tally(table, organization_id, generation, subscription, meter, text(row, "sk"))


def wake_tally(
    table: Table, organization_id: str, generation: str, subscription: Subscription, meter: Meter, sk: str
) -> None:
    """Wake the tally of a meter whose head has the sort key ``sk``, if there is one.

    The clock then publishes the charges of a chain that are not over. A chain with a one-time period is different:
    a WEIGHTED_SUM is divided by the period's length, which depends on its end. So all charges of such a chain are
    stale.
    """
    items = [item for item in subscription.line_items if item.meter is not None and item.meter.id == meter.id]
    once = any(subscription.cadence(item).period is BillingPeriod.ONETIME for item in items)
    stale = once and meter.recurring and traits(meter).accrues
    table.update(
        Key(keys.usage(organization_id, generation, subscription.id), sk),
        f"SET due_pk = :due, due_at = :at{', st = :st' if stale else ''} ADD v :one",
        {
            ":due": {"S": keys.due(organization_id, generation)},
            ":at": {"S": key_instant(ZERO_TIME)},
            ":one": {"N": "1"},
        }
        | ({":st": {"S": key_instant(subscription.start)}} if stale else {}),
        condition="attribute_exists(v) AND attribute_not_exists(x)",
    )


def kept_by_the_clock(before: Subscription, after: Subscription) -> Iterator[tuple[str, Meter]]:
    """Yield the heads of chains, and of WEIGHTED_SUMs whose accrual now ends elsewhere, each with its meter."""
    ends = [each.end for each in (before, after) if each.end is not None]
    for item in after.line_items:
        if item.meter is None:
            continue
        if item.meter.recurring:
            yield (
                keys.chain(stored_as(item.meter.id, after.editions.of(item.meter.id, ZERO_TIME))),
                item.meter,
            )
        elif traits(item.meter).accrues and before.end != after.end and min(ends) > after.start:
            period = after.cadence(item).period_at(min(ends) - 1)
            yield counter_key(ChargePeriod(after, item, period), 0), item.meter
