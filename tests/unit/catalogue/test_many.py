"""Many puts together: each is what it is alone, whoever writes meanwhile, and wherever it is killed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.catalogue import gathered, many
from meterstone.catalogue.errors import CatalogueError, LostError, Put
from meterstone.catalogue.gathered import Gathered
from meterstone.catalogue.management import KindOfRecord, Management
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item
from meterstone.usage.instant import SECOND
from support.managed import (
    DEAR,
    NOW,
    OF_C,
    OPERATIONS,
    PRICE,
    PRO,
    WeighedTable,
    at_each_call,
    interleavings,
    managed,
    outcome,
    put,
    records,
    table_of,
    with_one,
)
from support.memory_table import Killed, MemoryTable
from support.scenario import ORGANIZATION

type Named = tuple[str, Mapping[str, object]]

CUSTOMERS: Final = ("c", "d", "e", "f")


def of(customer: str, plan: str = "basic", **more: object) -> dict[str, object]:
    return OF_C | {"customer": customer, "plan": plan} | more


def with_customers(table: MemoryTable | None = None) -> Management:
    management = managed(table)
    for each in CUSTOMERS[1:]:
        management.put("customer", each, {})
    return management


def told(outcomes: Sequence[Any]) -> list[object]:
    """Return what became of puts: what was written, or why nothing was."""
    return [
        str(each) if isinstance(each, CatalogueError) else (each.stored.value, each.created, each.changed)
        for each in outcomes
    ]


def one_by_one(management: Management, kind: KindOfRecord, wanted: Sequence[Named]) -> list[object]:
    found: list[object] = []
    for name, record in wanted:
        try:
            found.append(management.put(kind, name, record))
        except CatalogueError as error:
            found.append(error)
    return told(found)


def stored(management: Management) -> dict[Key, Item]:
    """Return all items but those by which records are found, which a refused record leaves, too."""
    return {key: item for key, item in table_of(management).items().items() if set(item) != {"id"}}


SUBSCRIPTIONS: Final = st.lists(
    st.builds(
        of,
        st.sampled_from([*CUSTOMERS, "nobody"]),
        st.sampled_from(["basic", "pro", "none"]),
        external_id=st.sampled_from(["e", "f", "g", "s", "t0"]),
        start=st.sampled_from(["2026-01-01T00:00:00Z", "2026-05-01T00:00:00Z", "bad"]),
        end=st.sampled_from(["2026-04-01T00:00:00Z", None]),
    ),
    max_size=12,
)


@given(SUBSCRIPTIONS, st.integers(0, 3))
def test_subscriptions_put_together_are_what_they_are_one_by_one(
    several: list[dict[str, object]], known: int
) -> None:
    """Also if some are there already. Those of one customer are put one after another."""
    several.sort(key=lambda record: str(record["customer"]))
    wanted = [(f"t{number}", record) for number, record in enumerate(several)]
    together, alone = with_customers(), with_customers()
    for management in (together, alone):
        one_by_one(management, "subscription", wanted[:known])
    assert told(together.put_many("subscription", wanted)) == one_by_one(alone, "subscription", wanted)
    assert stored(together) == stored(alone)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        pytest.param("meter", [("m", {"code": "m", "aggregation": "COUNT"}), ("n", {})], id="meters"),
        pytest.param("price", [("p", PRICE), ("call", DEAR), ("q", {}), ("r", DEAR)], id="prices"),
        pytest.param("plan", [("p", PRO), ("basic", PRO), ("q", {"prices": ["none"]})], id="plans"),
        pytest.param(
            "customer",
            [("c", {"name": "x"}), ("d", {"country": "NO"}), ("e", {"country": "?"}), ("f", {})],
            id="customers",
        ),
    ],
)
def test_records_put_together_are_what_they_are_one_by_one(kind: KindOfRecord, wanted: list[Named]) -> None:
    together, alone = managed(), managed()
    assert told(together.put_many(kind, wanted)) == one_by_one(alone, kind, wanted)
    assert stored(together) == stored(alone)


class TransactionsTable(WeighedTable):
    """Notes how many items each transaction writes."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def transact(self, actions: Any) -> None:
        self.sizes.append(len(actions))
        super().transact(actions)


def noting(*, used: bool = True) -> tuple[Management, TransactionsTable]:
    """Make a catalogue of 60 customers; a plan is ``used`` if a subscription has named it already."""
    table = TransactionsTable()
    management = managed(table)
    management.put_many("customer", [(f"c{number}", {}) for number in range(60)])
    if used:
        management.put("subscription", "s", OF_C)
    table.sizes.clear()
    table.units = 0
    return management, table


@pytest.mark.parametrize(
    ("kind", "wanted", "sizes", "units"),
    [
        # 9 units each, as for one alone: see `test_put_costs`.
        pytest.param(
            "subscription",
            [(f"t{number:02}", of(f"c{number}")) for number in range(60)],
            [75, 75, 30],
            60 * 9,
            id="subscriptions",
        ),
        # In a transaction a record costs twice what it costs alone, and the entry of the list as much.
        pytest.param(
            "customer",
            [(f"d{number:02}", {}) for number in range(60)],
            [25, 25, 10],
            60 * 3,
            id="customers",
        ),
        pytest.param("customer", [("d", {})], [], 2, id="a single customer"),
        pytest.param(
            "price", [(f"p{number}", PRICE) for number in range(30)], [25, 5], 30 * 2, id="prices"
        ),
        # The same item would stand twice in a transaction.
        pytest.param(
            "subscription",
            [(f"t{number}", of("c0")) for number in range(4)],
            [3, 3, 3, 3],
            4 * 9,
            id="subscriptions of one customer",
        ),
        pytest.param(
            "subscription",
            [(f"t{number}", of(f"c{number}", external_id="e", start=f"203{number}-01-01T00:00:00Z",
                               end=f"203{number}-02-01T00:00:00Z")) for number in range(4)],
            [3, 3, 3, 3],
            4 * 9,
            id="subscriptions of one external id",
        ),
        # Each is counted by somebody, perhaps.
        pytest.param("customer", [("c0", {"name": "x"}), ("c1", {"name": "x"})], [], 2, id="changed customers"),
    ],
)  # fmt: skip
def test_what_is_new_is_written_together(
    monkeypatch: pytest.MonkeyPatch, kind: KindOfRecord, wanted: list[Named], sizes: list[int], units: int
) -> None:
    # Adding up is not for several threads.
    monkeypatch.setattr(many, "_AT_ONCE", 1)
    management, table = noting()
    assert all(isinstance(each, Put) and each.changed for each in management.put_many(kind, wanted))
    assert sorted(table.sizes, reverse=True) == sizes
    assert table.units == units


def test_the_first_subscription_of_a_plan_goes_ahead_of_the_others() -> None:
    """It notes that the plan is named, which the others then find."""
    management, table = noting(used=False)
    management.put_many("subscription", [(f"t{number}", of(f"c{number}")) for number in range(9)])
    assert table.sizes == [4, 24]


WANTED: Final = [
    ("t", of("c")),
    ("u", of("d", "pro")),
    ("v", of("e", external_id="x")),
    ("w", of("f", external_id="y")),
]
NAMES: Final = {
    "customer": CUSTOMERS,
    "plan": ("basic", "pro"),
    "subscription": ("s", "t", "u", "v", "w", "z"),
}
OTHERS: Final = {
    **{name: OPERATIONS[name] for name in ("a changed plan", "a plan deleted", "a subscription deleted")},
    "a customer changed": put("customer", "e", {"country": "SE"}),
    "a customer deleted": lambda it: it.delete("customer", "f"),
    "the same subscription": put("subscription", "t", of("c")),
    "another one of that id": put("subscription", "t", of("c", name="x")),
    "an external id taken": put("subscription", "z", of("c", external_id="y")),
    "another one of a customer": put("subscription", "z", of("e")),
}


def serial(place: int, other: Callable[[Management], object]) -> dict[tuple[str, str], Any]:
    """Return what there is if another writer goes ahead of the put of this place."""
    management = with_customers(table_of(with_one()))
    for number, (name, record) in enumerate(WANTED):
        if number == place:
            outcome(other, management)
        outcome(put("subscription", name, record), management)
    if place == len(WANTED):
        outcome(other, management)
    return records(management, NAMES)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_another_writer_goes_ahead_of_a_put_or_follows_it(other: Callable[[Management], object]) -> None:
    possible = [serial(place, other) for place in range(len(WANTED) + 1)]
    for management, _ in interleavings(
        lambda: with_customers(table_of(with_one())), lambda it: it.put_many("subscription", WANTED), other
    ):
        assert records(management, NAMES) in possible


def kills(make: Callable[[], Management], change: Callable[[Management], object]) -> Iterator[Management]:
    """Kill a change before each of its calls."""
    for number in count(1):
        management = make()

        def kill() -> None:
            raise Killed

        end = at_each_call(table_of(management), number, kill)
        try:
            change(management)
        except Killed:
            yield management
            continue
        finally:
            end()
        return


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [("subscription", WANTED), ("customer", [("d", {"country": "NO"}), ("e", {}), ("c", {"name": "x"})])],
    ids=["subscriptions", "customers"],
)
def test_what_was_killed_is_whole_and_is_done_when_put_again(kind: KindOfRecord, wanted: list[Named]) -> None:
    make = with_customers if kind == "subscription" else managed
    whole = make()
    whole.put_many(kind, wanted)
    names: dict[str, tuple[str, ...]] = {kind: tuple(name for name, _ in wanted)}
    after, before = records(whole, names), records(make(), names)
    killed = 0
    for management in kills(make, lambda it: it.put_many(kind, wanted)):
        killed += 1
        found = records(management, names)
        assert all(value in (before[each], after[each]) for each, value in found.items())
        management.put_many(kind, wanted)
        assert table_of(management).items() == table_of(whole).items()
    assert killed > 5


@pytest.mark.parametrize(
    ("seconds", "count", "sizes"),
    [
        pytest.param(0, 8, [24], id="at once"),
        pytest.param(1, 4, [12], id="9 seconds"),
        pytest.param(1, 5, [3] * 5, id="11 seconds with the transaction"),
        pytest.param(1, 9, [3] * 9, id="11 seconds with a put"),
        pytest.param(11, 4, [3] * 4, id="11 seconds at once"),
    ],
)
def test_what_takes_long_is_put_one_by_one(seconds: int, count: int, sizes: list[int]) -> None:
    """What was read together is good for 10 seconds: whoever waits for all changes to be over waits for 20."""
    _, table = noting()
    now = NOW

    def clock() -> int:
        """Each put looks at the clock twice, and each transaction once."""
        nonlocal now
        now += seconds * SECOND
        return now

    slow = Management(table, ORGANIZATION.id, clock)
    outcomes = slow.put_many("subscription", [(f"t{place}", of(f"c{place}")) for place in range(count)])
    assert [isinstance(each, Put) and each.created for each in outcomes] == [True] * count
    assert table.sizes == sizes


def test_a_put_that_needs_what_waits_must_go_after_it() -> None:
    table = Gathered(table_of(with_one()))
    key = keys.customer(ORGANIZATION.id, "d")
    table.gather([key])
    with table.grouping():
        assert table.update(
            key, "SET doc = :doc", {":doc": {"S": "{}"}}, condition="attribute_not_exists(doc)"
        )
    needs: list[Callable[[], object]] = [
        lambda: table.get(key),
        lambda: table.batch_get([key]),
        lambda: list(table.query(key.pk, "a", "z")),
        lambda: table.has_any(key.pk),
        lambda: table.put({"pk": {"S": key.pk}, "sk": {"S": key.sk}}),
        lambda: table.update(key, "SET doc = :doc", {":doc": {"S": "{}"}}),
    ]
    for need in needs:
        with pytest.raises(LostError):
            need()
    with suppress(LostError), table.grouping():
        another = keys.customer(ORGANIZATION.id, "e")
        table.update(another, "SET doc = :doc", {}, condition="attribute_exists(doc)")
        raise LostError
    assert table.write_group(), "nothing waits of a put that failed"
    row = table.get(key)
    assert row is not None
    assert row["doc"].S == "{}"


def test_subscriptions_of_one_customer_are_put_by_one_thread() -> None:
    """Each raises the version of the customer: two threads would only be in each other's way."""
    wanted = [(f"t{number:03}", of("c" if number % 2 else f"c{number}")) for number in range(200)]
    lists = many._divided("subscription", wanted)
    assert sorted(index for each in lists for index in each) == list(range(200))
    assert [len(each) for each in lists if any(wanted[index][1]["customer"] == "c" for index in each)] == [
        100
    ]
    assert max(len(each) for each in lists if len(each) < 100) == many.TOGETHER


def test_what_is_too_large_for_one_transaction_is_put_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What exceeds the limit goes alone, and those after it together again."""
    monkeypatch.setattr(gathered, "MOST_BYTES", 9_000)
    management, table = noting()
    wanted = [(f"t{number:02}", of(f"c{number}", name="x" * 200)) for number in range(20)]
    outcomes = management.put_many("subscription", wanted)
    assert [isinstance(each, Put) and each.created for each in outcomes] == [True] * 20
    assert table.sizes == [45, 3, 12]
