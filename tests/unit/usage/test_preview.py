"""When a plan is the one in force, so that a preview of it changes nothing."""

from copy import replace

import pytest

from meterstone.usage.instant import DAY
from meterstone.usage.period import BillingPeriod
from meterstone.usage.preview import in_force_throughout
from meterstone.usage.subscription import Dated
from meterstone.usage.window import Window
from support.small_world import START, subscription

#: The plan is basic for 30 days, and pro from then on.
SUBSCRIPTION = subscription(BillingPeriod.MONTHLY, [])
CHANGE = 30 * DAY


@pytest.mark.parametrize(
    ("code", "start", "end", "expected"),
    [
        ("basic", 0, CHANGE, True),
        ("basic", 0, CHANGE + 1, False),
        ("pro", 0, CHANGE + 1, False),
        ("pro", CHANGE, CHANGE + DAY, True),
        ("basic", CHANGE, CHANGE + DAY, False),
        ("pro", CHANGE - 1, CHANGE + DAY, False),
        ("gold", 0, DAY, False),
        ("basic", -9 * DAY, DAY, True),
        ("pro", CHANGE, CHANGE, True),
        ("basic", 5 * DAY, 5 * DAY, True),
    ],
)
def test_the_plan_in_force_in_the_whole_window(code: str, start: int, end: int, *, expected: bool) -> None:
    window = Window(START + start, START + end)
    assert in_force_throughout(SUBSCRIPTION, code, window) is expected


def test_before_its_first_plan_a_subscription_has_none() -> None:
    later = replace(SUBSCRIPTION, plan=(Dated("basic", START + DAY),))
    assert not in_force_throughout(later, "basic", Window(START, START + 2 * DAY))
    assert in_force_throughout(later, "basic", Window(START + DAY, START + 2 * DAY))
