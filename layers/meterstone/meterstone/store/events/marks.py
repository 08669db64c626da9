"""Marks of withdrawn events: the attributes of an event's item in the log that say so.

| attribute | holds |
|---|---|
| `w` | when the event was withdrawn |
| `wg` | the generation that was live then; absent of an event that only a rebuild takes out of the answers |
| `wr` | how often the log of the event's subject had been read to count it anew; absent if never |
| `wu` | 1 if the event was unmatched, so that it was counted nowhere |
"""

from meterstone.store.dynamodb.table import Item
from meterstone.usage.withdrawal import Mark


def is_mark(image: Item) -> bool:
    """Return whether an event's item has a mark by which the stream's fold takes the event out.

    The item of an event that a purge has put under another name is none: nothing was counted from the new one.
    """
    return "w" in image and "wg" in image and "moved" not in image


def mark_of(image: Item) -> Mark:
    """Read the mark of a withdrawn event from its item."""
    reads = int(image["wr"]["N"]) if "wr" in image else 0
    return Mark(image["wg"]["S"], reads, "wu" in image)


def mark_values(mark: Mark, now: int) -> Item:
    """Return the attributes of a mark."""
    values: Item = {"w": {"N": str(now)}, "wg": {"S": mark.generation}}
    if mark.reads:
        values["wr"] = {"N": str(mark.reads)}
    if mark.unmatched:
        values["wu"] = {"N": "1"}
    return values
