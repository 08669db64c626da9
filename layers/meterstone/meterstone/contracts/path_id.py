"""An id in the path of a request, decoded."""

import re
from typing import Final
from urllib.parse import unquote

from meterstone.contracts.message import Request
from meterstone.usage.identifier import LONGEST_ID, is_text

#: A part of a path as it is sent: a slash and what is no ASCII are encoded.
_SENT: Final = re.compile(r"(?:[-A-Za-z0-9._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})*")


def read_path_id(request: Request, name: str) -> str:
    """Return the id that a part of the path is. Raises `ValueError` for what no id can be, with the reason.

    The gateway gives the part as it was sent. One that has decoded it gives characters that no path has, or none
    that are encoded. The part is never read both ways: the ids `a/b` and `a%2Fb` are two records'.
    """
    raw = request.path_parameters.get(name, "")
    if _SENT.fullmatch(raw):
        try:
            raw = unquote(raw, errors="strict")
        except UnicodeDecodeError:
            raise ValueError("must be UTF-8, percent-encoded") from None
    if not is_text(raw):
        raise ValueError("must not hold control characters")
    if not 0 < len(raw) <= LONGEST_ID:
        raise ValueError(f"must have 1 to {LONGEST_ID} characters")
    return raw
