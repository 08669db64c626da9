"""Warm functions remember subscriptions by a version: where versions begin anew, they must read again."""

import pytest

from meterstone.store.dynamodb import keys
from meterstone.store.operations.purge import purge
from meterstone.usage.instant import MINUTE
from support.life import at_call
from support.purged import deliver, first_format, purge_meanwhile, to_be_purged, used_again, version
from support.recounts import NAMES, SECOND
from support.scenario import ORGANIZATION


def test_an_id_of_a_purged_customer_is_used_again() -> None:
    scene, known = to_be_purged()
    used_again(scene, purge(scene.table, ORGANIZATION.id, "cust 0", scene.clock.around), known)
    scene.event("bytes", 0)
    deliver(scene)
    scene.check()


@pytest.mark.parametrize("moment", range(0, 24, 3))
def test_an_event_comes_for_the_old_id_while_it_is_purged(moment: int) -> None:
    """The function remembers then that nobody has the id, by a version that the next owner comes to, too."""
    scene, _ = to_be_purged()
    seen: list[int] = []

    def come() -> None:
        scene.event("bytes", 0)
        deliver(scene)
        seen.append(version(scene))

    report = purge_meanwhile(scene, moment, come)
    if not seen:
        return
    used_again(scene, report, max(seen[0], 2))
    scene.event("nothing", 0)
    deliver(scene, 1)
    scene.roll()
    scene.clock.now += MINUTE
    scene.event("bytes", 0)
    deliver(scene)
    scene.check()


@pytest.mark.parametrize("loaded", [2, 3, 4])
def test_the_version_of_a_subject_is_not_taken_for_that_of_the_catalogue_of_before(loaded: int) -> None:
    """An organization is upgraded, and usage is counted anew: an event comes after the cut."""
    for call in range(0, 100, 9):
        scene = first_format()
        profile = keys.organization(ORGANIZATION.id, "profile")
        scene.table.update(profile, "SET ver = :v", {":v": {"N": str(loaded)}})
        scene.event("bytes")
        deliver(scene)
        scene.clock.now += MINUTE
        for name in (*NAMES, "packets"):
            for amount in ("1", "7"):
                scene.price(f"{name} at {amount}", name, amount)
        scene.sign_up(line_items=[{"price": f"{name} at 7"} for name in ("bytes", "calls", "peak")])
        scene.clock.now += 10 * SECOND
        scene.event("bytes", 0)
        with at_call(scene.table, call, lambda scene=scene: deliver(scene)) as made:  # type: ignore[misc]
            scene.through()
        scene.check()
        if len(made) <= call:
            return
