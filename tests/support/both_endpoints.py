"""Both endpoints and the lists of what does not count, compared with what log and records come to."""

from collections.abc import Iterable, Sequence
from random import Random

from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.subscriptions import list_subscriptions, read_meters
from meterstone.store.dynamodb import keys
from meterstone.store.events.uncounted import PARTLY
from meterstone.usage.aggregation import observe
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE
from meterstone.usage.meter import Meter, Uncounted, passes
from meterstone.usage.receipt import Reason
from meterstone.usage.subscription import Subscription
from meterstone.usage.window import Window
from support.counting import check_analytics, check_window
from support.memory_table import MemoryTable
from support.scenario import ORGANIZATION, Scenario, Usage, World, oracles
from support.uncounted import check_lists

_WINDOWS = 6


def logged(table: MemoryTable, usage: Iterable[Usage]) -> tuple[Usage, ...]:
    """Return the events that are in the log: a file's lines may have been refused."""
    items = table.items()
    return tuple(each for each in usage if keys.event(ORGANIZATION.id, *each.subject, each.event.id) in items)


def check_all(world: World, usage: Sequence[Usage], now: int, random: Random) -> None:
    """Compare both endpoints, and the lists of what does not count, with what log and records come to."""
    assert isinstance(world.table, MemoryTable)
    world.table.settle()
    subscriptions = tuple(list_subscriptions(world.table, ORGANIZATION.id))
    meters = read_meters(world.table, ORGANIZATION.id, consistent=True)
    account = read_account(world.table, ORGANIZATION.id, consistent=True)
    assert account is not None
    world.account = account
    world.scenario = Scenario(meters, subscriptions, (), now)
    found = logged(world.table, usage)
    if subscriptions:
        check_analytics(world, found, now)
        check_windows(world, found, now, random)
    assert _alike(check_lists(world.table)) == _alike(uncounted(found, meters, subscriptions))


def check_windows(world: World, usage: Sequence[Usage], now: int, random: Random) -> None:
    """Compare each subscription's usage with the oracle's, over windows that cut days and hours, and over all."""
    for oracle in oracles(world.scenario, usage):
        of = oracle.subscription
        times = [each.event.at for each in usage] or [of.start]
        bounds = [of.start, *times, now, *([of.end] if of.end else [])]
        for _ in range(_WINDOWS):
            start, end = sorted(
                random.choice(bounds) + random.choice([0, 0, 1, MINUTE, -HOUR, DAY]) for _ in range(2)
            )
            check_window(world, oracle, Window(start, end), now)
        check_window(world, oracle, Window(min(bounds) - DAY, now + DAY), now)


def uncounted(
    usage: Iterable[Usage], meters: Sequence[Meter], subscriptions: Sequence[Subscription]
) -> dict[str, str]:
    """Return the events that are to be listed, by their ids, each with the reason why: by the rules alone."""
    found = {}
    for subject, event in ((each.subject, each.event) for each in usage):
        held = [each for each in subscriptions if subject.external_id == _name(each, subject)]
        owning = [
            each for each in held if each.start <= event.at and (each.end is None or event.at < each.end)
        ]
        seen = [
            observe(item.meter, event)
            for each in owning
            for item in each.line_items
            if item.meter is not None
            and event.name in item.meter.names
            and passes(item.meter.filters, event.properties)
            and each.counted(item).holds(event.at)
        ]
        faulty = [each for each in seen if isinstance(each, Uncounted)]
        if seen and not faulty:
            continue
        if faulty:
            found[event.id] = str(Reason.VALUE) if len(faulty) == len(seen) else PARTLY
        elif not held:
            found[event.id] = str(Reason.SUBSCRIPTION if subject.kind == "s" else Reason.CUSTOMER)
        elif not owning:
            found[event.id] = str(Reason.TIME)
        else:
            known = any(
                event.name in each.names and (each.deleted_at is None or event.at < each.deleted_at)
                for each in meters
            )
            found[event.id] = str(Reason.LINE_ITEM if known else Reason.CODE)
    return found


def _name(subscription: Subscription, subject: Subject) -> str:
    return subscription.external_id if subject.kind == "s" else subscription.customer_id


def _alike(listed: dict[str, str]) -> dict[str, str]:
    # That a meter is deleted later is not told to the events that wait.
    return {each: "line_item" if why == "code" else why for each, why in listed.items()}
