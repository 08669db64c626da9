"""Records are put while a rebuild is running, at any call that it makes: every total is right in the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from meterstone.store.operations.rebuild import Surroundings, rebuild
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE
from support.counting import SCALE
from support.life import Life, at_call, deliver, post, sign_up
from support.scenario import ORGANIZATION

#: A rebuild makes fewer calls of the table. Each of them is tried where more is proved.
CALLS, STEP = 400, 1 if SCALE > 1 else 13


def around(life: Life) -> Surroundings:
    return Surroundings(life.clock, life.clock.sleep)


CHANGES: dict[str, Callable[[Life], object]] = {
    "a sign-up since an hour": lambda life: sign_up(life, "2", life.clock.now - HOUR),
    "a sign-up since a day, of the same customer": lambda life: sign_up(life, "3", life.clock.now - DAY),
    "it ends at some time ahead": lambda life: life.management.end("sub 1", life.clock.now + HOUR),
    "it has ended": lambda life: life.management.end("sub 1", life.clock.now - 40 * MINUTE),
    "another plan since an hour": lambda life: life.management.change_plan(
        "sub 1", "basic", life.clock.now - HOUR
    ),
    "another subscription now": lambda life: life.management.succeed(
        "sub 1", {"id": "sub 4", "plan": "basic", "currency": "USD"}, None
    ),
    "its customer moves": lambda life: life.management.merge("customer", "cust 0", {"country": "NO"}),
    "a meter is deleted": lambda life: life.management.delete("meter", "calls"),
}


def lived() -> Life:
    """Give a subscription with events that are counted, and events that are in the log alone."""
    life = Life(1)
    life.clock.now += DAY
    sign_up(life, "1", life.clock.now - 2 * HOUR, billing_period="DAILY")
    for name in ("bytes", "users", "seats"):
        post(life, Subject.subscription("ext 1"), name, life.clock.now - 90 * MINUTE)
    deliver(life, 0)
    for number in (1, 2, 3):
        post(life, Subject.subscription(f"ext {number}"), "bytes", life.clock.now - 30 * MINUTE)
        post(life, Subject.customer("cust 0"), "peak", life.clock.now - 20 * MINUTE)
    return life


@contextmanager
def delivering(life: Life) -> Iterator[None]:
    """Let what the log alone has be delivered as the block ends, and take in more."""
    post(life, Subject.subscription("ext 2"), "seats", life.clock.now)
    yield
    life.folding.drain(life.clock.now, 50)
    post(life, Subject.subscription("ext 1"), "level", life.clock.now)


@pytest.mark.parametrize("change", CHANGES)
def test_a_put_at_any_call_of_a_rebuild(change: str) -> None:
    for number in range(0, CALLS, STEP):
        life = lived()

        def puts(life: Life = life) -> None:
            with delivering(life):
                CHANGES[change](life)

        with at_call(life.table, number, puts) as made:
            report = rebuild(life.table, ORGANIZATION.id, around(life))
        assert report.swapped
        life.check()
        if len(made) <= number:
            return
    raise AssertionError(f"a rebuild made {CALLS} calls")


def test_puts_all_the_time_do_not_keep_a_rebuild_from_its_end() -> None:
    life = lived()
    number = 10

    def puts(_: str) -> None:
        nonlocal number
        number += 1
        # One in the middle of each attempt to swap: somewhen none comes.
        if number > 40:
            return
        sign_up(life, str(number), life.clock.now - MINUTE)
        post(life, Subject.subscription(f"ext {number}"), "bytes", life.clock.now)

    report = rebuild(life.table, ORGANIZATION.id, Surroundings(life.clock, life.clock.sleep, puts))
    assert report.swapped
    life.check()
