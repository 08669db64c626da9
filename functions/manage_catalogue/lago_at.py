"""The catalogue of an organization at the instant of a request, as Lago's calls work with it."""

from collections.abc import Iterable
from typing import NamedTuple

from meterstone.catalogue.management import Management
from meterstone.store.catalogue.pages import terms_by_external_id
from meterstone.store.catalogue.stamped import Stored
from meterstone.store.dynamodb.table import Table
from meterstone.usage.subscription import Organization
from meterstone.usage.terms import Terms


class Catalogue(NamedTuple):
    """The catalogue of an organization at the instant of a request."""

    table: Table
    organization: Organization
    management: Management
    now: int

    def with_external_id(self, ids: Iterable[str], *, consistent: bool = True) -> list[Stored[Terms]]:
        """Read the subscriptions with the first of some external ids that any has."""
        for each in ids:
            found = terms_by_external_id(self.table, self.organization.id, each, consistent=consistent)
            if found:
                return found
        return []
