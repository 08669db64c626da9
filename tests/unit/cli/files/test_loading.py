"""What a load asks of the table: it grows with the catalogue alone, and only what has changed is written."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import replace
from threading import Thread
from typing import Any

import pytest
from benchmarks import world

from meterstone.catalogue.many import TOGETHER
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item
from meterstone.store.dynamodb.transaction import READ_TOGETHER
from meterstone.store.operations.imports import Importer, Source
from meterstone.store.operations.load import read_stored
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer
from meterstone_cli.catalogue import Catalogue, Changes, Places
from meterstone_cli.files.loading import load_catalogue
from support.memory_table import Faults, Killed, MemoryTable

CUSTOMER = "customer_00000"


class CountingTable(MemoryTable):
    """A table that counts the calls that DynamoDB would be asked, and the items that are written."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def get(self, key: Key, **options: Any) -> Any:
        self.calls["get"] += 1
        return super().get(key, **options)

    def batch_get(self, keys: Iterable[Key], *, consistent: bool = False) -> Any:
        wanted = list(keys)
        self.calls["batch"] += -(-len(wanted) // READ_TOGETHER)
        return {
            key: row for key in wanted if (row := super(CountingTable, self).get(key, consistent=consistent))
        }

    def _pages(self, *arguments: Any, **options: Any) -> Any:
        for page in super()._pages(*arguments, **options):
            self.calls["page"] += 1
            yield page

    def has_any(self, pk: str, prefix: str = "", *, consistent: bool = False) -> tuple[bool, float]:
        self.calls["usage" if "#usage#" in pk else "events"] += 1
        return super().has_any(pk, prefix, consistent=consistent)

    def put(self, item: Item) -> None:
        self.calls["written"] += 1
        super().put(item)

    def put_all(self, items: Iterable[Item]) -> None:
        found = list(items)
        self.calls["batch written"] += -(-len(found) // 25)
        super().put_all(found)

    def update(self, *arguments: Any, **options: Any) -> bool:
        self.calls["updated"] += 1
        return super().update(*arguments, **options)

    def transact(self, actions: Sequence[Any]) -> None:
        self.calls["transactions"] += 1
        super().transact(actions)


def catalogue(many: int) -> Catalogue:
    subscriptions = tuple(world.subscription(number) for number in range(many))
    return Catalogue(
        world.ORGANIZATION,
        customers=tuple(
            Customer(each.customer_id, country=each.country, customer_type=each.customer_type)
            for each in subscriptions
        ),
        plans=tuple(Plan(code) for code in ("business", "enterprise", "starter", "team")),
        meters=tuple(sorted(world.METERS, key=lambda meter: meter.id)),
        prices=tuple(item.price for item in subscriptions[0].line_items),
        subscriptions=subscriptions,
    )


def load(table: MemoryTable, of: Catalogue) -> Changes:
    return load_catalogue(table, of, Places({}), world.NOW)


def loaded(many: int, events: int = 0) -> CountingTable:
    """Have a catalogue loaded, and events counted, spread over all its subscriptions."""
    table = CountingTable()
    load(table, catalogue(many))
    if events:
        account = read_account(table, world.ORGANIZATION.id, consistent=True)
        assert account is not None
        report = Importer(table, account).run(
            Source("f", "ab" * 32), world.usage(events, many), world.NOW, lambda *_: pytest.fail("refused")
        )
        assert report.counted == events
    table.calls.clear()
    return table


@pytest.mark.parametrize("many", [1, 100, 1000])
def test_an_unchanged_catalogue_is_read_in_batches_and_nothing_else(many: int) -> None:
    table = loaded(many)
    assert load(table, catalogue(many)).nothing
    # The account is read twice, open purges once; mentions of both kinds are a thousand a page.
    assert table.calls.pop("page") <= 4 + -(-(2 * many + 16) // 1000)
    assert table.calls == {"batch": 2 * -(-many // READ_TOGETHER)}, "of customers, and of subscriptions"


def test_how_much_was_counted_makes_no_difference() -> None:
    calls = []
    for events in (0, 40, 4000):
        table = loaded(40, events)
        assert load(table, catalogue(40)).nothing
        calls.append(table.calls)
    assert calls[0] == calls[1] == calls[2]


@pytest.mark.parametrize("many", [10, 200])
def test_of_one_more_subscription_only_its_items_are_written(many: int) -> None:
    table = loaded(many, 400)
    assert load(table, catalogue(many + 1)).added == {"customers": 1, "subscriptions": 1}
    written = {name: table.calls[name] for name in ("usage", "events", "updated", "written", "transactions")}
    assert written == {
        "usage": 0,
        # Of the new subscription, and of its customer.
        "events": 2,
        # The customer.
        "updated": 1,
        # What lists the customer; what lists the subscription, under its id, its customer and its external id.
        "written": 4,
        # The subscription, with the versions of both subjects.
        "transactions": 1,
    }
    assert table.calls["batch written"] == 2


def test_of_the_first_load_most_is_read_and_written_together() -> None:
    many = 200
    table = CountingTable()
    load(table, catalogue(many))
    # Of customers, and of subscriptions: the first of each of four plans goes ahead, in each of 8 threads.
    assert table.calls["transactions"] <= 2 * many / TOGETHER + 4 * 8
    reads = table.calls["get"] + table.calls["batch"] + table.calls["page"]
    assert reads + table.calls["batch written"] < many


def changed_catalogue() -> Catalogue:
    """Change a record of each kind that can, and add one of each."""
    before = catalogue(5)
    first, second, *others = catalogue(6).subscriptions
    return replace(
        catalogue(6),
        customers=(replace(before.customers[0], name="A name"), *catalogue(6).customers[1:]),
        plans=(replace(before.plans[0], name="A name"), *before.plans[1:], Plan("zeal")),
        meters=(replace(before.meters[0], name="A name"), *before.meters[1:]),
        subscriptions=(
            replace(first, end=world.NOW + 10**13),
            replace(second, customer_id=CUSTOMER),
            *others,
        ),
    )


def said(table: MemoryTable) -> tuple[object, ...]:
    """Give what all records say, without their versions."""
    found = read_stored(table, world.ORGANIZATION.id)
    assert found is not None
    return found.account.meters, found.prices, found.plans, found.customers, found.terms


def records(table: MemoryTable) -> Counter[str]:
    """Count items by the beginning of their keys."""
    return Counter(f"{key.pk.split('#')[1]} {key.sk.split('#')[0]}" for key in table.items() if "#" in key.pk)


def test_what_a_load_of_what_differs_leaves_is_what_a_first_load_of_all_leaves() -> None:
    partly, wholly = loaded(5), CountingTable()
    load(partly, changed_catalogue())
    load(wholly, changed_catalogue())
    assert said(partly) == said(wholly)


STOPPED = [
    pytest.param(CountingTable, catalogue(3), id="a first load"),
    pytest.param(lambda: loaded(5), changed_catalogue(), id="a load of changes"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("begun", "of"), STOPPED)
def test_a_load_that_was_stopped_at_any_write_is_completed_by_the_next(
    begun: Callable[[], CountingTable], of: Catalogue, when: str
) -> None:
    wholly = begun()
    load(wholly, of)
    stops = 0
    for number in range(200):
        table = begun()
        at = table.writes + number
        table.faults = Faults(before=at) if when == "before" else Faults(after=at)
        try:
            load(table, of)
        except Killed:
            stops += 1
            table.faults = Faults()
            load(table, of)
            assert said(table) == said(wholly)
            assert load(table, of).nothing
        else:
            break
    assert stops > 8


def test_two_loads_at_once_leave_what_one_does() -> None:
    alone, both = loaded(5), loaded(5)
    load(alone, changed_catalogue())
    failed: list[BaseException] = []

    def run() -> None:
        try:
            assert not load(both, changed_catalogue()).problems
        except BaseException as error:  # noqa: BLE001 - a thread's error is told by the test
            failed.append(error)

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert said(both) == said(alone)
    assert records(both) == records(alone)
