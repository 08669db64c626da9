"""What ingestion looks up, and what it says of events that count nowhere."""

import time
from collections.abc import Iterable
from copy import replace

import pytest

from meterstone.store.catalogue.accounts import Account
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Row, StoreUnavailableError
from meterstone.store.events import ingest
from meterstone.store.events.ingest import Intake
from meterstone.store.events.log import IN_FLIGHT
from meterstone.usage.arrival import Arrival, Outcome, Subject
from meterstone.usage.meter import Aggregation, Event, Filter, Meter, Property
from meterstone.usage.subscription import Organization, Subscription
from support.memory_table import MemoryTable
from support.one_subscription import item_of, subscription_of
from support.written import write_catalogue

ORGANIZATION = Organization("o", "O", "UTC")


def meter(identity: str, event_name: str, deleted_at: int | None = None) -> Meter:
    return Meter(identity, identity, "", Aggregation.COUNT, event_name, deleted_at=deleted_at)


CALLS = meter("a", "calls")
FAXES = meter("b", "faxes", deleted_at=100)
SIZES = Meter("s", "s", "", Aggregation.SUM, "sizes", "size")
SEEN_SIZES = meter("seen", "seen sizes")
EUROPE = Meter("eu", "eu", "", Aggregation.COUNT, "visits", filters=(Filter("region", ("eu",)),))
METERS = (
    CALLS,
    FAXES,
    meter("c", "mails", 50),
    meter("d", "mails", 90),
    meter("e", "pages"),
    meter("f", "pages", 50),
    SIZES,
    replace(SIZES, id="t", code="t", event_name="seen sizes"),
    SEEN_SIZES,
    EUROPE,
    meter("unpriced", "unpriced"),
)
ACCOUNT = Account(ORGANIZATION, "1", METERS)


def subscribed(identity: str = "sub") -> Subscription:
    """Make a subscription of all meters but one, from the instant 0 to 1000."""
    items = [
        replace(item_of(each, name=each.id), start=0, end=None) for each in METERS if each.id != "unpriced"
    ]
    found = subscription_of(*items)
    return replace(found, id=identity, external_id="sub", customer_id="cus", start=0, end=1000, anchor=0)


def put(intake: Intake, subscription: Subscription) -> None:
    write_catalogue(intake.table, ORGANIZATION, METERS, [subscription])


@pytest.fixture
def table() -> MemoryTable:
    return MemoryTable()


@pytest.fixture
def intake(table: MemoryTable) -> Intake:
    intake = Intake(table)
    put(intake, subscribed())
    return intake


def arrival(
    subject: Subject,
    name: str,
    at: int = 5,
    identity: str = "t",
    properties: dict[str, Property] | None = None,
) -> Arrival:
    return Arrival.of(subject, Event(identity, name, at, properties or {}), 2000, {}, dated=True)


SUBSCRIPTION, CUSTOMER = Subject.subscription("sub"), Subject.customer("cus")


@pytest.mark.parametrize(
    ("subject", "name", "at", "properties", "reason"),
    [
        pytest.param(SUBSCRIPTION, "calls", 5, {}, None, id="a subscription's"),
        pytest.param(CUSTOMER, "calls", 5, {}, None, id="a customer's"),
        pytest.param(SUBSCRIPTION, "faxes", 99, {}, None, id="before the metric was deleted"),
        pytest.param(SUBSCRIPTION, "pages", 99, {}, None, id="one of two metrics was deleted"),
        pytest.param(SUBSCRIPTION, "a", 5, {}, None, id="a metric's code, which is not its event name"),
        pytest.param(SUBSCRIPTION, "c", 50, {}, "code", id="the code of a metric when it was deleted"),
        pytest.param(SUBSCRIPTION, "visits", 5, {"region": "eu"}, None, id="a filter that it passes"),
        pytest.param(SUBSCRIPTION, "sizes", 5, {"size": "1.5"}, None, id="a number's text"),
        pytest.param(SUBSCRIPTION, "seen sizes", 5, {}, None, id="one of two meters can read it"),
        pytest.param(Subject.subscription("cus"), "calls", 5, {}, "subscription", id="a customer's id"),
        pytest.param(Subject.customer("sub"), "calls", 5, {}, "customer", id="a subscription's id"),
        pytest.param(Subject.customer("x"), "x", 5000, {}, "customer", id="nobody, and no meter"),
        pytest.param(SUBSCRIPTION, "calls", 1000, {}, "time", id="when the subscription has ended"),
        pytest.param(CUSTOMER, "calls", -1, {}, "time", id="before the customer's only one"),
        pytest.param(SUBSCRIPTION, "x", 1000, {}, "time", id="no time, and no meter"),
        pytest.param(SUBSCRIPTION, "Calls", 5, {}, "code", id="another case of the name"),
        pytest.param(SUBSCRIPTION, "faxes", 100, {}, "code", id="when the metric was deleted"),
        pytest.param(SUBSCRIPTION, "mails", 90, {}, "code", id="the later of two deleted metrics"),
        pytest.param(SUBSCRIPTION, "unpriced", 5, {}, "line_item", id="a meter without a line item"),
        pytest.param(SUBSCRIPTION, "visits", 5, {"region": "us"}, "line_item", id="a filter that it fails"),
        pytest.param(SUBSCRIPTION, "sizes", 5, {"size": "1,000"}, "value", id="no number"),
        pytest.param(SUBSCRIPTION, "sizes", 5, {}, "value", id="no property"),
    ],
)
def test_the_first_reason_that_holds(
    intake: Intake, subject: Subject, name: str, at: int, properties: dict[str, Property], reason: str | None
) -> None:
    receipt = intake.take_each(ACCOUNT, {3: arrival(subject, name, at, properties=properties)})
    assert receipt.outcomes == {3: Outcome.NEW}
    assert receipt.unmatched == ({} if reason is None else {3: reason})


def test_a_subject_is_looked_up_once_in_thirty_seconds(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mention and a document, however many events: what is known and what is not, alike."""
    items = []
    for second in (0, 10, 29.9, 30, 59.9, 60):
        monkeypatch.setattr(time, "time", lambda second=second: 1000 + second)
        for number, subject in enumerate((SUBSCRIPTION, Subject.customer("nobody"))):
            intake.take_each(ACCOUNT, {0: arrival(subject, "calls", identity=f"{second} {number}")})
        items.append(intake.cost.items)
    assert items == [2, 2, 2, 4, 4, 6]


def test_a_subject_is_looked_up_again_when_the_clock_was_set_back(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, second in enumerate((1000, 999)):
        monkeypatch.setattr(time, "time", lambda second=second: second)
        intake.take_each(ACCOUNT, {0: arrival(SUBSCRIPTION, "calls", identity=str(number))})
    assert intake.cost.items == 4


def test_a_subject_that_becomes_known_is_found_after_thirty_seconds(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Subject.customer("late")
    found = []
    for second in (0, 29, 31):
        monkeypatch.setattr(time, "time", lambda second=second: 1000 + second)
        receipt = intake.take_each(ACCOUNT, {0: arrival(late, "calls", identity=str(second))})
        found.append(receipt.unmatched.get(0))
        put(intake, replace(subscribed("s2"), customer_id="late"))
    assert found == ["customer", "customer", None]


def test_a_subscription_that_was_given_away_is_no_longer_its_customer_s(intake: Intake) -> None:
    put(intake, replace(subscribed(), customer_id="other"))
    assert intake.take_each(ACCOUNT, {0: arrival(CUSTOMER, "calls")}).unmatched == {0: "customer"}


def test_what_is_remembered_has_a_bound(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_MOST_REMEMBERED", 3)
    for number in range(10):
        intake.take_each(ACCOUNT, {0: arrival(Subject.customer(str(number)), "calls")})
    before = intake.cost.items
    intake.take_each(ACCOUNT, {0: arrival(SUBSCRIPTION, "calls")})
    assert (len(intake._known), intake.cost.items - before) == (2, 2)


def test_another_organization_s_customer_is_unknown(intake: Intake) -> None:
    other = Account(Organization("p", "P", "UTC"), "1", ACCOUNT.meters)
    intake.take_each(ACCOUNT, {0: arrival(CUSTOMER, "calls")})
    assert intake.take_each(other, {0: arrival(CUSTOMER, "calls")}).unmatched == {0: "customer"}


def test_an_event_costs_one_write(intake: Intake, table: MemoryTable) -> None:
    for name in ("calls", "nothing"):
        before = table.writes
        intake.take_each(ACCOUNT, {0: arrival(SUBSCRIPTION, name, identity=name)})
        assert table.writes - before == 1


def test_a_batch_has_one_look_up_for_each_subject(intake: Intake) -> None:
    arrivals = {number: arrival(SUBSCRIPTION, "calls", identity=str(number)) for number in range(50)}
    arrivals |= {number: arrival(CUSTOMER, "calls", identity=str(number)) for number in range(50, 100)}
    receipt = intake.take_all_or_none(ACCOUNT, arrivals)
    # Two mentions, and the one document of both.
    assert (set(receipt.outcomes.values()), receipt.unmatched, intake.cost.items) == ({Outcome.NEW}, {}, 3)


def numbered(*numbers: int) -> dict[int, Arrival]:
    return {number: arrival(SUBSCRIPTION, "calls", identity=str(number)) for number in numbers}


def test_of_a_bulk_each_event_has_its_own_outcome(intake: Intake, table: MemoryTable) -> None:
    """What is unavailable has no reason: it is not known to be in the log."""
    begin = table.writes
    table.faults.unavailable = lambda number: number - begin in {1, 3}
    arrivals = {number: arrival(SUBSCRIPTION, "nothing", identity=str(number)) for number in range(5)}
    receipt = intake.take_each(ACCOUNT, arrivals)
    outcomes = list(receipt.outcomes.values())
    assert (outcomes.count(Outcome.NEW), outcomes.count(Outcome.UNAVAILABLE)) == (3, 2)
    assert {place: receipt.outcomes[place] for place in receipt.unmatched} == {
        place: Outcome.NEW for place, outcome in receipt.outcomes.items() if outcome is Outcome.NEW
    }


def test_a_table_that_takes_none_of_the_first_events_is_not_asked_for_the_others(
    intake: Intake, table: MemoryTable
) -> None:
    begin = table.writes
    table.faults.unavailable = lambda _: True
    with pytest.raises(StoreUnavailableError):
        intake.take_each(ACCOUNT, numbered(*range(200)))
    assert table.writes - begin == IN_FLIGHT


def test_a_new_bulk_looks_nothing_up(
    intake: Intake, table: MemoryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not exist costs a read unit, too."""
    looked_up: list[object] = []
    batch_get = table.batch_get

    def counting(keys: Iterable[Key], *, consistent: bool = False) -> dict[Key, Row]:
        wanted = list(keys)
        looked_up.extend(key for key in wanted if "#events#" in key.pk)
        return batch_get(wanted, consistent=consistent)

    monkeypatch.setattr(table, "batch_get", counting)
    intake.take_each(ACCOUNT, numbered(*range(200)))
    assert looked_up == []
    intake.take_each(ACCOUNT, numbered(*range(200)))
    assert looked_up != []


def test_a_bulk_that_is_sent_again_puts_what_is_not_there_and_few_others(
    intake: Intake, table: MemoryTable
) -> None:
    """The first, which show that it is sent again, and as many as are put beside the look-ups."""
    intake.take_each(ACCOUNT, numbered(*range(300)))
    writes, items = table.writes, table.cost.items
    receipt = intake.take_each(ACCOUNT, numbered(*range(400)))
    assert receipt.outcomes == dict.fromkeys(range(300), Outcome.DUPLICATE) | dict.fromkeys(
        range(300, 400), Outcome.NEW
    )
    assert table.writes - writes == IN_FLIGHT + 100
    assert table.cost.items - items == 300 - IN_FLIGHT


def test_what_is_stored_is_acknowledged_though_the_catalogue_does_not_answer(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why it counts nowhere is then left out."""

    def fail(_: str) -> None:
        raise StoreUnavailableError("throttled")

    monkeypatch.setattr(intake.table, "ids_in", fail)
    receipt = intake.take_each(ACCOUNT, {0: arrival(SUBSCRIPTION, "nothing")})
    assert (receipt.outcomes, receipt.unmatched) == ({0: Outcome.NEW}, {})
    batch = intake.take_all_or_none(ACCOUNT, {0: arrival(SUBSCRIPTION, "nothing", identity="other")})
    assert (batch.outcomes, batch.unmatched) == ({0: Outcome.NEW}, {})
