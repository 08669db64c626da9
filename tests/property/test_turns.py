"""The hour of many organizations: each has its turn, whatever becomes of another's.

The queue is moto's, behind the client that the function makes. `drain` does what Lambda's event source does with
it: one message at a time, deleted if the function returns, visible again if it raises.
"""

import json
from collections.abc import Callable, Iterator
from copy import replace
from dataclasses import dataclass, field
from decimal import Decimal
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

from meterstone.store.catalogue.accounts import Account, read_account
from meterstone.store.catalogue.subjects import Subjects
from meterstone.store.counting.fold import EventToCount, Fold, addition
from meterstone.store.counting.stream import StreamFold
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import Item, StoreUnavailableError, WriteRefusedError, key_item
from meterstone.usage.arrival import Subject
from meterstone.usage.charge import DayAmount
from meterstone.usage.instant import DAY, HOUR, SECOND, key_instant
from meterstone.usage.meter import Aggregation, Event, Meter
from meterstone.usage.period import BillingPeriod
from meterstone.usage.subscription import Organization
from meterstone.usage.tally import Position
from support.functions import forget_logger, load_over
from support.memory_table import Killed, MemoryTable
from support.small_world import FLAT, START, subscription
from support.stream import record
from support.written import write_catalogue

NOW = START + 2 * DAY
LEVEL = Meter("level", "level", "Level", Aggregation.WEIGHTED_SUM, "call", "value")
URL = "ROLL_QUEUE_URL"


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    now: int = NOW

    def __call__(self) -> int:
        return self.now


class TroubledTable(MemoryTable):
    """A table some of whose partitions are trouble, and that tells of each transaction before it happens."""

    def __init__(self) -> None:
        super().__init__()
        #: Asked with the partition of each item that is read, and of each that a transaction writes.
        self.on_read: Callable[[str], None] = lambda _: None
        self.on_write: Callable[[str], None] = lambda _: None
        self.before_transaction: Callable[[], None] = lambda: None

    def _seen(self, pk: str, *, consistent: bool) -> Any:
        self.on_read(pk)
        return super()._seen(pk, consistent=consistent)

    def _outcome(self, action: Any) -> tuple[Key, Item | None, bool, Item | None]:
        found = super()._outcome(action)
        self.on_write(found[0].pk)
        return found

    def transact(self, actions: Any) -> None:
        self.before_transaction()
        super().transact(actions)


def name_of(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def account_of(table: MemoryTable, name: str) -> Account:
    account = read_account(table, name, consistent=True)
    assert account is not None
    return account


def add_organization(table: TroubledTable, number: int, tallies: int) -> None:
    """Load an organization of so many subscriptions, each with a level of 5 whose days the clock publishes."""
    name = name_of(number)
    subscriptions = [
        replace(
            subscription(BillingPeriod.MONTHLY, [(LEVEL, FLAT)]), id=f"s{each}", external_id=f"ext {each}"
        )
        for each in range(tallies)
    ]
    # What takes time is counting.
    waits, table.before_transaction = table.before_transaction, lambda: None
    write_catalogue(table, Organization(name, "Test"), (LEVEL,), subscriptions, ())
    table.before_transaction = waits
    account = account_of(table, name)
    events = [
        EventToCount(
            Position("shard", place),
            Subject.subscription(each.external_id),
            Event(f"e{place}", "call", START + HOUR, {"value": 5}),
            (each,),
        )
        for place, each in enumerate(subscriptions, start=1)
    ]
    standing = Subjects(table).standing(account, (each.subject for each in events), START + 2 * HOUR)
    Fold(table, name, account.generation).fold(events, START + 2 * HOUR, standing)


@dataclass
class Hours:
    """The function over a table, with its queue and its clock."""

    function: ModuleType
    table: TroubledTable
    clock: Clock
    sqs: Any
    url: str
    told: list[dict[str, Any]] = field(default_factory=list)

    def begin(self) -> None:
        """Do what the schedule does."""
        self.function.handler({}, None)

    def waiting(self) -> int:
        """Return how many messages are in the queue."""
        asked = self.sqs.get_queue_attributes(
            QueueUrl=self.url, AttributeNames=["ApproximateNumberOfMessages"]
        )
        return int(asked["Attributes"]["ApproximateNumberOfMessages"])

    def take_one(self) -> Exception | None:
        """Hand the next message to the function, and return what it raised."""
        received = self.sqs.receive_message(
            QueueUrl=self.url, AttributeNames=["All"], MaxNumberOfMessages=1, WaitTimeSeconds=0
        )
        (message,) = received["Messages"]
        handle = message["ReceiptHandle"]
        record = {"body": message["Body"], "attributes": message["Attributes"]}
        try:
            self.function.handler({"Records": [record]}, None)
        except (Exception, Killed) as error:  # noqa: BLE001 - whatever the function raises
            self.sqs.change_message_visibility(QueueUrl=self.url, ReceiptHandle=handle, VisibilityTimeout=0)
            return error if isinstance(error, Exception) else RuntimeError("killed")
        self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=handle)
        return None

    def drain(self, most: int = 1000) -> list[Exception]:
        """Hand out all messages, and return what the function raised."""
        raised = []
        while self.waiting():
            assert most > 0, "it never ends"
            most -= 1
            if error := self.take_one():
                raised.append(error)
        return raised

    def due(self, number: int) -> int:
        """Return how many tallies of an organization are due."""
        return len(self.table.due(keys.due(name_of(number), "1"), key_instant(self.clock.now)))


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hours]:
    forget_logger("roll-usage")
    for name, value in {
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }.items():
        monkeypatch.setenv(name, value)
    # Another test's session may be older than the mock, and then goes past it.
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    with mock_aws():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="turns")["QueueUrl"]
        monkeypatch.setenv(URL, url)
        table, clock = TroubledTable(), Clock()
        monkeypatch.setattr("meterstone.clock.now", clock)
        function = load_over("roll_usage", table, monkeypatch)
        found = Hours(function, table, clock, sqs, url)

        def tell(text: str, extra: dict[str, Any]) -> None:
            found.told.append({"text": text} | extra)

        for level in ("info", "warning", "exception"):
            monkeypatch.setattr(function.logger, level, tell, raising=False)
        yield found


def many(hours: Hours, organizations: int, tallies: int = 2) -> None:
    for number in range(organizations):
        add_organization(hours.table, number, tallies)


def undisturbed(hours: Hours) -> dict[Key, Item]:
    """Return what the table holds after an hour in which nothing goes wrong."""
    table = hours.table.copy()
    for organization in {key.sk for key in table.items() if key.pk == "organizations"}:
        Fold(table, organization, "1").roll(account_of(table, organization), hours.clock.now)
    return counted(table)


def counted(table: MemoryTable) -> dict[Key, Item]:
    """Return what is counted and published in all organizations."""
    return {key: item for key, item in table.items().items() if {"usage", "rollup"} & set(key.pk.split("#"))}


def test_a_few_organizations_have_their_turns_in_the_call_itself(hours: Hours) -> None:
    many(hours, 25)
    after = undisturbed(hours)
    hours.begin()
    assert hours.waiting() == 0
    assert counted(hours.table) == after
    assert [hours.due(number) for number in range(25)] == [0] * 25


def test_tallies_that_a_stopped_put_has_left_asleep_are_woken_in_the_organization_s_turn(
    hours: Hours,
) -> None:
    many(hours, 2, tallies=1)
    hours.clock.now += HOUR
    hours.begin()
    hours.told.clear()
    name = name_of(1)
    mark = {":of": {"S": keys.unwoken(name)}, ":at": {"S": key_instant(hours.clock.now)}}
    hours.table.update(keys.subscription(name, "s0"), "SET due_pk = :of, due_at = :at", mark)
    hours.begin()
    woken = [each for each in hours.told if each["text"] == "woken"]
    assert woken == [{"text": "woken", "organization": name, "subscriptions": 1}]
    assert not hours.table.due(keys.unwoken(name), key_instant(hours.clock.now + DAY))


def test_rollups_of_months_that_are_over_are_merged_once_a_day(hours: Hours) -> None:
    many(hours, 30, tallies=0)
    key = Key(keys.rollup_partition(name_of(7), "1", "T", ()), keys.rollup("2020-02", "usd", "m", None, 3))
    hours.table.transact([addition(hours.table.name, key, {2: DayAmount(Decimal(5), 7)}, 0)])
    for number in range(2 * 24):
        hours.clock.now = NOW + number * HOUR
        hours.begin()
        assert hours.drain() == []
    merged = [each for each in hours.told if each["text"] == "merged"]
    assert sorted(each["organization"] for each in merged) == sorted([*map(name_of, range(30))] * 2)
    # It was moved on the first day, and deleted on the second.
    assert [each["items"] for each in merged if each["organization"] == name_of(7)] == [1, 1]
    first = Key(key.pk, keys.rollup_of_first_writer(key.sk))
    rollups = {each: item for each, item in hours.table.items().items() if each.pk == key.pk}
    assert rollups.keys() == {first}
    assert (rollups[first]["u02"], rollups[first]["a02"]) == ({"N": "5"}, {"N": "7"})


def test_of_many_organizations_each_is_in_one_message_and_has_its_turn(hours: Hours) -> None:
    many(hours, 60)
    after = undisturbed(hours)
    before = counted(hours.table)
    hours.begin()
    assert hours.waiting() == 3
    assert counted(hours.table) == before
    assert hours.drain() == []
    assert counted(hours.table) == after
    rolled = [(each["organization"], each["ledgers"]) for each in hours.told if each["text"] == "rolled"]
    assert sorted(rolled) == [(name_of(number), 2) for number in range(60)]
    # The alarms want one number of all organizations, and not one of each message.
    assert len([each for each in hours.told if each["text"] == "uncounted"]) == 7


def test_uncounted_events_of_all_organizations_are_told_of_together(hours: Hours) -> None:
    many(hours, 60, tallies=0)
    for number in range(60):
        key = keys.uncounted_numbers(name_of(number))
        hours.table.put(
            {"pk": {"S": key.pk}, "sk": {"S": key.sk}, "n_code_g1": {"N": "3"}, "n_code_g2": {"N": "9"}}
        )
    hours.begin()
    told = {each["reason"]: each["UncountedEvents"] for each in hours.told if each["text"] == "uncounted"}
    assert told["code"] == 180


def test_another_order_every_hour(hours: Hours) -> None:
    many(hours, 60, tallies=0)
    orders = []
    for hour in range(2):
        hours.clock.now = NOW + hour * HOUR
        hours.begin()
        told = len(hours.told)
        hours.drain()
        orders.append([each["organization"] for each in hours.told[told:] if each["text"] == "rolled"])
    assert [sorted(each) for each in orders] == [[name_of(number) for number in range(60)]] * 2
    assert orders[0] != orders[1]


def spoil_document(hours: Hours, number: int) -> None:
    hours.table.update(
        keys.subscription(name_of(number), "s0"), "SET terms = :doc", {":doc": {"S": '{"id": 7}'}}
    )


def spoil_profile(hours: Hours, number: int) -> None:
    hours.table.update(
        keys.organization(name_of(number), "profile"), "SET doc = :doc", {":doc": {"S": "no JSON"}}
    )


def failing(error: Exception, *, written: bool) -> Callable[[Hours, int], None]:
    def spoil(hours: Hours, number: int) -> None:
        def ask(pk: str) -> None:
            if pk.startswith(f"{name_of(number)}#1#usage"):
                raise error

        setattr(hours.table, "on_write" if written else "on_read", ask)

    return spoil


FAILURES = [
    pytest.param(spoil_document, id="a document that cannot be read"),
    pytest.param(spoil_profile, id="a profile that cannot be read"),
    pytest.param(failing(WriteRefusedError("no"), written=True), id="refused"),
    pytest.param(failing(StoreUnavailableError("away"), written=False), id="unavailable"),
    pytest.param(failing(BusyError("busy"), written=False), id="busy"),
    pytest.param(failing(MemoryError(), written=True), id="whatever it is"),
]


@pytest.mark.parametrize("spoil", FAILURES)
def test_an_organization_that_fails_keeps_no_other_from_its_turn(
    hours: Hours, spoil: Callable[[Hours, int], None]
) -> None:
    many(hours, 60)
    spoil(hours, 7)
    hours.begin()
    for _ in range(3):
        assert hours.take_one() is None
    assert [number for number in range(60) if hours.due(number)] == [7]
    # It has a message of its own, which fails, and is delivered again.
    for _ in range(2):
        error = hours.take_one()
        assert type(error).__name__ == "TurnsFailedError"
        assert str(error).startswith(f"{name_of(7)}: ")
    assert hours.waiting() == 1


@pytest.mark.parametrize("spoil", FAILURES)
def test_a_failure_among_a_few_is_told_of_when_the_others_have_had_their_turn(
    hours: Hours, spoil: Callable[[Hours, int], None]
) -> None:
    many(hours, 5)
    spoil(hours, 2)
    with pytest.raises(hours.function.TurnsFailedError, match=f"^{name_of(2)}: "):
        hours.begin()
    assert [number for number in range(5) if hours.due(number)] == [2]
    assert len([each for each in hours.told if each["text"] == "uncounted"]) == 7


def test_every_hour_has_a_record_in_the_stream_of_which_nothing_is_counted(hours: Hours) -> None:
    written: list[Item] = []
    for _ in range(2):
        hours.begin()
        item = key_item(keys.heartbeat()) | hours.table.items()[keys.heartbeat()]
        # The stream has no record of a put that changes nothing.
        assert item not in written
        written.append(item)
        report = StreamFold(hours.table).fold([record(item, 1, "MODIFY")], "shard", hours.clock.now)
        assert (report.events, report.counted, report.poison) == (0, 0, [])
        hours.clock.now += HOUR


@pytest.fixture
def slow(hours: Hours) -> Hours:
    """Let each transaction take ten seconds."""

    def wait() -> None:
        hours.clock.now += 10 * SECOND

    hours.table.before_transaction = wait
    return hours


@pytest.mark.parametrize("organizations", [25, 26], ids=["in the call itself", "in a message"])
def test_a_large_organization_goes_on_after_the_others(slow: Hours, organizations: int) -> None:
    add_organization(slow.table, 0, 300)
    for number in range(1, organizations):
        add_organization(slow.table, number, 1)
    slow.begin()
    if organizations > 25:
        assert slow.take_one() is None
        assert slow.take_one() is None
    left = [slow.due(number) for number in range(organizations)]
    assert 0 < left[0] < 300
    assert left[1:] == [0] * (organizations - 1)
    assert slow.waiting() == 1
    assert slow.drain() == []
    assert slow.due(0) == 0


def test_without_a_queue_all_have_their_turns_in_one_call_and_what_is_left_in_the_next(
    slow: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(URL)
    add_organization(slow.table, 0, 300)
    for number in range(1, 40):
        add_organization(slow.table, number, 1)
    slow.begin()
    assert 0 < slow.due(0) < 300
    assert {"text": "time was up", "organizations": 1} in slow.told
    for _ in range(8):
        slow.clock.now += HOUR
        slow.begin()
    slow.table.before_transaction = lambda: None
    assert [slow.due(number) for number in range(1, 40)] == [0] * 39


@pytest.mark.parametrize("after", [True, False], ids=["after a write", "before a write"])
@pytest.mark.parametrize("write", [0, 9, 25])
def test_a_call_that_is_killed_is_made_up_for_by_messages_of_each_organization(
    hours: Hours, write: int, *, after: bool
) -> None:
    many(hours, 26)
    expected = undisturbed(hours)
    hours.begin()
    setattr(hours.table.faults, "after" if after else "before", hours.table.writes + write)
    raised = hours.drain()
    assert [str(each) for each in raised] == ["killed"]
    assert counted(hours.table) == expected


def test_a_message_that_comes_again_is_divided(hours: Hours) -> None:
    """The call before did not come to its end, and one of its organizations may be why."""
    many(hours, 26, tallies=1)
    hours.begin()
    hours.table.faults.before = hours.table.writes
    messages = hours.waiting()
    assert str(hours.take_one()) == "killed"
    told = len(hours.told)
    while hours.waiting() <= messages:
        assert hours.take_one() is None
    assert hours.waiting() in {25, 26}
    hours.drain()
    rolled = [each["organization"] for each in hours.told[told:] if each["text"] == "rolled"]
    assert sorted(rolled) == [name_of(number) for number in range(26)]


def test_organizations_that_time_does_not_reach_get_messages_of_their_own(hours: Hours) -> None:
    many(hours, 26, tallies=1)
    hours.begin()

    def wait() -> None:
        hours.clock.now += hours.function.ROLL

    hours.table.before_transaction = wait
    assert hours.take_one() is None
    hours.table.before_transaction = lambda: None
    assert hours.waiting() > 20 or hours.take_one() is None
    assert hours.drain() == []
    assert [hours.due(number) for number in range(26)] == [0] * 26


def test_a_turn_makes_some_progress_however_short_it_is(hours: Hours) -> None:
    add_organization(hours.table, 0, 150)
    fold, account = Fold(hours.table, name_of(0), "1"), account_of(hours.table, name_of(0))
    assert fold.roll(account, NOW, stop=lambda: True) == 100
    assert fold.roll(account, NOW, stop=lambda: True) == 50
    assert fold.roll(account, NOW, stop=lambda: True) == 0


@pytest.mark.parametrize("place", [0, 10, 25])
def test_two_calls_at_once_publish_each_day_once(hours: Hours, place: int) -> None:
    """The second call has all turns while the first is about to write."""
    many(hours, 26)
    expected = undisturbed(hours)
    hours.begin()
    count = 0

    def the_other() -> None:
        nonlocal count
        count += 1
        if count == place + 1:
            hours.table.before_transaction = lambda: None
            hours.begin()
            record = {
                "body": json.dumps({"organizations": list(map(name_of, range(26))), "over": NOW + HOUR})
            }
            record |= {"attributes": {"ApproximateReceiveCount": "1"}}  # type: ignore[dict-item]
            hours.function.handler({"Records": [record]}, None)

    hours.table.before_transaction = the_other
    assert hours.drain() == []
    assert count == place + 1
    assert counted(hours.table) == expected


@pytest.mark.parametrize(("late", "left"), [(0, 2), (-SECOND, 0)], ids=["the next hour has begun", "in time"])
def test_a_message_is_dropped_when_the_next_hour_has_sent_its_own(hours: Hours, late: int, left: int) -> None:
    many(hours, 1)
    many(hours, 26)
    hours.begin()
    hours.clock.now = NOW + HOUR + late
    assert hours.drain() == []
    assert {hours.due(number) for number in range(26)} == {left}


def test_a_queue_that_takes_only_some_messages_fails_the_hour(
    hours: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(hours, 26, tallies=0)
    refused = {"Successful": [], "Failed": [{"Id": "1", "Code": "InternalError"}]}
    monkeypatch.setattr(hours.sqs, "send_message_batch", lambda **_: refused)
    monkeypatch.setattr("boto3.client", lambda _: hours.sqs)
    with pytest.raises(hours.function.TurnsFailedError, match="the queue did not take 1 messages"):
        hours.begin()


@pytest.mark.long
@pytest.mark.slow
def test_an_hour_of_very_many_organizations(hours: Hours) -> None:
    """Most have nothing due, some a little, one very much, and one fails."""
    for number in range(3000):
        add_organization(hours.table, number, (number % 10 == 0) * 5)
    add_organization(hours.table, 3000, 5000)
    spoil_document(hours, 10)
    hours.begin()
    assert hours.waiting() == 121
    ways = 0
    while hours.waiting() > 1 and (ways := ways + 1) < 200:
        hours.take_one()
    assert [number for number in range(3001) if hours.due(number)] == [10]
