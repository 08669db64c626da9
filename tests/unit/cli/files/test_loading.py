"""What a load asks of the table: it grows with the catalogue alone, and only what has changed is written."""

from collections import Counter
from collections.abc import Iterable
from copy import replace
from typing import Any

import pytest
from benchmarks import world

from meterstone.usage.plan import Plan
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Item
from meterstone.store.dynamodb.transaction import READ_TOGETHER
from meterstone.store.operations.imports import Importer, Source
from meterstone.store.operations.load import read_documents
from meterstone.store.operations.rebuild import Surroundings
from meterstone.usage.subscription import Customer
from meterstone_cli.catalogue import Catalogue, Places
from meterstone_cli.catalogue.changes import _ASKED_TOGETHER, Changes
from support.written import write_stored
from meterstone_cli.files.loading import load_catalogue
from meterstone_cli.problem import InputRefusedError
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

    def update(self, *arguments: Any, **options: Any) -> bool:
        self.calls["updated"] += 1
        return super().update(*arguments, **options)


def catalogue(many: int) -> Catalogue:
    subscriptions = tuple(world.subscription(number) for number in range(many))
    return Catalogue(
        world.ORGANIZATION,
        customers=tuple(Customer(each.customer_id, country=each.country) for each in subscriptions),
        plans=tuple(Plan(code) for code in ("business", "enterprise", "starter", "team")),
        meters=tuple(sorted(world.METERS, key=lambda meter: meter.id)),
        prices=tuple(item.price for item in subscriptions[0].line_items),
        subscriptions=subscriptions,
    )


def load(table: MemoryTable, of: Catalogue) -> Changes:
    return load_catalogue(table, of, Places({}), world.NOW, Surroundings())


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
    # The account is read three times; documents and mentions are a thousand a page.
    assert table.calls.pop("page") <= 3 + -(-(2 * many + 8) // 1000)
    assert table.calls == {"batch": -(-many // READ_TOGETHER)}


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
    assert table.calls["usage"] == 0
    assert table.calls["events"] == 2, "of the new subscription, and of its customer"
    # The customer; the subscription, the two items by which it is found, its mention; that there is a catalogue.
    assert table.calls["written"] == 6


def test_of_one_changed_subscription_alone_it_is_asked_whether_usage_was_counted() -> None:
    table = loaded(50, 200)
    first, *others = catalogue(50).subscriptions
    ending = replace(first, end=world.NOW + 10**12)
    load(table, replace(catalogue(50), subscriptions=(ending, *others)))
    assert table.calls["usage"] == 2, "before it is written, and after"
    assert table.calls["written"] == 5


def test_whose_customer_only_has_a_new_name_is_not_asked_for() -> None:
    table = loaded(50, 200)
    customers = tuple(replace(each, name="A name") for each in catalogue(50).customers)
    assert load(table, replace(catalogue(50), customers=customers)).changed == {"customers": 50}
    assert table.calls["usage"] == 0


def test_of_a_changed_meter_it_is_asked_until_one_answer_is_enough() -> None:
    many = 3 * _ASKED_TOGETHER
    table = loaded(many, many)
    meters = tuple(replace(each, code="other") for each in world.METERS)
    changed = replace(catalogue(many), meters=meters)
    with pytest.raises(InputRefusedError, match="usage has been counted by it"):
        load(table, changed)
    assert table.calls["usage"] == _ASKED_TOGETHER
    assert table.calls["written"] == 0


def changed_catalogue() -> Catalogue:
    """Change a record of each kind, and add one."""
    before = catalogue(5)
    first, second, *others = catalogue(6).subscriptions
    return replace(
        catalogue(6),
        customers=(replace(before.customers[0], name="A name"), *catalogue(6).customers[1:]),
        plans=(replace(before.plans[0], name="A name"), *before.plans[1:], Plan("zeal")),
        subscriptions=(
            replace(first, end=world.NOW + 10**13),
            replace(second, customer_id=CUSTOMER),
            *others,
        ),
    )


def stored(table: MemoryTable) -> dict[Key, Item]:
    """Give all items without what tells how often and when a catalogue was written."""
    return {
        key: {name: value for name, value in item.items() if name != "ver"}
        for key, item in table.items().items()
    }


def test_what_a_load_writes_of_a_changed_catalogue_is_what_a_load_of_all_would_leave() -> None:
    partly, wholly = loaded(5), loaded(5)
    load(partly, changed_catalogue())
    write_stored(wholly, changed_catalogue())
    assert stored(partly) == stored(wholly)
    assert partly.calls["written"] < wholly.calls["written"]


def test_a_load_that_was_stopped_at_any_write_is_completed_by_the_next() -> None:
    wholly = loaded(5)
    write_stored(wholly, changed_catalogue())
    stops = 0
    for number in range(100):
        table = loaded(5)
        table.faults = Faults(before=table.writes + number)
        try:
            load(table, changed_catalogue())
        except Killed:
            stops += 1
            table.faults = Faults()
            load(table, changed_catalogue())
            assert stored(table) == stored(wholly)
        else:
            break
    assert stops > 10


def test_what_another_load_has_written_since_it_was_read_is_not_mixed_with_this_one() -> None:
    table = loaded(5)
    documents = read_documents(table, world.ORGANIZATION.id)
    write_stored(table, catalogue(6))
    before = stored(table)
    with pytest.raises(BusyError, match="another load of the organization has begun"):
        write_stored(table, changed_catalogue(), documents)
    assert stored(table) == before
