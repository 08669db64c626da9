"""What a batch of events knows of its subjects and customers after each of its transactions."""

from meterstone.store.catalogue.guards import Guard
from meterstone.store.catalogue.subjects import CustomerState, Standing, SubjectState
from meterstone.store.dynamodb.keys import Key
from meterstone.usage.arrival import AHEAD, Subject
from support.memory_table import MemoryTable

NOW = 1_700_000_000_000_000
ONE, OTHER = Subject.subscription("one"), Subject.subscription("other")
OF_ONE, OF_OTHER, OF_CUSTOMER = Key("one", "s"), Key("other", "s"), Key("customer", "c")


def standing() -> Standing:
    """Two subjects of one customer, for whom nothing was counted."""
    found = Standing(MemoryTable(), NOW)
    found.subjects = {ONE: SubjectState(OF_ONE, 3, latest=10), OTHER: SubjectState(OF_OTHER, 4)}
    found.customers = {"customer": CustomerState(OF_CUSTOMER, 5, counted=False, begun=None, facts=None)}
    return found


def test_what_one_transaction_has_noted_the_next_one_expects() -> None:
    found = standing()
    first = list(found.guards({ONE: 20}, "customer", NOW))
    assert first == [
        Guard(OF_ONE, {"ver": 3, "latest_at": 10}, {"latest_at": 20}),
        Guard(OF_CUSTOMER, {"rev": 5, "counted": None, "begun_at": None}, {"counted": 1, "begun_at": NOW}),
    ]
    found.wrote(first)
    assert list(found.guards({ONE: 20, OTHER: 15}, "customer", NOW - AHEAD)) == [
        Guard(OF_ONE, {"ver": 3}),
        Guard(OF_OTHER, {"ver": 4, "latest_at": None}, {"latest_at": 15}),
    ]
    assert list(found.guards({ONE: 30}, "customer", NOW + 1)) == [
        Guard(OF_ONE, {"ver": 3, "latest_at": 20}, {"latest_at": 30}),
        Guard(OF_CUSTOMER, {"rev": 5, "begun_at": NOW}, {"begun_at": NOW + 1}),
    ]


def test_a_guard_that_notes_nothing_changes_nothing() -> None:
    found = standing()
    found.wrote([Guard(OF_ONE, {"ver": 3}), Guard(OF_CUSTOMER, {"rev": 5})])
    assert list(found.guards({ONE: 20}, "customer", None)) == [
        Guard(OF_ONE, {"ver": 3, "latest_at": 10}, {"latest_at": 20}),
        Guard(OF_CUSTOMER, {"rev": 5, "counted": None}, {"counted": 1}),
    ]
