"""Changes that are made once, however often they are asked for: the keys that clients give them.

A subscription holds the keys of its last changes of plan beside what it carries for clients, each with the plan
and the instant. The key is written with the change. So whoever asks again under the same key finds it, also after
somebody else has changed the plan once more.
"""

from collections.abc import Iterator
from copy import replace
from typing import Final, NamedTuple

from meterstone.pricing.price import Scalar
from meterstone.usage.instant import format_instant, parse_instant
from meterstone.usage.terms import Terms

CHANGES: Final = "changes"
"""The detail of a subscription that has the keys."""

MOST_KEYS: Final = 20
"""So many keys are kept. Of a change before these, nobody is waiting for the answer any more."""


class MadeChange(NamedTuple):
    """A change of plan that was made under a key."""

    key: str
    plan: str
    since: int


def made_under(terms: Terms, key: str) -> MadeChange | None:
    """Return the change that was made under a key; None if none was."""
    return next((each for each in _made(terms) if each.key == key), None)


def noting(terms: Terms, change: MadeChange) -> Terms:
    """Return terms that have a change's key, too."""
    last = [*_made(terms), change][-MOST_KEYS:]
    noted: list[dict[str, Scalar]] = [
        {"key": each.key, "plan": each.plan, "since": format_instant(each.since)} for each in last
    ]
    return replace(terms, details={**terms.details, CHANGES: noted})


def _made(terms: Terms) -> Iterator[MadeChange]:
    """Yield the changes whose keys are known. Whoever puts the whole record may have written something else."""
    found = terms.details.get(CHANGES)
    for each in found if isinstance(found, list) else ():
        match each:
            case {"key": str(key), "plan": str(plan), "since": str(since)}:
                try:
                    yield MadeChange(key, plan, parse_instant(since))
                except ValueError:
                    continue
            case _:
                continue
