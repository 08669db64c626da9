"""Whether a client wants an answer compressed, by its `Accept-Encoding` (RFC 9110, section 12.5.3)."""

import gzip
import re
from collections.abc import Iterable
from typing import Final

MINIMUM: Final = 1024
"""Bytes from which a body is compressed: `MinimumCompressionSize` of the template."""

_LEVEL: Final = 6
_GZIP: Final = ("gzip", "x-gzip")
_QVALUE: Final = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


def wants_gzip(accepted: Iterable[str]) -> bool:
    """Return whether gzip is accepted, and not less than an answer as it is.

    `accepted` are the values of all `Accept-Encoding` headers of a request.

    >>> wants_gzip(["gzip, deflate, br"])
    True
    >>> wants_gzip(["gzip;q=0.5, identity"])
    False
    """
    weights: dict[str, float] = {}
    for part in ",".join(accepted).split(","):
        coding, *parameters = (each.strip().lower() for each in part.split(";"))
        weights[coding] = _weight(parameters)
    gzipped = max((weights[name] for name in _GZIP if name in weights), default=weights.get("*", 0.0))
    # An answer as it is is always acceptable, but preferred only where its coding is named.
    return gzipped > 0 and gzipped >= weights.get("identity", 0.0)


def compress(body: bytes) -> bytes:
    """Return a body as gzip writes it, the same bytes for the same body."""
    return gzip.compress(body, _LEVEL, mtime=0)


def _weight(parameters: Iterable[str]) -> float:
    """Return the weight that parameters say: 1 if they say none, and 0 if they say what is none."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            value = value.strip()
            return float(value) if _QVALUE.fullmatch(value) else 0.0
    return 1.0
