"""The lease on an organization's profile, so that only one replay, rebuild or purge runs at a time.

A lease ends after a time, but clocks alone cannot keep two commands apart: a command that has lost its lease may
not have noticed. So every write that only one command may do has the condition that the command still holds the
lease.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Action, Item, StoreError, Table, integer, key_item, text
from meterstone.usage.instant import MINUTE, format_instant

LASTS = 2 * MINUTE
"""How long a lease lasts if it is not renewed, in microseconds."""

_MARK = 6


class BusyError(StoreError):
    """Something else must be done, or be over, first. The message tells a person what."""


class Lease:
    """The lease of one command. It is lost if it is not renewed in time and another command takes it."""

    def __init__(self, table: Table, organization_id: str, what: str, clock: Callable[[], int]) -> None:
        """Prepare to take the lease; ``what`` names the command for others that find it running."""
        self._table = table
        self._organization_id = organization_id
        self._key = keys.organization(organization_id, "profile")
        self._clock = clock
        self._me = f"{what}.{token_hex(_MARK)}"

    def take(self) -> None:
        """Take the lease. Raises `BusyError` while another command holds it."""
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
        """Hold the lease for longer. Raises `BusyError` if it is lost."""
        self.change("SET lease_until = :until", {":until": self._until()})

    def change(self, expression: str, values: Item, *, condition: str = "") -> None:
        """Change the profile while the lease is held. Raises `BusyError` if it is lost or the condition fails."""
        held = " AND ".join(filter(None, ("lease_by = :me", condition)))
        if not self._table.update(self._key, expression, values | self._own(), condition=held):
            raise BusyError("another command took over: look what it does, and run this one again")

    def action(self, expression: str = "", values: Item | None = None, *, condition: str = "") -> Action:
        """Return an action that renews the lease and changes the profile.

        It is done if the lease is still held, and the condition, if there is one, holds.
        """
        return {
            "Update": {
                "TableName": self._table.name,
                "Key": key_item(self._key),
                "UpdateExpression": ", ".join(filter(None, ("SET lease_until = :until", expression))),
                "ConditionExpression": " AND ".join(filter(None, ("lease_by = :me", condition))),
                "ExpressionAttributeValues": (values or {}) | self._own(lease=True),
            }
        }

    def release(self) -> None:
        """End the lease, if it is still held."""
        self._table.update(self._key, "REMOVE lease_by, lease_until", self._own(), condition="lease_by = :me")

    def _own(self, *, lease: bool = False) -> Item:
        return {":me": {"S": self._me}} | ({":until": self._until()} if lease else {})

    def _until(self) -> dict[str, str]:
        return {"N": str(self._clock() + LASTS)}


@contextmanager
def leased(table: Table, organization_id: str, what: str, clock: Callable[[], int]) -> Iterator[Lease]:
    """Hold the lease as long as the block lasts. Raises `BusyError` while another command holds it."""
    lease = Lease(table, organization_id, what, clock)
    lease.take()
    try:
        yield lease
    except (Exception, KeyboardInterrupt):
        with suppress(StoreError):
            lease.release()
        raise
    lease.release()
