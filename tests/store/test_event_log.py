"""The event log, in memory and on an engine: what is new is logged once, and what is not is told apart."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from meterstone.store import StoreUnavailableError
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import ConflictError, Table, WriteRefusedError, key_item
from meterstone.store.events.log import EventLog, ImportedEvent
from meterstone.store.operations.import_records import ImportRecord, Source
from meterstone.store.operations.load import create_table, have_events
from meterstone.usage.arrival import Arrival, Outcome, Subject
from meterstone.usage.meter import Event
from meterstone.usage.tally import Position
from support.memory_table import MemoryTable
from support.stack import database

NEW, DUPLICATE, CONFLICT = Outcome.NEW, Outcome.DUPLICATE, Outcome.CONFLICT


@pytest.fixture(scope="module")
def engine() -> Iterator[Table]:
    with database() as table:
        create_table(table)
        yield table


@pytest.fixture(params=["memory", pytest.param("engine", marks=pytest.mark.engine)])
def table(request: pytest.FixtureRequest) -> Table:
    found: Table = MemoryTable() if request.param == "memory" else request.getfixturevalue("engine")
    return found


@pytest.fixture
def log(table: Table) -> EventLog:
    """Give the log of an organization of the test's own."""
    return EventLog(table, f"o-{uuid4()}")


def arrival(
    identity: str, *, says: int = 0, subject: str = "t", at: int | None = 5, now: int = 10
) -> Arrival:
    event = Event(identity, "calls", now if at is None else at, {"n": says})
    return Arrival.of(Subject.customer(subject), event, now, {}, dated=at is not None)


def numbered(*arrivals: Arrival) -> dict[int, Arrival]:
    return dict(enumerate(arrivals))


def logged(log: EventLog, *arrivals: Arrival) -> list[str | None]:
    """Give what the log holds under the ids of arrivals."""
    items = [log._table.get(log._arrival_key(each), consistent=True) for each in arrivals]
    return [None if item is None else item["e"].S for item in items]


A, B, C = arrival("a"), arrival("b"), arrival("c")
OTHER_A = arrival("a", says=1)


@pytest.mark.parametrize(
    ("before", "now", "outcomes"),
    [
        pytest.param([], [A], {0: NEW}, id="new"),
        pytest.param([A], [A], {0: DUPLICATE}, id="duplicate"),
        pytest.param([A], [OTHER_A], {0: CONFLICT}, id="conflict"),
        pytest.param([A], [arrival("a", now=20)], {0: DUPLICATE}, id="duplicate, later"),
        pytest.param([arrival("a", at=None)], [arrival("a", at=None, now=99)], {0: DUPLICATE}, id="undated"),
        pytest.param([arrival("a", at=None)], [arrival("a", at=10)], {0: CONFLICT}, id="undated, then dated"),
        pytest.param([A], [arrival("a", subject="u")], {0: NEW}, id="another customer"),
        pytest.param([B], [A, B, C], {0: NEW, 1: DUPLICATE, 2: NEW}, id="one of three"),
        pytest.param([], [A, A], {0: NEW, 1: DUPLICATE}, id="twice"),
        pytest.param([], [A, OTHER_A], {0: NEW, 1: CONFLICT}, id="twice, otherwise"),
        pytest.param([], [A, OTHER_A, A], {0: NEW, 1: CONFLICT, 2: DUPLICATE}, id="three times"),
        pytest.param([A], [OTHER_A, A], {0: CONFLICT, 1: DUPLICATE}, id="twice, the second as logged"),
        pytest.param([OTHER_A], [A, A, OTHER_A], {0: CONFLICT, 1: CONFLICT, 2: DUPLICATE}, id="mixed"),
        pytest.param([], [arrival("a#b"), arrival("a%23b")], {0: NEW, 1: NEW}, id="separators in ids"),
        pytest.param([], [arrival("x" * 254 + "y"), arrival("x" * 255)], {0: NEW, 1: NEW}, id="long ids"),
    ],
)
def test_each_for_itself(
    log: EventLog, before: list[Arrival], now: list[Arrival], outcomes: Mapping[int, Outcome]
) -> None:
    log.append_each(numbered(*before))
    stood = logged(log, *before)
    assert log.append_each(numbered(*now)) == outcomes
    assert logged(log, *before) == stood
    new = [each for place, each in enumerate(now) if outcomes[place] is NEW]
    assert logged(log, *new) == [each.content for each in new]


@pytest.mark.parametrize(
    ("before", "now", "outcomes"),
    [
        pytest.param([], [A], {0: NEW}, id="one"),
        pytest.param([], [A, B, C], {0: NEW, 1: NEW, 2: NEW}, id="three"),
        pytest.param([B], [A, B, C], {1: DUPLICATE}, id="one stands there"),
        pytest.param([A, B], [OTHER_A, B, C], {0: CONFLICT, 1: DUPLICATE}, id="two stand there"),
        pytest.param([], [A, B, A], {2: DUPLICATE}, id="twice"),
        pytest.param([], [A, OTHER_A, B], {1: CONFLICT}, id="twice, otherwise"),
        pytest.param([B], [A, A, B], {1: DUPLICATE, 2: DUPLICATE}, id="twice, and one stands there"),
        pytest.param([A], [OTHER_A, A], {0: CONFLICT, 1: CONFLICT}, id="twice, and there otherwise"),
    ],
)
def test_all_or_none(
    log: EventLog, before: list[Arrival], now: list[Arrival], outcomes: Mapping[int, Outcome]
) -> None:
    log.append_each(numbered(*before))
    stood = logged(log, A, B, C)
    assert log.append_all_or_none(numbered(*now)) == outcomes
    if set(outcomes.values()) == {NEW}:
        assert logged(log, *now) == [each.content for each in now]
    else:
        assert logged(log, A, B, C) == stood


def test_a_hundred_at_once(log: EventLog) -> None:
    arrivals = numbered(*(arrival(str(number)) for number in range(100)))
    assert log.append_all_or_none(arrivals) == dict.fromkeys(range(100), NEW)
    assert log.append_all_or_none({100: arrival("new"), 7: arrivals[7]}) == {7: DUPLICATE}
    assert logged(log, arrival("new")) == [None]


def test_a_thousand_each(log: EventLog) -> None:
    arrivals = numbered(*(arrival(str(number)) for number in range(1000)))
    assert set(log.append_each(arrivals).values()) == {NEW}
    assert set(log.append_each(arrivals).values()) == {DUPLICATE}


def test_places_need_not_be_in_a_row(log: EventLog) -> None:
    assert log.append_each({7: A, 3: B}) == {7: NEW, 3: NEW}


@pytest.mark.parametrize("together", [0, 1], ids=["each", "all or none"])
def test_a_withdrawn_id_is_not_free_again(log: EventLog, together: int) -> None:
    append = log.append_all_or_none if together else log.append_each
    log._table.put(log._arrival_item(A, "mark") | {"w": {"N": "1"}})
    assert append({0: A}) == {0: CONFLICT}
    assert append({0: A, 1: A}) == {0: CONFLICT, 1: CONFLICT if not together else DUPLICATE}


def test_an_imported_event_that_is_posted_is_a_duplicate_and_the_other_way_round(log: EventLog) -> None:
    def entry(each: Arrival) -> ImportedEvent:
        return ImportedEvent(Position("i1", 7), each.subject, each.event)

    (imported,) = log.append([entry(A)])
    assert (imported.outcome, imported.position) == (NEW, Position("i1", 7))
    assert log.append_each({0: A, 1: OTHER_A}) == {0: DUPLICATE, 1: CONFLICT}
    log.append_each({0: B})
    (posted,) = log.append([entry(B)])
    assert (posted.outcome, posted.position) == (DUPLICATE, None)
    (other,) = log.append([entry(arrival("b", says=1))])
    assert other.outcome is CONFLICT


def test_nothing_is_logged_when_the_guard_does_not_hold(table: Table) -> None:
    organization = f"o-{uuid4()}"
    record = ImportRecord(Source("file", "ab" * 32), 0, run=1)
    record = record.write(table, organization)
    log = EventLog(table, organization, record.guard(table, organization))
    entries = [
        ImportedEvent(Position("i1", number), each.subject, each.event) for number, each in enumerate((A, B))
    ]
    assert [each.outcome for each in log.append(entries[:1])] == [NEW]
    assert [each.outcome for each in log.append(entries)] == [DUPLICATE, NEW]
    record._replace(run=2).write(table, organization)
    with pytest.raises(BusyError, match="another run of the import of file has begun"):
        record._replace(line=9).write(table, organization)
    later = ImportedEvent(Position("i1", 2), C.subject, C.event)
    for several in ([later], [*entries, later], entries):
        with pytest.raises(ConflictError):
            log.append(several)
    assert logged(log, C) == [None]


def test_targets_that_have_events_are_told_apart(log: EventLog, table: Table) -> None:
    log.append_each({0: A, 1: arrival("b", subject="u")})
    asked = [Subject.customer("t"), Subject.customer("u"), Subject.customer("v"), Subject.subscription("t")]
    assert have_events(table, log._organization_id, asked) == set(asked[:2])
    assert have_events(table, log._organization_id, []) == set()


def test_an_undated_event_is_not_what_a_file_says(log: EventLog) -> None:
    log.append_each({0: arrival("a", at=None)})
    (posted,) = log.append(
        [ImportedEvent(Position("i1", 1), Subject.customer("t"), arrival("a", at=10).event)]
    )
    assert posted.outcome is CONFLICT


@pytest.mark.parametrize("together", [0, 1], ids=["each", "all or none"])
def test_of_several_writers_at_once_one_logs_an_event(engine: Table, together: int) -> None:
    organization = f"o-{uuid4()}"
    arrivals = numbered(*(arrival(str(number)) for number in range(20)))

    def write(_: int) -> dict[int, Outcome]:
        log = EventLog(engine, organization)
        return log.append_all_or_none(arrivals) if together else log.append_each(arrivals)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(write, range(4)))
    for place in arrivals:
        assert sorted(each[place] for each in outcomes) == [DUPLICATE] * 3 + [NEW]


type Call = Callable[..., Any]


def repeating(call: Call) -> Call:
    """Give a call that loses its first answer and is made again, as botocore does by itself."""

    def twice(**request: Any) -> Any:
        call(**request)
        return call(**request)

    return twice


def failing(error: Exception) -> Call:
    def fail(**_: Any) -> Any:
        raise error

    return fail


def test_a_put_whose_answer_was_lost_knows_its_own_item(engine: Table) -> None:
    log = EventLog(engine, f"o-{uuid4()}")
    with mock.patch.object(engine.client, "put_item", repeating(engine.client.put_item)):
        assert log.append_each({0: A, 1: A, 2: B}) == {0: NEW, 1: DUPLICATE, 2: NEW}
    with mock.patch.object(
        engine.client, "transact_write_items", repeating(engine.client.transact_write_items)
    ):
        assert log.append_all_or_none({0: C}) == {0: NEW}
        assert log.append_all_or_none({0: C}) == {0: DUPLICATE}


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "PutItem")


@pytest.mark.parametrize(
    "error",
    [
        client_error("ProvisionedThroughputExceededException"),
        client_error("ThrottlingException"),
        client_error("RequestLimitExceeded"),
        client_error("InternalServerError"),
        ReadTimeoutError(endpoint_url="http://127.0.0.1"),
    ],
    ids=lambda error: error.response["Error"]["Code"] if isinstance(error, ClientError) else "time-out",
)
def test_what_is_not_stored_is_never_called_new(engine: Table, error: Exception) -> None:
    log = EventLog(engine, f"o-{uuid4()}")
    with (
        mock.patch.object(engine.client, "put_item", failing(error)),
        pytest.raises(StoreUnavailableError),
    ):
        log.append_each({0: A, 1: B})
    assert logged(log, A, B) == [None, None]


def test_a_put_waits_for_a_transaction_on_its_item(engine: Table) -> None:
    log = EventLog(engine, f"o-{uuid4()}")
    put, errors = engine.client.put_item, [client_error("TransactionConflictException")] * 3

    def contended(**request: Any) -> Any:
        if errors:
            raise errors.pop()
        return put(**request)

    with mock.patch.object(engine.client, "put_item", contended):
        assert log.append_each({0: A}) == {0: NEW}


@pytest.mark.parametrize(
    ("code", "raised"), [("ValidationException", WriteRefusedError), ("AccessDeniedException", ClientError)]
)
def test_a_fault_of_ours_is_no_outage(engine: Table, code: str, raised: type[Exception]) -> None:
    """Asked again it would not help: it is not answered with 503."""
    with mock.patch.object(engine.client, "put_item", failing(client_error(code))), pytest.raises(raised):
        EventLog(engine, "o").append_each({0: A})


def test_keys_are_the_events_own(log: EventLog, table: Table) -> None:
    log.append_each({0: A})
    key = log._arrival_key(A)
    assert key.pk == f"{log._organization_id}#events#c#t"
    assert key.sk == "a"
    assert key_item(key).items() <= log._arrival_item(A, "mark").items()
    assert table.get(key, consistent=True) is not None
