"""CSV answers: when a request asks for one, and how its rows are written (RFC 4180, UTF-8).

Text is written so that a spreadsheet shows it and runs nothing: a text that could begin a formula has an
apostrophe before it, as OWASP's page on CSV injection recommends. Numbers are written as they are, `-5` too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from meterstone.contracts.message import Reply, Request
from meterstone.pricing.money import plain

CONTENT_TYPE: Final = "text/csv; charset=utf-8"

VARY: Final = {"Vary": "Accept"}
"""The header of an answer that another `Accept` would have made another, in JSON as in CSV."""

#: What spreadsheets take for the begin of a formula; full-width signs are taken for the others in some locales.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
_QUOTED: Final = frozenset('",\r\n')
_CSV: Final = ("text", "csv")
_JSON: Final = ("application", "json")

type Cell = str | int | bool | Decimal | None


def wants_csv(request: Request) -> bool:
    """Return whether a request prefers CSV to JSON.

    JSON is the default: without the header `Accept`, where both are as welcome, and where neither is. Else the
    higher `q` decides, then what is named over what a `*` includes, then what is named first.
    """
    ranges = [each for line in request.headers.get("accept", ()) for each in _ranges(line)]
    csv, json = _preference(ranges, _CSV), _preference(ranges, _JSON)
    return csv[0] > 0 and csv > json


def csv_reply(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    headers: Mapping[str, str] | None = None,
    counted_until: int = 0,
) -> Reply:
    """Write rows under a header row, each ended by CRLF."""
    body = "".join(csv_line(row) for row in (columns, *rows))
    return Reply(200, body, {**VARY, **(headers or {})}, counted_until, CONTENT_TYPE)


def csv_line(cells: Sequence[Cell]) -> str:
    r"""Write one row.

    >>> csv_line(["a,b", "=1", Decimal("-5.0"), None, True])
    '"a,b","\'=1",-5,,true\r\n'
    """
    return ",".join(map(_cell, cells)) + "\r\n"


def _cell(value: Cell) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return plain(value)
        case _:
            return _text(value)


def _text(value: str) -> str:
    # Spaces before a sign do not keep every spreadsheet from running it.
    if value.startswith(_FORMULA) or value.lstrip().startswith(_FORMULA):
        return _quoted(f"'{value}")
    return value if _QUOTED.isdisjoint(value) else _quoted(value)


def _quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _ranges(line: str) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield the media ranges of an `Accept`, each with its `q` in thousandths. What cannot be read is left out."""
    for part in line.split(","):
        media, *parameters = (each.strip().lower() for each in part.split(";"))
        kind, slash, subtype = media.partition("/")
        weight: int | None = 1000
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                weight = _weight(value.strip())
        if slash and weight is not None:
            yield (kind, subtype), weight


def _weight(text: str) -> int | None:
    """Read a `q`: 0 to 1 with at most three decimals."""
    whole, _, decimals = text.partition(".")
    if whole not in ("0", "1") or not (decimals or "0").isascii() or not (decimals or "0").isdigit():
        return None
    thousandths = int(whole) * 1000 + int(decimals.ljust(3, "0")[:3])
    return thousandths if len(decimals) <= 3 and thousandths <= 1000 else None  # noqa: PLR2004


def _preference(
    ranges: Sequence[tuple[tuple[str, str], int]], media: tuple[str, str]
) -> tuple[int, int, int]:
    """Return how welcome a media type is: by weight, then by how closely it is named, then by its place.

    The closest range that includes it decides, as RFC 9110 has it.
    """
    closeness = {media: 2, (media[0], "*"): 1, ("*", "*"): 0}
    found = [
        (closeness[named], weight, -place)
        for place, (named, weight) in enumerate(ranges)
        if named in closeness
    ]
    if not found:
        return 0, -1, 0
    closest, weight, place = max(found, key=lambda each: (each[0], each[2]))
    return weight, closest, place
