"""The stored format: which form an organization's items have.

Its number stands in the organization's profile, which every function and command reads before it counts, takes
events in or changes anything. So the check costs no read of its own. An organization without the number is stored
in format 1.

A release that stores items otherwise raises `FORMAT`, and brings what changes those that are there. It sets the
number and raises the profile's version in one write, at its beginning. Whatever counts by the version that it read
before is then refused by the table, reads the profile again, and is refused here.
"""

from typing import Final

from meterstone.store.dynamodb.errors import StoredFormatError
from meterstone.store.dynamodb.table import Item, Row, integer

FORMAT: Final = 2
"""The format that this code writes."""

FIRST_FORMAT: Final = 1
"""The format of the first versions: a subscription holds its prices, and the whole catalogue has one version.

This code reads it, and counts and takes events in by it. The first put of a record makes it the present format.
"""

_ATTRIBUTE: Final = "stored_format"


def refuse_another_format(organization_id: str, profile: Row) -> None:
    """Raise `StoredFormatError` if an organization is stored in a format that this code does not know."""
    stored = stored_format(profile)
    if stored > FORMAT:
        raise StoredFormatError(
            f"organization {organization_id} is stored in format {stored}, and this version of Meterstone knows "
            f"format {FORMAT}: use the version that stored it so, or a later one"
        )


def stored_format(profile: Row) -> int:
    """Return the format that an organization's profile names."""
    return integer(profile, _ATTRIBUTE) if _ATTRIBUTE in profile else FIRST_FORMAT


def format_of_new() -> tuple[str, Item]:
    """Return the assignment by which the profile of a new organization gets the format, and its value."""
    return f"{_ATTRIBUTE} = :format", {":format": {"N": str(FORMAT)}}
