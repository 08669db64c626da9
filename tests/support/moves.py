"""Moves: changes of a customer's facts, or of a plan's name, for a time of which usage was counted."""

from collections.abc import Callable
from typing import Any

from meterstone.usage.instant import DAY, format_instant
from support.life import START
from support.recounts import NAMES, Scene, subscribed


def facts(scene: Scene, country: str, before: int, **more: Any) -> None:
    """Put the customer in a country since so long ago, and in DE before then."""
    since = format_instant(scene.clock.now - before)
    record = {"country": [{"value": "DE"}, {"value": country, "since": since}], "customer_type": "company"}
    scene.management.put("customer", "cust 0", record | more)


#: The line items of a subscription whose plan is but a name.
ITEMS = [{"price": f"{name} at 1"} for name in NAMES]


def named(scene: Scene, plan: str, before: int | None = None) -> None:
    """Put that the subscription's plan has another name, since so long ago or since ever."""
    plans: object = plan
    if before is not None:
        since = format_instant(scene.clock.now - before)
        plans = [{"value": "one"}, {"value": plan, "since": since}]
    scene.sign_up(plan=plans, line_items=ITEMS)


def named_and_moved(scene: Scene) -> None:
    """Put both, one after the other."""
    named(scene, "seven", 2 * DAY)
    facts(scene, "NO", 9 * DAY)


TYPES = [{"value": "individual"}, {"value": "company", "since": format_instant(START + 8 * DAY)}]

CHANGES: dict[str, Callable[[Scene], object]] = {
    "since two days": lambda scene: facts(scene, "NO", 2 * DAY),
    "since before all": lambda scene: facts(scene, "NO", 400 * DAY),
    "another type, too": lambda scene: facts(scene, "NO", 10 * DAY, customer_type=TYPES),
    "no country": lambda scene: scene.management.put("customer", "cust 0", {"customer_type": "company"}),
    "another plan's name": lambda scene: named(scene, "seven"),
    "another plan's name since nine days": lambda scene: named(scene, "seven", 9 * DAY),
    "another name, and a move": named_and_moved,
}


def before_it(change: str, *, delivered: bool = True) -> Scene:
    """Give the scene in which a change is put."""
    more: dict[str, Any] = {"line_items": ITEMS} if "name" in change else {}
    return subscribed(delivered=delivered, **more)


def asked_of(scene: Scene) -> list[str]:
    """Note the partitions that are queried from now on."""
    asked: list[str] = []
    query = scene.table.query

    def noted(pk: str, *arguments: Any, **more: Any) -> Any:
        asked.append(pk)
        return query(pk, *arguments, **more)

    scene.table.query = noted  # type: ignore[method-assign]
    return asked
