"""The lease that keeps two commands apart: who gets it, how long it lasts, and what may be written under it."""

import pytest

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.lease import LASTS, BusyError, Lease, leased
from meterstone.store.dynamodb.table import ConflictError, Item, StoreUnavailableError, key_item
from meterstone.usage.instant import MINUTE, SECOND, parse_instant
from support.memory_table import MemoryTable
from support.recovering import Clock

NOON = parse_instant("2024-03-01T12:00:00Z")
PROFILE = keys.organization("org", "profile")
#: What the profile says besides.
SAYS: Item = {"gen": {"S": "1"}}


@pytest.fixture
def table() -> MemoryTable:
    table = MemoryTable()
    table.put(key_item(PROFILE) | SAYS)
    return table


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON)


def lease_of(table: MemoryTable, clock: Clock, what: str) -> Lease:
    return Lease(table, "org", what, clock)


def taken(table: MemoryTable, clock: Clock, what: str) -> Lease:
    lease = lease_of(table, clock, what)
    lease.take()
    return lease


def profile(table: MemoryTable) -> Item:
    return table.items()[PROFILE]


def held(table: MemoryTable) -> tuple[str, int] | None:
    """Read who holds the lease, without its mark, and until when, in microseconds after noon."""
    found = profile(table)
    if "lease_by" not in found:
        return None
    return found["lease_by"]["S"].partition(".")[0], int(found["lease_until"]["N"]) - NOON


def test_a_lease_that_nobody_holds_is_taken_for_two_minutes(table: MemoryTable, clock: Clock) -> None:
    taken(table, clock, "rebuild")

    assert held(table) == ("rebuild", 2 * MINUTE)
    assert LASTS == 2 * MINUTE
    assert SAYS.items() <= profile(table).items()


@pytest.mark.parametrize("what", ["rebuild", "replay"])
@pytest.mark.parametrize(
    ("later", "free"),
    [
        pytest.param(0, False, id="at once"),
        pytest.param(2 * MINUTE, False, id="in its last moment"),
        pytest.param(2 * MINUTE + 1, True, id="when it has run out"),
    ],
)
def test_a_lease_keeps_others_out_until_it_runs_out(
    table: MemoryTable, clock: Clock, what: str, later: int, *, free: bool
) -> None:
    taken(table, clock, "rebuild")
    clock.now += later
    other = lease_of(table, clock, what)

    if free:
        other.take()
        assert held(table) == (what, later + LASTS)
    else:
        with pytest.raises(BusyError, match=r"^a rebuild is running.* try again after 2024-03-01T12:02:00Z$"):
            other.take()
        assert held(table) == ("rebuild", LASTS)


def test_an_organization_without_a_catalogue_has_no_lease(clock: Clock) -> None:
    table = MemoryTable()

    with pytest.raises(BusyError, match="the organization org has no catalogue"):
        lease_of(table, clock, "replay").take()
    assert table.items() == {}


def test_a_lease_that_is_renewed_lasts_from_then_on(table: MemoryTable, clock: Clock) -> None:
    lease = taken(table, clock, "rebuild")
    clock.now += MINUTE
    lease.renew()

    assert held(table) == ("rebuild", 3 * MINUTE)


def test_a_lease_that_ran_out_is_still_one_s_own_while_nobody_took_it(
    table: MemoryTable, clock: Clock
) -> None:
    lease = taken(table, clock, "rebuild")
    clock.now += 10 * MINUTE
    lease.renew()

    assert held(table) == ("rebuild", 12 * MINUTE)


@pytest.fixture
def lost(table: MemoryTable, clock: Clock) -> Lease:
    """Return a lease that ran out, and that another command of the same kind has taken."""
    lease = taken(table, clock, "rebuild")
    clock.now += LASTS + SECOND
    taken(table, clock, "rebuild")
    return lease


def test_a_lost_lease_is_not_renewed(table: MemoryTable, lost: Lease) -> None:
    before = profile(table)
    with pytest.raises(BusyError, match="another command took over"):
        lost.renew()
    assert profile(table) == before


def test_nothing_is_changed_under_a_lost_lease(table: MemoryTable, lost: Lease) -> None:
    before = profile(table)
    with pytest.raises(BusyError, match="another command took over"):
        lost.change("SET gen = :gen", {":gen": {"S": "2"}})
    with pytest.raises(ConflictError):
        table.transact([lost.action("gen = :gen", {":gen": {"S": "2"}})])
    assert profile(table) == before


def test_another_s_lease_is_not_given_back(table: MemoryTable, lost: Lease) -> None:
    before = profile(table)
    lost.release()
    assert profile(table) == before


def test_a_change_under_the_lease_does_not_renew_it(table: MemoryTable, clock: Clock) -> None:
    lease = taken(table, clock, "rebuild")
    clock.now += MINUTE
    lease.change("SET gen = :gen", {":gen": {"S": "2"}})

    assert profile(table)["gen"] == {"S": "2"}
    assert held(table) == ("rebuild", LASTS)


@pytest.mark.parametrize(
    ("condition", "generation"),
    [
        pytest.param("attribute_exists(gen)", "2", id="holds"),
        pytest.param("attribute_not_exists(gen)", "1", id="fails"),
    ],
)
def test_a_change_under_the_lease_may_have_a_condition_more(
    table: MemoryTable, clock: Clock, condition: str, generation: str
) -> None:
    lease = taken(table, clock, "rebuild")
    if generation == "1":
        with pytest.raises(BusyError):
            lease.change("SET gen = :gen", {":gen": {"S": "2"}}, condition=condition)
    else:
        lease.change("SET gen = :gen", {":gen": {"S": "2"}}, condition=condition)

    assert profile(table)["gen"] == {"S": generation}


@pytest.mark.parametrize(
    ("expression", "values", "generation"),
    [
        pytest.param("", None, "1", id="nothing else"),
        pytest.param("gen = :gen", {":gen": {"S": "2"}}, "2", id="a change of the profile"),
    ],
)
def test_a_transaction_renews_the_lease(
    table: MemoryTable, clock: Clock, expression: str, values: Item | None, generation: str
) -> None:
    lease = taken(table, clock, "rebuild")
    clock.now += MINUTE
    table.transact([lease.action(expression, values)])

    assert held(table) == ("rebuild", 3 * MINUTE)
    assert profile(table)["gen"] == {"S": generation}


def test_a_lease_that_is_given_back_leaves_nothing(table: MemoryTable, clock: Clock) -> None:
    lease = taken(table, clock, "rebuild")
    lease.release()

    assert profile(table) == SAYS
    taken(table, clock, "replay")


def test_a_block_holds_the_lease_as_long_as_it_lasts(table: MemoryTable, clock: Clock) -> None:
    with leased(table, "org", "withdraw", clock):
        assert held(table) == ("withdraw", LASTS)
        with pytest.raises(BusyError, match="a withdraw is running"), leased(table, "org", "replay", clock):
            pytest.fail("two hold the lease")
        assert held(table) == ("withdraw", LASTS)
    assert profile(table) == SAYS


@pytest.mark.parametrize("stopped", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_gives_the_lease_back(
    table: MemoryTable, clock: Clock, stopped: type[BaseException]
) -> None:
    with pytest.raises(stopped), leased(table, "org", "replay", clock):
        raise stopped
    assert profile(table) == SAYS


def test_a_block_that_fails_says_why_though_the_lease_cannot_be_given_back(
    table: MemoryTable, clock: Clock
) -> None:
    def fail() -> None:
        with leased(table, "org", "replay", clock):
            table.faults.unavailable = lambda _: True
            raise ValueError("the reason")

    with pytest.raises(ValueError, match="the reason"):
        fail()
    assert held(table) == ("replay", LASTS)


def test_a_block_that_ends_says_that_the_lease_could_not_be_given_back(
    table: MemoryTable, clock: Clock
) -> None:
    with pytest.raises(StoreUnavailableError), leased(table, "org", "replay", clock):
        table.faults.unavailable = lambda _: True
