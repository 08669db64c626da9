"""What both contracts say, in headers, of events that nothing in the catalogue counts."""

from typing import Final

from meterstone.usage.arrival import Receipt

UNMATCHED: Final = "x-meterstone-unmatched"
"""What is unknown, by the event's place in the request: `0=subscription, 3=subscription+code`."""

UNMATCHED_COUNT: Final = "x-meterstone-unmatched-count"
"""How many of the request's events are so; `UNMATCHED` lists the first of them."""

_LISTED: Final = 50


def unmatched_headers(receipt: Receipt) -> dict[str, str]:
    """Name what the catalogue does not know; nothing if it knows everything."""
    if not receipt.unmatched:
        return {}
    places = sorted(receipt.unmatched)
    listed = ", ".join(f"{place}={'+'.join(receipt.unmatched[place])}" for place in places[:_LISTED])
    return {UNMATCHED: listed, UNMATCHED_COUNT: str(len(places))}
