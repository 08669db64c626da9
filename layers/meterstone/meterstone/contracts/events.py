"""The shared part of both contracts for events: reading a body, and the headers about unmatched events."""

from collections.abc import Callable
from typing import Any, Final

from meterstone.contracts.message import Reply, Request, RequestRefusedError
from meterstone.usage.arrival import InadmissibleError, Receipt, decode, escapes

UNMATCHED: Final = "x-meterstone-unmatched"
"""Why events are unmatched, by their places in the request: `0=subscription, 3=value`."""

UNMATCHED_COUNT: Final = "x-meterstone-unmatched-count"
"""How many of the request's events are unmatched; `UNMATCHED` lists the first of them."""

_LISTED: Final = 50


def read_object(request: Request, refusal: Callable[[str], Reply]) -> tuple[dict[str, Any], bool]:
    """Decode the body, a JSON object. Also return whether its text could hold halves of surrogate pairs.

    Raises `RequestRefusedError` with the reply that ``refusal`` makes of the reason.
    """
    try:
        text = request.body()
        body = decode(text)
    except InadmissibleError as error:
        raise RequestRefusedError(refusal(f"the body {error}")) from error
    except ValueError as error:
        raise RequestRefusedError(refusal("the body is not text")) from error
    if not isinstance(body, dict):
        raise RequestRefusedError(refusal("the body is not a JSON object"))
    return body, escapes(text)


def unmatched_headers(receipt: Receipt) -> dict[str, str]:
    """Return the headers that say which events are unmatched, and why; none if there are no such events."""
    if not receipt.unmatched:
        return {}
    places = sorted(receipt.unmatched)
    listed = ", ".join(f"{place}={receipt.unmatched[place]}" for place in places[:_LISTED])
    return {UNMATCHED: listed, UNMATCHED_COUNT: str(len(places))}
