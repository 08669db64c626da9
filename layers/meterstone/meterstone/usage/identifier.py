"""Ids of catalogues, events and requests: the one place that knows their rule and length.

`checked_id` checks an id that is to be stored. A request may ask for any id that can be compared (`is_text`): an
id that breaks the rule is simply not found.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Final

LONGEST_ID: Final = 255
"""How many characters an id may have."""

CONTROL: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that no id holds: controls, halves of pairs, line and paragraph ends."""


def checked_id(text: str) -> str:
    """Check an id: 1 to 255 characters, no control characters, no white space at its ends.

    Raises `ValueError`.
    """
    # The common case is decided by one expression.
    if 0 < len(text) <= LONGEST_ID and text.isascii() and text.isprintable() and text.strip() == text:
        return text
    if not text:
        raise ValueError("must not be empty")
    if len(text) > LONGEST_ID:
        raise ValueError(f"has {len(text)} characters, {LONGEST_ID} are allowed")
    refuse_control(text)
    if text != text.strip():
        raise ValueError("must not begin or end with white space")
    return text


def refuse_control(text: str, allowed: str = "") -> None:
    """Refuse control characters but for those that are allowed. Raises `ValueError`."""
    for character in text:
        if character not in allowed and unicodedata.category(character) in CONTROL:
            raise ValueError(f"must not hold the control character U+{ord(character):04X}")


def repeated_key(keys: Iterable[str]) -> str | None:
    """Return the first key that stands there more than once; None if none does.

    The cost grows with the number of keys, and no faster: a client may send a hundred thousand.

    >>> repeated_key(["a", "b", "b", "a"]), repeated_key(["a", "b"])
    ('a', None)
    """
    found = Counter(keys)
    return next((key for key, count in found.items() if count > 1), None)


def quoted(text: str) -> str:
    """Return a text in quotes as a message can have it: cut, and without halves of surrogate pairs."""
    return repr(text if len(text) <= LONGEST_ID else f"{text[:LONGEST_ID]}…")


def is_text(text: str) -> bool:
    r"""Return whether a text can be compared with ids: no control character, no half of a surrogate pair.

    >>> is_text("Müller"), is_text("two\nlines")
    (True, False)
    """
    return not any(char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff" for char in text)
