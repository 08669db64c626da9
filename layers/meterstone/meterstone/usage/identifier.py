"""Ids, as catalogues and events bear them."""

import unicodedata
from typing import Final

LONGEST_ID: Final = 255
"""Characters that an id has at most."""

CONTROL: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that no id holds: controls, halves of pairs, line and paragraph ends."""


def checked_id(text: str) -> str:
    """Check an id: 1 to 255 characters, no control characters, no white space at its ends.

    Raises `ValueError`.
    """
    # The common case takes one look.
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
