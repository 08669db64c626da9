"""What items weigh and what reading and writing them costs, by DynamoDB's published rules.

Emulators report units wrongly, so they are computed here from the items themselves. Source: Amazon DynamoDB
Developer Guide, "DynamoDB item sizes and formats" and "DynamoDB read consumption" and
"DynamoDB write consumption", for the two types of attributes
that the table uses, text and numbers. The guide calls the size of a number approximate.
"""

from collections.abc import Iterable, Mapping
from math import ceil

type Attributes = Mapping[str, Mapping[str, str]]

_UNIT = 4096
_WRITE_UNIT = 1024
_INDEX_KEY = ("due_pk", "due_at", "pk", "sk")


def number_size(text: str) -> int:
    """Give the bytes of a number: one for two significant digits, and one.

    >>> number_size("0"), number_size("7"), number_size("-1200"), number_size("123.45"), number_size("1E+9")
    (1, 2, 2, 4, 2)
    """
    mantissa = text.lstrip("+-").upper().partition("E")[0]
    digits = mantissa.replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1


def item_size(item: Attributes) -> int:
    """Give the bytes of an item in the service's JSON form: names and values of its attributes.

    >>> item_size({"pk": {"S": "é"}, "n": {"N": "12"}})
    7
    """
    size = 0
    for name, value in item.items():
        size += len(name.encode())
        for kind, text in value.items():
            match kind:
                case "S":
                    size += len(text.encode())
                case "N":
                    size += number_size(text)
                case _:
                    raise ValueError(f"attribute {name}: the table has no attributes of type {kind}")
    return size


def query_units(items: Iterable[Attributes]) -> float:
    """Give the read units of one page of an eventually consistent query: of its items' bytes together.

    Half a unit for each 4 KB begun; a page of nothing costs as much as the smallest.
    """
    return max(ceil(sum(item_size(item) for item in items) / _UNIT), 1) / 2


def get_units(item: Attributes | None) -> float:
    """Give the read units of one eventually consistent get, also as one of a batch: each item for itself.

    An item that does not exist costs as much as the smallest.
    """
    return max(ceil(item_size(item or {}) / _UNIT), 1) / 2


def put_units(before: Attributes | None, after: Attributes | None) -> int:
    """Give the write units of putting, changing or deleting an item outside a transaction; inside, twice as many.

    One for each KB begun, of the item before or after, whichever is larger: also where one attribute changes.
    """
    return max(ceil(max(item_size(before or {}), item_size(after or {})) / _WRITE_UNIT), 1)


def index_units(before: Attributes | None, after: Attributes | None) -> int:
    """Give the write units that a write of an item costs in the index ``due``, which holds keys only.

    An item that enters or leaves the index is one write, one that moves within it is two: a delete and a put.

    >>> here, there = ({"pk": {"S": "p"}, "sk": {"S": "s"}, "due_at": {"S": at}} for at in "12")
    >>> index_units(None, here), index_units(here, there), index_units(here, here), index_units(here, None)
    (1, 2, 0, 1)
    """
    old, new = (
        None if item is None or "due_at" not in item else {name: item.get(name) for name in _INDEX_KEY}
        for item in (before, after)
    )
    return 0 if old == new else (old is not None) + (new is not None)
