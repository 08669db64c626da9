"""Ids, as catalogues and events bear them, and as they are asked for: the one place of their rule and length.

What is stored is checked by `checked_id`. Who asks by an id need not know the rule: `is_text` lets whatever
could be compared through, and what nobody can have is simply not found.
"""

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


def is_text(text: str) -> bool:
    r"""Return whether a text can be compared with ids: no control character, no half of a surrogate pair.

    >>> is_text("Müller"), is_text("two\nlines")
    (True, False)
    """
    return not any(char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff" for char in text)
