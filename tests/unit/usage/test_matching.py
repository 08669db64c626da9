"""Which charges an event belongs to: by its name, its time, and what the meter makes of it."""

from copy import replace

import pytest

from meterstone.usage.aggregation import observe
from meterstone.usage.matching import Match, Matching
from meterstone.usage.meter import Aggregation, Event, Filter, Meter, Observation, Uncounted
from meterstone.usage.subscription import Subscription
from meterstone.usage.tally import TallyKey
from support.one_subscription import at, item_of, meter_of, subscription_of

SUM = meter_of(Aggregation.SUM)
FAXES = replace(SUM, id="faxes", code="faxes", event_name="fax")
SEATS = replace(SUM, id="seats", code="seats", recurring=True)
GERMAN = replace(SUM, id="german", code="german", filters=(Filter("country", ("DE",)),))
#: A fee without usage, calls, calls until March, calls from March, faxes, recurring calls, and German calls.
SUBSCRIPTION = subscription_of(
    item_of(None, name="fee"),
    item_of(SUM, name="calls"),
    item_of(SUM, end="03-01T12:00", name="old"),
    item_of(SUM, start="03-01T12:00", name="new"),
    item_of(FAXES, name="faxes"),
    item_of(SEATS, name="seats"),
    item_of(GERMAN, name="german"),
    start="01-01",
    end="06-01",
)


def event(when: str, name: str = "call", **properties: object) -> Event:
    return Event("e", name, at(when), {"value": 2} | properties)  # type: ignore[arg-type]


def matches(given: Event, subscription: Subscription = SUBSCRIPTION) -> list[Match]:
    return list(Matching().matches(given, subscription))


@pytest.mark.parametrize(
    ("given", "items"),
    [
        pytest.param(event("02-10"), ["calls", "old", "seats"], id="each line item of its name"),
        pytest.param(event("2024-03-01T11:59:59.999999"), ["calls", "old", "seats"], id="before one ends"),
        pytest.param(event("03-01T12:00"), ["calls", "new", "seats"], id="when another begins"),
        pytest.param(event("02-10", country="DE"), ["calls", "old", "seats", "german"], id="a filter"),
        pytest.param(
            event("02-10", country="FR"), ["calls", "old", "seats"], id="a filter that leaves it out"
        ),
        pytest.param(event("02-10", "fax"), ["faxes"], id="another name"),
        pytest.param(event("02-10", "letter"), [], id="a name that no meter has"),
        pytest.param(event("2023-12-31T23:59"), [], id="before the subscription"),
        pytest.param(event("06-01"), [], id="when the subscription has ended"),
    ],
)
def test_an_event_belongs_to_the_line_items_of_its_name_and_time(given: Event, items: list[str]) -> None:
    assert [match.charge.item.id for match in matches(given)] == items


@pytest.mark.parametrize(
    ("given", "start", "key_start"),
    [
        pytest.param(event("02-10"), "02-01", "02-01", id="within a billing period"),
        pytest.param(event("03-01"), "03-01", "03-01", id="when a billing period begins"),
        pytest.param(event("2024-02-29T23:59:59.999999"), "02-01", "02-01", id="its last microsecond"),
    ],
)
def test_an_event_belongs_to_the_billing_period_that_holds_it(
    given: Event, start: str, key_start: str
) -> None:
    plain, _, seats = matches(given)

    assert plain.charge.period.start == seats.charge.period.start == at(start)
    assert plain.key == TallyKey("sub", "m", "calls", at(key_start))
    assert seats.key == TallyKey("sub", "seats", None, 0), "a recurring meter has one tally for all periods"


def test_events_are_matched_alike_in_any_order() -> None:
    matching = Matching()
    given = [event(when) for when in ("02-10", "03-10", "02-11", "01-02", "05-31", "02-12")]
    found = [list(matching.matches(each, SUBSCRIPTION)) for each in given]

    for each, match in zip(given, found, strict=True):
        fresh = matches(each)
        assert [(it.charge.item.id, it.charge.period, it.key, it.seen) for it in match] == [
            (it.charge.item.id, it.charge.period, it.key, it.seen) for it in fresh
        ]


@pytest.mark.parametrize(
    ("value", "counted"),
    [pytest.param(2, True, id="a number"), pytest.param("many", False, id="no number")],
)
def test_what_the_meter_cannot_use_is_matched_as_uncounted(value: object, *, counted: bool) -> None:
    given = event("02-10", "fax", value=value)
    (match,) = matches(given)

    assert isinstance(match.seen, Observation if counted else Uncounted)
    assert Matching().expects(given, [SUBSCRIPTION])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(event("02-10"), True, id="a line item of its name"),
        pytest.param(event("02-10", "letter"), False, id="a name that no meter has"),
        pytest.param(event("06-01"), False, id="when the subscription has ended"),
    ],
)
def test_an_event_is_expected_where_a_line_item_is_for_its_name_and_time(
    given: Event, *, expected: bool
) -> None:
    other = replace(subscription_of(), id="other")

    assert Matching().expects(given, [other, SUBSCRIPTION]) is expected
    assert not Matching().expects(given, [other])


def test_an_event_that_a_filter_leaves_out_is_not_expected() -> None:
    filtered = subscription_of(item_of(GERMAN))
    given = event("02-10", country="FR")

    assert not Matching().expects(given, [filtered])
    assert matches(given, filtered) == []


def test_a_subscription_that_changed_is_looked_at_anew() -> None:
    matching = Matching()
    assert len(list(matching.matches(event("02-10", "fax"), SUBSCRIPTION))) == 1

    ended = replace(SUBSCRIPTION, end=at("02-01"))
    assert list(matching.matches(event("02-10", "fax"), ended)) == []
    assert len(list(matching.matches(event("02-10", "fax"), SUBSCRIPTION))) == 1


BOTH = Meter("m1", "calls", "Calls", Aggregation.COUNT, "call")
ONE = Meter("m2", "faxes", "Faxes", Aggregation.COUNT, "faxes")


@pytest.mark.parametrize(
    ("meter", "name", "counts"),
    [
        pytest.param(BOTH, "call", True, id="its event name"),
        pytest.param(BOTH, "calls", True, id="its code"),
        pytest.param(BOTH, "m1", False, id="its id"),
        pytest.param(BOTH, "Calls", False, id="another case of its code"),
        pytest.param(BOTH, "faxes", False, id="another meter's code"),
        pytest.param(ONE, "faxes", True, id="its event name, which is its code"),
        pytest.param(ONE, "call", False, id="another meter's event name"),
    ],
)
def test_a_meter_counts_events_of_its_event_name_and_of_its_code(
    meter: Meter, name: str, *, counts: bool
) -> None:
    event = Event("e", name, at("02-10"), {})
    subscription = subscription_of(item_of(meter))
    matching = Matching()

    assert isinstance(observe(meter, event), Observation) is counts
    assert [match.charge.meter for match in matching.matches(event, subscription)] == [meter] * counts
    assert matching.expects(event, [subscription]) is counts


def test_an_event_is_counted_once_by_each_meter_that_it_names() -> None:
    other = Meter("m3", "calls", "Calls, too", Aggregation.COUNT, "call")
    subscription = subscription_of(item_of(BOTH, name="one"), item_of(other, name="other"))

    for name in ("call", "calls"):
        found = Matching().matches(Event("e", name, at("02-10"), {}), subscription)
        assert [match.charge.item.id for match in found] == ["one", "other"]
