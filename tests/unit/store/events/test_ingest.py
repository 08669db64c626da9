"""What ingestion looks up: accounts, and whether the catalogue knows what an event is for."""

import pytest

from meterstone.store.catalogue.accounts import Account
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import key_item
from meterstone.store.events.ingest import Intake
from meterstone.usage.arrival import Arrival, Outcome, Subject
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.subscription import Organization
from support.memory_table import MemoryTable

ORGANIZATION = Organization("o", "O", "UTC")


def meter(identity: str, event_name: str, deleted_at: int | None = None) -> Meter:
    return Meter(identity, identity, "", Aggregation.COUNT, event_name, deleted_at=deleted_at)


ACCOUNT = Account(
    ORGANIZATION,
    "1",
    (
        meter("a", "calls"),
        meter("b", "faxes", deleted_at=100),
        meter("c", "mails", 50),
        meter("d", "mails", 90),
        meter("e", "pages"),
        meter("f", "pages", 50),
        meter("g", "texts", 90),
        meter("h", "texts", 50),
    ),
)


@pytest.fixture
def intake() -> Intake:
    table = MemoryTable()
    table.put(key_item(keys.by_external_id("o", "sub", "s1")))
    table.put(key_item(keys.of_customer("o", "cus", "s1")))
    return Intake(table)


def arrival(subject: Subject, name: str, at: int = 5, identity: str = "t") -> Arrival:
    return Arrival.of(subject, Event(identity, name, at, {}), 1000, {}, dated=True)


SUBSCRIPTION, CUSTOMER = Subject.subscription("sub"), Subject.customer("cus")


@pytest.mark.parametrize(
    ("subject", "name", "at", "unmatched"),
    [
        pytest.param(SUBSCRIPTION, "calls", 5, None, id="subscription"),
        pytest.param(CUSTOMER, "calls", 5, None, id="customer"),
        pytest.param(Subject.subscription("cus"), "calls", 5, ("subscription",), id="a customer's id"),
        pytest.param(Subject.customer("sub"), "calls", 5, ("customer",), id="a subscription's id"),
        pytest.param(SUBSCRIPTION, "Calls", 5, ("code",), id="another case of the name"),
        pytest.param(SUBSCRIPTION, "faxes", 99, None, id="before the metric was deleted"),
        pytest.param(SUBSCRIPTION, "faxes", 100, ("code",), id="when the metric was deleted"),
        pytest.param(SUBSCRIPTION, "mails", 89, None, id="the later of two deleted metrics"),
        pytest.param(SUBSCRIPTION, "mails", 90, ("code",), id="after the later of two deleted metrics"),
        pytest.param(SUBSCRIPTION, "texts", 89, None, id="the later of two deleted metrics, listed first"),
        pytest.param(SUBSCRIPTION, "pages", 99, None, id="a metric that lasts, listed before a deleted one"),
        pytest.param(SUBSCRIPTION, "a", 5, None, id="a metric's code, which is not its event name"),
        pytest.param(SUBSCRIPTION, "c", 49, None, id="the code of a metric before it was deleted"),
        pytest.param(SUBSCRIPTION, "c", 50, ("code",), id="the code of a metric when it was deleted"),
        pytest.param(Subject.customer("x"), "x", 5, ("customer", "code"), id="both"),
    ],
)
def test_unmatched(
    intake: Intake, subject: Subject, name: str, at: int, unmatched: tuple[str, ...] | None
) -> None:
    receipt = intake.take_each(ACCOUNT, {3: arrival(subject, name, at)})
    assert receipt.outcomes == {3: Outcome.NEW}
    assert receipt.unmatched == ({} if unmatched is None else {3: unmatched})


def test_a_target_that_is_known_is_not_looked_up_again(intake: Intake) -> None:
    for number in range(3):
        intake.take_each(ACCOUNT, {0: arrival(SUBSCRIPTION, "calls", identity=str(number))})
    assert (intake.cost.items, intake.cost.read_units) == (1, 0.5)


def test_a_target_that_becomes_known_is_found(intake: Intake) -> None:
    late = Subject.customer("late")
    for identity in ("t", "s"):
        receipt = intake.take_each(ACCOUNT, {0: arrival(late, "calls", identity=identity)})
        assert receipt.unmatched == {0: ("customer",)}
    intake.table.put(key_item(keys.of_customer("o", "late", "s2")))
    assert intake.take_each(ACCOUNT, {0: arrival(late, "calls", identity="u")}).unmatched == {}


def test_another_organization_s_customer_is_unknown(intake: Intake) -> None:
    other = Account(Organization("p", "P", "UTC"), "1", ACCOUNT.meters)
    intake.take_each(ACCOUNT, {0: arrival(CUSTOMER, "calls")})
    assert intake.take_each(other, {0: arrival(CUSTOMER, "calls")}).unmatched == {0: ("customer",)}


def test_a_batch_has_one_look_up_for_each_target(intake: Intake) -> None:
    arrivals = {number: arrival(SUBSCRIPTION, "calls", identity=str(number)) for number in range(50)}
    arrivals |= {number: arrival(CUSTOMER, "calls", identity=str(number)) for number in range(50, 100)}
    receipt = intake.take_all_or_none(ACCOUNT, arrivals)
    assert (set(receipt.outcomes.values()), receipt.unmatched, intake.cost.items) == ({Outcome.NEW}, {}, 2)
