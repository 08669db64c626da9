"""A table of the first stored format: read as it is, upgraded by the first put, written anew record by record."""

from collections.abc import Callable
from decimal import Decimal
from time import monotonic
from typing import Any

import pytest

from meterstone.catalogue.management import (
    CatalogueConflictError,
    Management,
    RecordRefusedError,
    StaleRecordError,
)
from meterstone.pricing.price import BillingModel, Price
from meterstone.store.catalogue.accounts import LOADS, read_account
from meterstone.store.catalogue.records import encode_document
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, StoreUnavailableError, integer, key_item
from meterstone.usage.arrival import AHEAD
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.period import BillingCycle, BillingPeriod
from meterstone.usage.subscription import Customer, Dated, LineItem, Subscription
from support.managed import NOW, at, interleavings, subscription, table_of
from support.memory_table import Faults, Killed, MemoryTable
from support.scenario import ORGANIZATION

METER = Meter("m", "m", "Calls", Aggregation.COUNT, "m")
PRICE = Price("p", "eur", BillingModel.FLAT_FEE, Decimal(2), meter_id="m")
SUBSCRIPTION = Subscription(
    "s", "e", "c", "eur", "Europe/Oslo", at(-60), None, BillingPeriod.MONTHLY, 1, BillingCycle.CALENDAR, at(-60),
    (Dated("basic"),), (Dated("NO"),), (), None, (LineItem("item", PRICE, at(-60), None, METER),),
)  # fmt: skip
ORG = ORGANIZATION.id


def before(*, counted: bool = True, loading_at: int | None = None) -> Management:
    """Make an organization as the first version of the code has left it."""
    table = MemoryTable()

    def put(key: Key, **attributes: str | int) -> None:
        values: Item = {
            name: {"N": str(value)} if isinstance(value, int) else {"S": value}
            for name, value in attributes.items()
        }
        table.put(key_item(key) | values)

    loading = {} if loading_at is None else {"loading_at": loading_at}
    put(keys.organization(ORG, "profile"), doc=encode_document(ORGANIZATION), ver=7, counted_by=2, **loading)
    put(keys.organization(ORG, "meters"), doc=encode_document((METER,)), ver=7)
    customer = Customer("c", "Cara", "Europe/Oslo", (Dated("NO"),))
    put(keys.catalogue(ORG, "customer", "c"), id="c", doc=encode_document(customer))
    put(keys.catalogue(ORG, "plan", "basic"), id="basic", doc='{"code":"basic","name":"","description":""}')
    put(keys.catalogue(ORG, "price", "p"), id="p", doc=encode_document(PRICE))
    put(keys.subscription(ORG, "s"), doc=encode_document(SUBSCRIPTION))
    for key in (
        keys.catalogue(ORG, "subscription", "s"),
        keys.of_customer(ORG, "c", "s"),
        keys.by_external_id(ORG, "e", "s"),
    ):
        put(key, id="s")
    if counted:
        put(Key(keys.usage(ORG, "1", "s"), keys.counter("monthly.1", 0, "item", 0)), v=1)
    return Management(table, ORG, lambda: NOW)


def test_what_is_stored_is_read_as_it_is() -> None:
    management = before()
    assert management.resolved(subscription(management, "s")).line_items == SUBSCRIPTION.line_items
    for kind, name in (("meter", "m"), ("price", "p"), ("plan", "basic"), ("customer", "c")):
        stored = management.get(kind, name)  # type: ignore[arg-type]
        assert stored is not None
        assert stored.stamp == (0, 0, 0)
        # A plan gets its first version.
        assert management.merge(kind, name, {}).changed == (kind == "plan")  # type: ignore[arg-type]
    assert not management.merge("subscription", "s", {}).changed


def test_a_plan_of_before_is_not_deleted() -> None:
    """A subscription may name it, and nothing tells."""
    management = before()
    for _ in range(2):
        with pytest.raises(CatalogueConflictError, match="subscriptions have named it"):
            management.delete("plan", "basic")
        management.put("plan", "basic", {"name": "x"})


@pytest.mark.parametrize("more", [{}, {"prices": []}], ids=["all of its prices", "none of its prices"])
def test_a_plan_of_before_has_no_prices_to_follow(more: dict[str, list[str]]) -> None:
    record = {"customer": "c", "plan": "basic", "currency": "EUR", "start": "2026-06-01T00:00:00Z"}
    with pytest.raises(RecordRefusedError) as refused:
        before().put("subscription", "t", {**record, **more})
    assert refused.value.errors == [("plan", "'basic' has no prices")]


def test_the_first_put_upgrades_the_organization_once() -> None:
    management = before()
    table = table_of(management)
    management.put("meter", "n", {"code": "n", "aggregation": "COUNT"})
    management.put("price", "q", {"currency": "EUR", "billing_model": "FLAT_FEE", "meter_id": "n"})
    account = read_account(table, ORG, consistent=True)
    assert account is not None
    assert (account.stored_format, account.version, len(account.meters)) == (2, 8, 2)


@pytest.mark.parametrize(
    ("age", "refused"), [(0, True), (LOADS - 1, True), (LOADS, False)], ids=["now", "of late", "given up"]
)
def test_a_load_of_before_is_not_disturbed(age: int, *, refused: bool) -> None:
    management = before(loading_at=NOW - age)
    if refused:
        with pytest.raises(CatalogueConflictError, match="a catalogue is being loaded"):
            management.put("customer", "d", {})
        return
    assert management.put("customer", "d", {}).created
    account = read_account(table_of(management), ORG, consistent=True)
    assert account is not None
    assert account.loading_at is None


CHANGES: dict[str, Callable[[Management], object]] = {
    "the subscription": lambda it: it.merge("subscription", "s", {"end": "2026-06-01T00:00:00Z"}),
    "the customer": lambda it: it.merge("customer", "c", {"name": "Dora"}),
    "another subscription of the customer": lambda it: it.put(
        "subscription",
        "t",
        {
            "customer": "c",
            "plan": "basic",
            "currency": "EUR",
            "start": "2026-06-01T00:00:00Z",
            "line_items": [{"price": "p"}],
        },
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_stopped_at_any_write_of_the_upgrade_the_same_again_completes_it(
    change: Callable[[Management], object],
) -> None:
    whole = before()
    change(whole)
    stop, stopped = -1, True
    while stopped:
        stop += 1
        management = before()
        table = table_of(management)
        table.faults = Faults(before=table.writes + stop)
        try:
            change(management)
            stopped = False
        except Killed:
            pass
        table.faults = Faults()
        assert management.get("customer", "c") is not None
        assert management.resolved(subscription(management, "s")).line_items
        change(management)
        for key, item in table_of(whole).items().items():
            assert table.items()[key] == item
        document = table.items()[keys.subscription(ORG, "s")]
        assert ("doc" in document) != ("terms" in document)
    assert stop > 1


def test_what_was_counted_before_the_upgrade_lies_at_most_5_minutes_after_it() -> None:
    """No subject says when it was: it is counted anew, unless it surely lies before."""
    management = before()
    ended = management.end("s", NOW + AHEAD - 1)
    assert ended.recount is not None
    subject = table_of(management).get(keys.subject(ORG, "s", "e"), consistent=True)
    assert subject is not None
    assert integer(subject, "latest_at") == NOW + AHEAD - 1
    assert before().end("s", NOW + AHEAD).recount is None


def test_what_is_counted_until_the_upgrade_is_looked_at_after_it() -> None:
    """A fold counts the first event by the version of before, when all was read and nothing was upgraded yet."""
    management = before(counted=False)
    table = table_of(management)
    upgrade = table.update

    def counted_first(*arguments: Any, **more: Any) -> bool:
        table.update = upgrade  # type: ignore[method-assign]
        counter = Key(keys.usage(ORG, "1", "s"), keys.counter("monthly.1", 0, "item", 0))
        table.put(key_item(counter) | {"v": {"N": "1"}})
        return upgrade(*arguments, **more)

    table.update = counted_first  # type: ignore[method-assign]
    assert management.end("s", NOW).recount is not None
    assert before(counted=False).end("s", NOW).recount is None


def test_a_customer_for_which_something_was_counted_is_followed_in_its_past() -> None:
    moved = {"country": [{"value": "SE"}, {"value": "NO", "since": "2026-02-01T00:00:00Z"}]}
    assert before().put("customer", "c", moved).recount is not None
    assert before(counted=False).put("customer", "c", moved).recount is None


def test_a_customer_of_before_is_deleted_for_good() -> None:
    management = before(counted=False)
    management.delete("subscription", "s")
    management.delete("customer", "c")
    assert management.get("customer", "c") is None


def test_two_first_puts_upgrade_once() -> None:
    for management, results in interleavings(before, CHANGES["the customer"], CHANGES["the subscription"]):
        assert not [each for each in results if isinstance(each, Exception)]
        account = read_account(table_of(management), ORG, consistent=True)
        assert account is not None
        assert (account.stored_format, account.version) == (2, 8)
        customer = management.get("customer", "c")
        assert customer is not None
        assert (customer.value.name, subscription(management, "s").value.end is None) == ("Dora", False)


def test_a_put_that_takes_too_long_writes_nothing() -> None:
    table = table_of(before())
    table.update(keys.organization(ORG, "profile"), "SET stored_format = :two", {":two": {"N": "2"}})
    times = iter([NOW, NOW + 20_000_001])
    slow = Management(table, ORG, lambda: next(times))
    stood = table.items()
    with pytest.raises(StoreUnavailableError, match="took too long"):
        slow.put("customer", "d", {})
    assert table.items() == stood


def test_a_write_of_a_put_is_not_sent_again_after_20_seconds() -> None:
    management = before()
    table = table_of(management)
    plain, left = table.update, []

    def update(*arguments: Any, **more: Any) -> bool:
        left.append(table.deadline.of_operation() - monotonic())
        return plain(*arguments, **more)

    table.update = update  # type: ignore[method-assign]
    management.put("customer", "d", {})
    assert len(left) == 2
    assert all(19 < each <= 20 for each in left)
    assert table.deadline.of_operation() - monotonic() > 59


def test_a_record_of_before_has_version_0() -> None:
    management = before()
    with pytest.raises(StaleRecordError):
        management.put("customer", "c", {}, if_match=1)
    assert management.merge("customer", "c", {"name": "Dora"}).stored.stamp.rev == 2
