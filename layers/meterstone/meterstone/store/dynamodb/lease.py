"""One at a time: what replays, rebuilds and withdraws holds a lease on the organization's profile.

Clocks alone do not keep two apart: whoever loses the lease may not know yet. So whatever must not be done by two
is written under the condition that the lease is still one's own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Action, Item, StoreError, Table, integer, key_item, text
from meterstone.usage.instant import MINUTE, format_instant

LASTS = 2 * MINUTE
"""How long a lease holds that is not renewed, in microseconds."""

_MARK = 6


class BusyError(StoreError):
    """Something else must be done first; the message says what, for a person."""


class Lease:
    """A lease that is held: it is lost when it was not renewed in time and another took it."""

    def __init__(self, table: Table, organization_id: str, what: str, clock: Callable[[], int]) -> None:
        """Prepare to take the lease for what is to be done."""
        self._table = table
        self._organization_id = organization_id
        self._key = keys.organization(organization_id, "profile")
        self._clock = clock
        self._me = f"{what}.{token_hex(_MARK)}"

    def take(self) -> None:
        """Take the lease. Raises `BusyError` while another holds it."""
        now = self._clock()
        taken = self._table.update(
            self._key,
            "SET lease_by = :me, lease_until = :until",
            self._own(lease=True) | {":now": {"N": str(now)}},
            condition="attribute_exists(pk) AND attribute_not_exists(lease_until) OR lease_until < :now",
        )
        if not taken:
            row = self._table.get(self._key, consistent=True)
            if row is None:
                raise BusyError(f"the organization {self._organization_id} has no catalogue: load one first")
            what, until = text(row, "lease_by").partition(".")[0], integer(row, "lease_until")
            raise BusyError(
                f"a {what or 'command'} is running, or was stopped: try again after {format_instant(until)}"
            )

    def renew(self) -> None:
        """Hold it for longer. Raises `BusyError` if it is lost."""
        self.change("SET lease_until = :until", {":until": self._until()})

    def change(self, expression: str, values: Item, *, condition: str = "") -> None:
        """Change the profile while the lease is held. Raises `BusyError` if it is not, or if a condition fails."""
        held = " AND ".join(filter(None, ("lease_by = :me", condition)))
        if not self._table.update(self._key, expression, values | self._own(), condition=held):
            raise BusyError("another command took over: look what it does, and run this one again")

    def action(self, expression: str = "", values: Item | None = None) -> Action:
        """Return the action of a transaction that renews the lease while it is held, and changes the profile."""
        return {
            "Update": {
                "TableName": self._table.name,
                "Key": key_item(self._key),
                "UpdateExpression": ", ".join(filter(None, ("SET lease_until = :until", expression))),
                "ConditionExpression": "lease_by = :me",
                "ExpressionAttributeValues": (values or {}) | self._own(lease=True),
            }
        }

    def release(self) -> None:
        """Return the lease, if it is held."""
        self._table.update(self._key, "REMOVE lease_by, lease_until", self._own(), condition="lease_by = :me")

    def _own(self, *, lease: bool = False) -> Item:
        return {":me": {"S": self._me}} | ({":until": self._until()} if lease else {})

    def _until(self) -> dict[str, str]:
        return {"N": str(self._clock() + LASTS)}


@contextmanager
def leased(table: Table, organization_id: str, what: str, clock: Callable[[], int]) -> Iterator[Lease]:
    """Hold the lease as long as the block lasts. Raises `BusyError` while another holds it."""
    lease = Lease(table, organization_id, what, clock)
    lease.take()
    try:
        yield lease
    except (Exception, KeyboardInterrupt):
        with suppress(StoreError):
            lease.release()
        raise
    lease.release()
