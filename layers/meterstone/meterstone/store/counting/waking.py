"""Waking: the clock looks anew at tallies whose subscription has changed.

When the clock alone will next change a tally was worked out from the spans and line items that there were. A tally
that is woken is due at once, and its version goes up, so that a fold which has read it before does not write the
old time back.
"""

from collections.abc import Iterable, Iterator

from meterstone.store.catalogue.records import read_account
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key, Kind
from meterstone.store.dynamodb.packing import counter_key
from meterstone.store.dynamodb.table import Table, text
from meterstone.usage.charge import ChargePeriod
from meterstone.usage.instant import ZERO_TIME, key_instant
from meterstone.usage.state import follows_clock, traits
from meterstone.usage.subscription import Subscription


def wake_changed(
    table: Table, organization_id: str, changed: Iterable[tuple[Subscription, Subscription]]
) -> None:
    """Wake, in every generation, tallies of subscriptions that were changed: given as before and after."""
    account = read_account(table, organization_id, consistent=True)
    if account is None:
        return
    generations = [each for each in (account.live, account.next, account.previous) if each is not None]
    for before, after in changed:
        for sk in sorted(set(_kept_by_the_clock(before, after))):
            for generation in generations:
                wake_tally(table, organization_id, generation.name, after.id, sk)


def wake_subscription(
    table: Table, organization_id: str, generation: str, subscription: Subscription
) -> None:
    """Wake all tallies of a subscription that follow the clock, in one generation. Cost: up to 2 queries."""
    kept = {
        item.meter.id
        for item in subscription.line_items
        if item.meter is not None and follows_clock(item.meter)
    }
    pk = keys.usage(organization_id, generation, subscription.id)
    for kind in (Kind.COUNTER, Kind.CHAIN) if kept else ():
        for row in table.query_prefix(pk, keys.usage_kind(kind), consistent=True):
            if "v" in row and text(row, "m") in kept:
                wake_tally(table, organization_id, generation, subscription.id, text(row, "sk"))


def wake_tally(table: Table, organization_id: str, generation: str, subscription_id: str, sk: str) -> None:
    """Wake the tally whose head has a sort key, if there is one."""
    table.update(
        Key(keys.usage(organization_id, generation, subscription_id), sk),
        "SET due_pk = :due, due_at = :at ADD v :one",
        {
            ":due": {"S": keys.due(organization_id, generation)},
            ":at": {"S": key_instant(ZERO_TIME)},
            ":one": {"N": "1"},
        },
        condition="attribute_exists(v)",
    )


def _kept_by_the_clock(before: Subscription, after: Subscription) -> Iterator[str]:
    """Name the heads of chains, and of WEIGHTED_SUMs whose billing period has another length now."""
    ends = [each.end for each in (before, after) if each.end is not None]
    for item in after.line_items:
        if item.meter is None:
            continue
        if item.meter.recurring:
            yield keys.chain(item.meter.id)
        elif traits(item.meter).accrues and before.end != after.end:
            period = after.cadence(item).period_at(min(ends) - 1)
            yield counter_key(ChargePeriod(after, item, period), 0)
