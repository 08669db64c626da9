"""Pages of Lago's lists: which one is asked for, and what `meta` says about all of them."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from meterstone.contracts import lago

MOST_PER_PAGE: Final = 100
"""How many records a page has at most, and if the request does not say."""

PARAMETERS: Final = ("page", "per_page")

_LONGEST_NUMBER: Final = 9


class PageAsked(NamedTuple):
    """Which page of a list is asked for, counted from 1, and how many records each page has."""

    page: int = 1
    per_page: int = MOST_PER_PAGE

    @property
    def skip(self) -> int:
        """The number of records on the pages before."""
        return (self.page - 1) * self.per_page


def parse_page(parameters: Mapping[str, tuple[str, ...]], faults: dict[str, lago.Fault]) -> PageAsked:
    """Read `page` and `per_page`. What is wrong with them is added to ``faults``."""
    faults |= lago.repeated(parameters, PARAMETERS)
    found = {}
    for name in PARAMETERS:
        if name in parameters and name not in faults:
            try:
                found[name] = number(parameters[name][0])
            except lago.ValueFaultError as error:
                faults[name] = error.fault
    if found.get("per_page", 1) > MOST_PER_PAGE:
        faults["per_page"] = too_many()
    return PageAsked(**found)


def too_many() -> lago.Fault:
    """Return what is wrong with a page that has more than `MOST_PER_PAGE` records."""
    return lago.Fault(lago.OUT_OF_RANGE, f"is more than {MOST_PER_PAGE}")


def number(text: str) -> int:
    """Read a number from 1 on. Raises `lago.ValueFaultError`."""
    if not (text.isascii() and text.isdigit()):
        raise lago.ValueFaultError(lago.INVALID, "must be a whole number")
    if len(text) > _LONGEST_NUMBER or int(text) < 1:
        raise lago.ValueFaultError(lago.OUT_OF_RANGE, f"must be from 1 to {10**_LONGEST_NUMBER - 1}")
    return int(text)


def meta(page: int, per_page: int, total: int) -> dict[str, Any]:
    """Return the `meta` of a page, where all pages together have ``total`` records.

    >>> meta(2, 10, 25)
    {'current_page': 2, 'next_page': 3, 'prev_page': 1, 'total_pages': 3, 'total_count': 25}
    """
    pages = -(-total // per_page)
    return {
        "current_page": page,
        "next_page": page + 1 if page < pages else None,
        "prev_page": page - 1 if 1 < page <= pages else None,
        "total_pages": pages,
        "total_count": total,
    }
