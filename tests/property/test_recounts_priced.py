"""Usage counted anew by another price of the past: by each aggregation and billing period, where clocks change."""

from decimal import Decimal
from random import Random
from typing import Any

import pytest

from meterstone.usage.instant import DAY, HOUR, MINUTE, format_instant, parse_instant
from support.counting import SCALE
from support.life import REFUSED
from support.recounts import CUSTOMERS, NAMES, OWN, Scene

#: Each with an instant close to a change of its clocks.
ZONES = {
    "America/Chicago": "2024-03-10T08:00:00Z",
    "Europe/Berlin": "2024-03-31T01:00:00Z",
    "Australia/Lord_Howe": "2024-04-06T15:00:00Z",
    "Asia/Kolkata": "2024-03-20T18:30:00Z",
}
PERIODS = ("DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "ANNUAL", "ONETIME")
VALUES: tuple[Any, ...] = (1, 2, Decimal("0.25"), -1, 7, 30, "no number")


class Priced(Scene):
    """A subscription of some billing period, in a zone, which began two months before its clocks change."""

    def __init__(self, zone: str, period: str, cycle: str) -> None:
        super().__init__()
        self.more: dict[str, Any] = {"timezone": zone, "billing_period": period, "billing_cycle": cycle}
        self.around = parse_instant(ZONES[zone])
        self.clock.now = self.around + 2 * DAY
        self.start = self.around - 62 * DAY - self.begun
        self.sign_up(start=self.start, **self.more)


def usage(scene: Scene, random: Random, around: int, number: int) -> None:
    """Take events in, most of them close to the change of the clocks, of all names and both subjects."""
    for _ in range(number):
        at = around + random.choice(
            [0, 0, -1, HOUR, -HOUR, DAY, -40 * DAY, random.randint(-60 * DAY, 3 * DAY)]
        )
        subject = random.choice([OWN, OWN, CUSTOMERS])
        at = min(at, scene.clock.now)
        scene.event(random.choice(NAMES), scene.clock.now - at, subject, random.choice(VALUES))


def change(scene: Priced, random: Random, around: int) -> None:
    """Change something from an instant of the past on."""
    at = around + random.choice([0, 1, -1, HOUR, -DAY, DAY, -33 * DAY, 30 * MINUTE])
    at = min(at, scene.clock.now)
    match random.choice(["plan", "plan", "end", "own", "start", "succeed", "undo"]):
        case "plan":
            scene.management.change_plan("sub 1", random.choice(["one", "seven"]), at)
        case "end":
            scene.management.end("sub 1", at)
        case "succeed":
            scene.made += 1
            record = {"id": f"sub of {scene.made}", "plan": "seven", "currency": "USD"}
            scene.management.succeed("sub 1", {**record, **scene.more}, at)
        case "own":
            names = random.sample(NAMES, 5)
            items = [{"price": f"{name} at 1", "end": format_instant(at)} for name in names]
            items += [{"price": f"{name} at 7", "start": format_instant(at)} for name in names]
            scene.sign_up(start=scene.start, line_items=items, **scene.more)
        case "start":
            scene.start += random.choice([-3 * DAY, -HOUR, DAY])
            scene.sign_up(start=scene.start, **scene.more)
        case _:
            scene.sign_up(start=scene.start, **scene.more)


@pytest.mark.parametrize("seed", range(SCALE))
@pytest.mark.parametrize("cycle", ["CALENDAR", "ANNIVERSARY"])
@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("zone", ZONES)
def test_changes_of_the_past_come_to_what_log_and_records_do(
    zone: str, period: str, cycle: str, seed: int
) -> None:
    random = Random(f"{zone} {period} {cycle} {seed}")  # noqa: S311 - nothing secret
    scene = Priced(zone, period, cycle)
    for _ in range(3):
        usage(scene, random, scene.around, 25)
        scene.deliver()
        usage(scene, random, scene.around, 5)
        try:
            change(scene, random, scene.around)
        except REFUSED:
            continue
        usage(scene, random, scene.around, 5)
        scene.clock.now += random.choice([0, 10_000_000])
        usage(scene, random, scene.around, 5)
        if random.random() < 0.5:
            scene.deliver()
        scene.through()
    scene.check()


@pytest.mark.parametrize("name", NAMES)
def test_one_meter_alone_is_counted_anew(name: str) -> None:
    """Its line item has another price, from an instant within a day and an hour on."""
    random = Random(name)  # noqa: S311 - nothing secret
    for period in PERIODS:
        scene = Priced("America/Chicago", period, "CALENDAR")
        items = [{"price": f"{each} at 1"} for each in NAMES]
        scene.sign_up(start=scene.start, line_items=items, **scene.more)
        usage(scene, random, scene.around, 60)
        scene.deliver()
        at = format_instant(scene.around - DAY + 90 * MINUTE + 7)
        kept = [each for each in items if each["price"] != f"{name} at 1"]
        parts = [{"price": f"{name} at 1", "end": at}, {"price": f"{name} at 7", "start": at}]
        scene.sign_up(start=scene.start, line_items=[*kept, *parts], **scene.more)
        scene.through()
        scene.check()


def test_each_line_item_that_is_counted_anew_has_the_price_of_its_time() -> None:
    """By hand: 3 and 4 at 1 before the instant, 5 at 7 after it."""
    scene = Scene()
    scene.sign_up(plan="one", billing_period="MONTHLY")
    for before, value in ((5 * DAY, 3), (3 * DAY, 4), (DAY, 5)):
        scene.event("bytes", before, value=value)
    scene.deliver()
    scene.management.change_plan("sub 1", "seven", scene.clock.now - 2 * DAY)
    scene.through()
    scene.check()
    cents = [each for (_, _, code), (_, each) in sorted(scene.world.days().items()) if code == "bytes"]
    assert cents == [300, 400, 3500]
    by_plan = [
        sum(each for (_, _, code), (_, each) in scene.world.days(plan_code=plan).items() if code == "bytes")
        for plan in ("one", "seven")
    ]
    assert by_plan == [700, 3500]
