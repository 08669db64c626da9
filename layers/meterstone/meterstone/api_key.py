"""The text of an API key: `mst_`, 43 random characters of base64url, and 6 that check what stands before them.

The check tells a mistyped or made-up key without a read of the table. It is no secret, since anybody can work it
out: a key is good only if the table has it. Keys made before there was a check have none. They stay good, and are
known by their length.
"""

import string
import zlib
from base64 import urlsafe_b64encode
from typing import Final

RANDOM_BYTES: Final = 32
"""How many bytes of a key are random."""

_PREFIX: Final = "mst_"
_UNCHECKED: Final = len(_PREFIX) + 43
_CHECKED: Final = _UNCHECKED + 6
_ALPHABET: Final = frozenset(string.ascii_letters + string.digits + "-_")


def key_of(random: bytes) -> str:
    """Return the key with some random bytes, of which there must be `RANDOM_BYTES`.

    >>> key_of(bytes(32))
    'mst_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAqrwElg'
    """
    unchecked = _PREFIX + _base64url(random)
    return unchecked + _check(unchecked)


def well_formed(text: str) -> bool:
    """Return whether a text could be a key that was made here.

    Of texts of the right length, prefix and letters, the check lets one in four thousand million pass.
    """
    if len(text) not in (_UNCHECKED, _CHECKED) or not text.startswith(_PREFIX):
        return False
    if not _ALPHABET.issuperset(text):
        return False
    unchecked = text[:_UNCHECKED]
    return len(text) == _UNCHECKED or text == unchecked + _check(unchecked)


def _check(unchecked: str) -> str:
    return _base64url(zlib.crc32(unchecked.encode()).to_bytes(4))


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode().rstrip("=")
