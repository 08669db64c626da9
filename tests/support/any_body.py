"""Bodies of any kind, as Hypothesis draws them, and what a contract reads of one."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from hypothesis import strategies as st

from meterstone.contracts.message import Reply, Request, RequestRefusedError

#: Half surrogate pairs, control characters and digits of other alphabets included.
TEXTS: Final = st.text(st.characters(), max_size=12) | st.integers(250, 1010).map("x".__mul__)
ANYTHING: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
INSTANTS: Final = st.datetimes().map(lambda at: at.isoformat() + "Z") | TEXTS


def fields(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Draw an object that has some of the fields, each with a sensible value, or now and then any."""
    drawn = {name: st.one_of(*[values] * 9, ANYTHING) for name, values in known.items()}
    return st.fixed_dictionaries({}, optional=drawn)


def parsed[Read](
    parse: Callable[[Request], Read],
    body: object,
    refusal: Callable[[Reply], object],
    **names: Mapping[str, str],
) -> Read | None:
    """Return what a contract reads; None if it refuses the body, and the refusal has passed a check.

    `names` is what else the event of the request has: `pathParameters`, `queryStringParameters`.
    """
    request = {"httpMethod": "POST", "path": "/", "body": json.dumps(body), **names}
    try:
        return parse(Request.of(request))
    except RequestRefusedError as error:
        refusal(error.reply)
    return None
