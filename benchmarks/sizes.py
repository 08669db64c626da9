"""What items weigh and what reading them costs, by DynamoDB's published rules.

Emulators report read units wrongly, so they are computed here from the items themselves. Source: Amazon DynamoDB
Developer Guide, "DynamoDB item sizes and formats" and "DynamoDB read consumption", for the two types of attributes
that the table uses, text and numbers. The guide calls the size of a number approximate.
"""

from collections.abc import Iterable, Mapping
from math import ceil

type Attributes = Mapping[str, Mapping[str, str]]

_UNIT = 4096


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
