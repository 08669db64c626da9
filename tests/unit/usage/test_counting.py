"""How a subscription is counted, where that is not simply by its terms."""

from meterstone.usage.counting import Counting
from meterstone.usage.subscription import Dated, Moves
from meterstone.usage.terms import PlanTerm, Terms

TERMS = Terms("s", "c", "usd", "UTC", 0, (PlanTerm("basic"),))


def test_a_flip_changes_nothing_of_the_names_by_which_usage_is_published() -> None:
    renamings = Moves().next(plan=(Dated("starter"),))
    begun = Counting(renamings=renamings).begun(TERMS, TERMS, [("", 0)], 10, "1", "r")
    assert begun.renamings == begun.read(1, 2).renamings == begun.flipped(TERMS, TERMS).renamings == renamings
