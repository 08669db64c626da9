"""A purged customer: ids and texts are gone, and what meters count is what it was, to the last digit."""

import json
from collections import Counter
from contextlib import suppress
from copy import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterstone.catalogue.management import Management
from meterstone.store.catalogue.recounts import Recount, made, read_recounts
from meterstone.store.catalogue.subscriptions import subscriptions_of_customer
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import UnreadableItemError
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import item_of, key_item
from meterstone.store.events.log import read_log
from meterstone.store.events.quarantine import Poison, list_poison
from meterstone.store.events.uncounted import read_numbers
from meterstone.store.events.unmatched import list_unmatched
from meterstone.store.operations.purge import PurgeReport, purge
from meterstone.store.operations.purge_records import read_purges
from meterstone.store.operations.rebuild import Surroundings, rebuild
from meterstone.store.operations.replay import KEPT
from meterstone.store.operations.withdraw import withdraw
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import HOUR
from meterstone.usage.subscription import Customer
from support.counting import describe, examples
from support.life import at_call
from support.memory_table import Faults, Killed, MemoryTable
from support.recounts import EVERY
from support.recovering import WAIT, Stream, refresh, small, streaming
from support.scenario import ORGANIZATION, Scenario, Usage, World, scenarios
from support.stored import memory, rich, stored
from support.written import write_catalogue

SECRET_NAME, CUSTOMER = "Erika Mustermann", "muster-gmbh"
#: After so many pauses of a purge the log has been moved, and its rebuild is at work.
MOVED_AFTER = 9


def ended(scenario: Scenario, customer: str) -> Scenario:
    """End a customer's subscriptions where the scenario ends."""
    end = max(scenario.end, *(usage.event.at + 1 for usage in scenario.usage))
    return replace(
        scenario,
        subscriptions=tuple(
            replace(each, end=each.end or max(end, each.start)) if each.customer_id == customer else each
            for each in scenario.subscriptions
        ),
    )


def counted(scenario: Scenario, customer: str, half: int) -> tuple[World, Stream]:
    """Count a scenario, half by an import and half by the stream; 49 hours have passed since."""
    world, stream = streaming(scenario)
    write_catalogue(
        world.table,
        ORGANIZATION,
        scenario.meters,
        scenario.subscriptions,
        [("customer", customer, Customer(customer, SECRET_NAME))],
    )
    world.load_refusing("file", scenario.usage[:half], scenario.end)
    stream.post(scenario.usage[half:])
    stream.deliver()
    stream.clock.now = (
        max(stream.clock.now, *(each.end or 0 for each in scenario.subscriptions)) + KEPT + HOUR
    )
    refresh(world).roll(stream.clock.now)
    return world, stream


def run(world: World, stream: Stream, customer: str) -> PurgeReport:
    return purge(world.table, ORGANIZATION.id, customer, stream.clock.around)


def rollups(world: World) -> dict[str, Any]:
    """Return the rollups of the live generation, added up over their writers."""
    found = stored(memory(world), refresh(world).account.generation)
    return {name: days for name, days in found.items() if name.startswith("rollup#")}


def shape(world: World, names: dict[str, str]) -> Counter[str]:
    """Return what is counted in the live generation but the rollups, texts and ids of the customer left out.

    States, published days, first instants and bits stay; the values of COUNT_UNIQUE do not.
    """
    found: Counter[str] = Counter()
    for name, item in stored(memory(world), refresh(world).account.generation).items():
        if not name.startswith("rollup#"):
            found[f"{_renamed(name, names)} {json.dumps(_anonymous(item), sort_keys=True, default=str)}"] += 1
    return found


def _renamed(name: str, names: dict[str, str]) -> str:
    """Return an item's name by new ids; of a value of COUNT_UNIQUE, all but the value."""
    for old, new in names.items():
        name = name.replace(keys.part(old), keys.part(new))
    kind = name.partition(" ")[2].partition("#")[0]
    return name.rpartition("#")[0] if kind in ("F", "U") else name


def _anonymous(item: Any) -> Any:
    if isinstance(item, list):
        return sorted([at, value] for at, value, _ in item)
    return {key: _without_ids(value) for key, value in item.items() if key not in ("s", "i")}


def _without_ids(value: Any) -> Any:
    """Leave the id out of the states of LATEST: time, id, value."""
    if not isinstance(value, dict) or "S" not in value or not value["S"].startswith("{"):
        return value

    def cut(state: Any) -> Any:
        return [state[0], state[2]] if isinstance(state, list) and len(state) == 3 else state

    states = json.loads(value["S"])
    return {key: cut(state) for key, state in states.items()}


def shared(scenario: Scenario, customer: str) -> bool:
    """Tell whether an external id of the customer is another customer's, too."""
    of = {each.external_id for each in scenario.subscriptions if each.customer_id == customer}
    return any(each.external_id in of for each in scenario.subscriptions if each.customer_id != customer)


def all_names(report: PurgeReport) -> dict[str, str]:
    return {**report.names.subscriptions, **report.names.line_items}


def mentions(table: MemoryTable, texts: set[str]) -> list[str]:
    """Return every item that has one of some texts as a whole part of its key, or in its JSON."""
    found: list[str] = []
    for key, item in table.items().items():
        parts = {*key.pk.split("#"), *key.sk.split("#")}
        said = json.dumps(item)
        if parts & {keys.part(text) for text in texts} or any(
            f'"{text}"' in said.replace("\\", "") for text in texts
        ):
            found.append(f"{key} {said}")
    return found


def texts_of(scenario: Scenario, customer: str) -> set[str]:
    """Return the ids and texts of a customer that nobody else has."""
    held = [each for each in scenario.subscriptions if each.customer_id == customer]
    subjects = {Subject.customer(customer), *(Subject.subscription(each.external_id) for each in held)}
    usage = [each for each in scenario.usage if each.subject in subjects]
    others = [each for each in scenario.usage if each.subject not in subjects]
    ids = {each.event.id for each in usage} - {each.event.id for each in others}
    return ids | {customer, SECRET_NAME, *(each.id for each in held), *(each.external_id for each in held)}


@examples(40)
@given(scenarios(), st.integers(0, 2**32))
def test_totals_are_the_same_to_the_last_digit_after_a_purge_and_after_another_rebuild(
    scenario: Scenario, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 - nothing secret
    customer = random.choice(sorted({each.customer_id for each in scenario.subscriptions}))
    scenario = ended(scenario, customer)
    describe(scenario)
    world, stream = counted(scenario, customer, random.randint(0, len(scenario.usage)))
    # What was counted so far is what a rebuild would count.
    rebuild(world.table, ORGANIZATION.id, stream.clock.around)
    totals = rollups(world)
    before = memory(world).copy()
    if shared(scenario, customer):
        with pytest.raises(BusyError, match="is also that of"):
            run(world, stream, customer)
        assert rollups(world) == totals
        return
    report = run(world, stream, customer)
    assert rollups(world) == totals
    after = shape(world, {})
    world.table, same = before, world.table
    assert shape(world, all_names(report)) == after
    world.table = same
    assert rebuild(world.table, ORGANIZATION.id, stream.clock.around).differences == []
    assert rollups(world) == totals


def prepared(scenario: Scenario) -> tuple[World, Stream, Scenario]:
    """Count a scenario of one customer, whose id no other item has."""
    (subscription,) = scenario.subscriptions
    named = replace(subscription, id="muster-1", external_id="muster-ext", customer_id=CUSTOMER)
    subject = Subject.subscription(named.external_id)
    batches = tuple(
        replace(batch, usage=tuple(replace(each, subject=subject) for each in batch.usage))
        for batch in scenario.batches
    )
    scenario = ended(replace(scenario, subscriptions=(named,), batches=batches), CUSTOMER)
    return *counted(scenario, CUSTOMER, len(scenario.usage) // 2), scenario


def test_nothing_in_the_table_has_a_purged_id_or_text() -> None:
    world, stream, scenario = prepared(rich())
    assert mentions(memory(world), texts_of(scenario, CUSTOMER))
    report = run(world, stream, CUSTOMER)
    assert report.events == len(scenario.usage)
    assert mentions(memory(world), texts_of(scenario, CUSTOMER)) == []
    assert read_purges(world.table, ORGANIZATION.id) == []
    # Its events are in the log under its new names, and the catalogue has it under these.
    (held,) = subscriptions_of_customer(world.table, ORGANIZATION.id, report.names.customer[1])
    log = keys.event(ORGANIZATION.id, "s", held.external_id, "").pk
    assert len(list(world.table.query(log, FIRST, LAST))) == len(scenario.usage)


def test_what_recounts_say_of_the_customer_s_subscriptions_goes() -> None:
    world, stream, scenario = prepared(rich())
    purged = next(each.id for each in scenario.subscriptions if each.customer_id == CUSTOMER)
    recount = Recount.of_plan("plan", 2, 0, stream.clock.now).refusing("other", "why")
    world.table.transact([made(world.table, ORGANIZATION.id, recount.refusing(purged, "is purged"))])
    run(world, stream, CUSTOMER)
    assert mentions(memory(world), texts_of(scenario, CUSTOMER)) == []
    assert read_recounts(world.table, ORGANIZATION.id)[0].reasons == (("other", "why"),)


@pytest.mark.slow
def test_killed_at_any_write_a_purge_runs_again_and_totals_are_right_meanwhile() -> None:
    world, stream, scenario = prepared(small())
    rebuild(world.table, ORGANIZATION.id, stream.clock.around)
    start, now = memory(world).copy(), stream.clock.now
    totals = rollups(world)
    first = memory(world).writes
    run(world, stream, CUSTOMER)
    writes = memory(world).writes - first
    numbers = read_numbers(world.table, ORGANIZATION.id, refresh(world).account.generation)
    for number in range(writes):
        world.table, stream.clock.now = start.copy(), now
        table = memory(world)
        table.faults = Faults(before=table.writes + number)
        with pytest.raises(Killed):
            run(world, stream, CUSTOMER)
        table.faults = Faults()
        assert rollups(world) == totals, number
        stream.clock.now += WAIT
        # The clock goes on meanwhile, and events that the stream delivers again change nothing.
        refresh(world).roll(stream.clock.now)
        if read_purges(table, ORGANIZATION.id):
            with pytest.raises(BusyError, match="purge"):
                rebuild(table, ORGANIZATION.id, stream.clock.around)
            stream.clock.now += WAIT
            run(world, stream, CUSTOMER)
        elif number < writes - 3:
            run(world, stream, CUSTOMER)
        assert rollups(world) == totals, number
        assert mentions(table, texts_of(scenario, CUSTOMER)) == [], number
        assert read_numbers(table, ORGANIZATION.id, refresh(world).account.generation) == numbers
        assert rebuild(table, ORGANIZATION.id, stream.clock.around).differences == []


@pytest.mark.parametrize("in_time", [True, False], ids=["delivered meanwhile", "delivered later"])
def test_an_event_that_comes_in_for_an_old_id_meanwhile_is_counted_under_the_new_one(
    *, in_time: bool
) -> None:
    world, stream, scenario = prepared(small())
    late = replace(
        scenario.usage[0],
        event=replace(scenario.usage[0].event, id="late", at=scenario.usage[0].event.at + 1),
    )
    without = len(scenario.usage)
    pauses = 0

    def sleep(seconds: float) -> None:
        nonlocal pauses
        stream.clock.sleep(seconds)
        pauses += 1
        if pauses == MOVED_AFTER:
            # The catalogue knows the old id no more, so the stream finds nobody whose event it is.
            stream.post([late])
            if in_time:
                stream.deliver()

    around = Surroundings(stream.clock, sleep)
    report = purge(world.table, ORGANIZATION.id, CUSTOMER, around)
    stream.deliver()
    assert pauses > MOVED_AFTER
    assert report.events == without + 1
    assert mentions(memory(world), texts_of(scenario, CUSTOMER) | {"late"}) == []
    assert not any(read_numbers(world.table, ORGANIZATION.id, refresh(world).account.generation).values())
    # The event counts in the totals: they are those of a table to which it came in time.
    other, its_stream, _ = prepared(small())
    its_stream.post([late])
    its_stream.deliver()
    refresh(other).roll(stream.clock.now)
    assert rollups(world) == rollups(other)


@pytest.mark.slow
def test_at_any_call_of_a_purge_an_event_comes_in_that_is_moved_or_listed() -> None:
    """What comes in when all was moved is nobody's, and waits under the id that it came for."""
    left = 0
    for number in range(0, 3000, min(EVERY, 3)):
        world, stream, scenario = prepared(small())
        late = replace(scenario.usage[0], event=replace(scenario.usage[0].event, id="late"))

        def come(stream: Stream = stream, late: Usage = late) -> None:
            stream.post([late])
            stream.deliver()

        with at_call(memory(world), number, come) as made, suppress(BusyError):
            # One that has just come in may keep it from beginning.
            run(world, stream, CUSTOMER)
        if not refresh(world).account.purges:
            continue
        if len(made) <= number:
            break
        log = list(read_log(world.table, ORGANIZATION.id, late.subject))
        waiting = [(each.subject, each.event.id) for each in list_unmatched(world.table, ORGANIZATION.id)]
        assert waiting == [(each.subject, each.event.id) for each in log], number
        left += len(log)
    assert left


def refused_for(world: World, stream: Stream) -> str:
    table, before = memory(world), memory(world).items()
    with pytest.raises(BusyError) as refused:
        purge(table, ORGANIZATION.id, CUSTOMER, stream.clock.around)
    profile = keys.organization(ORGANIZATION.id, "profile")
    after = table.items()
    assert before | {profile: {}} == after | {profile: {}}
    return str(refused.value)


def test_a_customer_whose_subscription_has_not_ended_is_not_purged() -> None:
    world, stream, scenario = prepared(small())
    open_ended = tuple(replace(each, end=None) for each in scenario.subscriptions)
    write_catalogue(world.table, ORGANIZATION, scenario.meters, open_ended, ())
    assert "the subscription muster-1 has not ended" in refused_for(world, stream)


def test_a_customer_whose_event_the_stream_may_still_deliver_is_not_purged() -> None:
    world, stream, scenario = prepared(small())
    stream.post([replace(scenario.usage[0], event=replace(scenario.usage[0].event, id="late"))])
    assert "the stream may still deliver it" in refused_for(world, stream)


def test_an_external_id_that_another_customer_has_too_keeps_both_from_being_purged() -> None:
    world, stream, scenario = prepared(small())
    (held,) = scenario.subscriptions
    other = replace(held, id="other", customer_id="other")
    write_catalogue(world.table, ORGANIZATION, scenario.meters, [held, other], ())
    assert "the external id muster-ext is also that of other" in refused_for(world, stream)


def test_what_was_purged_can_still_be_changed() -> None:
    world, stream, _ = prepared(small())
    names = run(world, stream, CUSTOMER).names
    management = Management(world.table, ORGANIZATION.id, stream.clock)
    assert management.merge("customer", names.customer[1], {"name": "kept"}).changed
    for new in names.subscriptions.values():
        assert management.merge("subscription", new, {"name": "kept"}).changed


def test_a_customer_that_nobody_knows_is_not_purged() -> None:
    world, stream, _ = prepared(small())
    with pytest.raises(BusyError, match="no customer of that id"):
        purge(world.table, ORGANIZATION.id, "nobody", stream.clock.around)


def test_a_dry_run_counts_the_events_and_changes_nothing() -> None:
    world, stream, scenario = prepared(small())
    before = memory(world).items()
    report = purge(world.table, ORGANIZATION.id, CUSTOMER, stream.clock.around, dry_run=True)
    assert report.events == len(scenario.usage)
    assert memory(world).items() == before


def test_what_is_withdrawn_stays_withdrawn_and_says_nothing() -> None:
    world, stream, scenario = prepared(small())
    gone = scenario.usage[0]
    stream.withdraw(gone.subject, [gone.event.id])
    stream.deliver()
    totals = rollups(world)
    report = run(world, stream, CUSTOMER)
    assert rollups(world) == totals
    (external_id,) = report.names.external_ids.values()
    marked = [
        each
        for each in read_log(world.table, ORGANIZATION.id, Subject.subscription(external_id))
        if each.withdrawn
    ]
    assert [each.event.properties for each in marked] == [{}]


@pytest.mark.parametrize("text", ["{", '["call",1,null]', "5"])
def test_an_event_that_cannot_be_read_is_named_until_it_is_withdrawn_and_goes_with_the_customer(
    text: str,
) -> None:
    world, stream, scenario = prepared(small())
    table, bad = memory(world), scenario.usage[0]
    key = keys.event(ORGANIZATION.id, *bad.subject, bad.event.id)
    table.put(key_item(key) | item_of(table.get(key, consistent=True) or {}) | {"e": {"S": text}})
    named = f"the event {bad.event.id} of {bad.subject.external_id} cannot be read"
    for count in (
        lambda: rebuild(table, ORGANIZATION.id, stream.clock.around),
        lambda: run(world, stream, CUSTOMER),
    ):
        with pytest.raises(UnreadableItemError, match=named):
            count()
    stream.clock.now += HOUR
    withdraw(table, ORGANIZATION.id, bad.subject, [bad.event.id], stream.clock.around)
    stream.clock.now += KEPT + HOUR
    rebuild(table, ORGANIZATION.id, stream.clock.around)
    other, its_stream, _ = prepared(small())
    its_stream.withdraw(bad.subject, [bad.event.id])
    its_stream.deliver()
    refresh(other).roll(stream.clock.now)
    assert rollups(refresh(world)) == rollups(other)
    assert run(world, stream, CUSTOMER).events == len(scenario.usage) - 1
    assert mentions(table, texts_of(scenario, CUSTOMER)) == []


def test_events_that_wait_for_the_catalogue_wait_under_the_new_id() -> None:
    world, stream, scenario = prepared(small())
    stream.clock.now -= KEPT + HOUR
    waiting = replace(scenario.usage[0], event=replace(scenario.usage[0].event, id="wait", name="unpriced"))
    stream.post([waiting])
    stream.deliver()
    stream.clock.now += KEPT + HOUR
    generation = refresh(world).account.generation
    numbers = read_numbers(world.table, ORGANIZATION.id, generation)
    assert sum(numbers.values()) == 1
    report = run(world, stream, CUSTOMER)
    (left,) = list_unmatched(world.table, ORGANIZATION.id)
    assert left.subject == Subject.subscription(*report.names.external_ids.values())
    assert read_numbers(world.table, ORGANIZATION.id, refresh(world).account.generation) == numbers
    assert mentions(memory(world), {"wait", "unpriced"}) == []


def test_events_of_a_customer_without_subscriptions_wait_under_the_new_id() -> None:
    world, stream, scenario = prepared(small())
    write_catalogue(
        world.table,
        ORGANIZATION,
        scenario.meters,
        scenario.subscriptions,
        [("customer", each, Customer(each, SECRET_NAME)) for each in (CUSTOMER, "alone")],
    )
    stream.clock.now -= KEPT + HOUR
    usage = scenario.usage[0]
    stream.post([Usage(Subject.customer("alone"), replace(usage.event, id="wait"))])
    stream.deliver()
    stream.clock.now += KEPT + HOUR
    report = run(world, stream, "alone")
    assert report.events == 1
    for _ in range(2):
        (left,) = list_unmatched(world.table, ORGANIZATION.id)
        assert left.subject == Subject.customer(report.names.customer[1])
        assert mentions(memory(world), {"wait", "alone"}) == []
        rebuild(world.table, ORGANIZATION.id, stream.clock.around)


def test_quarantined_records_of_the_customer_go_and_others_stay() -> None:
    world, stream, scenario = prepared(small())
    subject = scenario.usage[0].subject
    for organization, external_id in (
        (ORGANIZATION.id, subject.external_id),
        ("another", subject.external_id),
    ):
        image = {"org": {"S": organization}, "k": {"S": "s"}, "x": {"S": external_id}}
        poison = Poison.of({"dynamodb": {"NewImage": image}}, "reason", stream.clock.now)
        world.table.put(poison.item())
    world.table.put(Poison.of({"no": "record"}, "reason", stream.clock.now).item())
    run(world, stream, CUSTOMER)
    assert [json.loads(each.record).get("no", "another") for each in list_poison(world.table)] in (
        ["record", "another"],
        ["another", "record"],
    )
