"""The catalogue of an organization at the instant of a request, as Lago's calls work with it."""

from typing import NamedTuple

from meterstone.catalogue.management import Management
from meterstone.store.catalogue.pages import terms_by_external_id
from meterstone.store.catalogue.stamped import Stored, read_customer, read_plan, read_terms
from meterstone.store.dynamodb.table import Table
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer, Organization
from meterstone.usage.terms import Terms


class Catalogue(NamedTuple):
    """The catalogue of an organization at the instant of a request."""

    table: Table
    organization: Organization
    management: Management
    now: int

    def customer(self, name: str) -> Stored[Customer] | None:
        """Read a customer; None if there is none. Cost: 2 gets."""
        return read_customer(self.table, self.organization.id, name).stored

    def plan(self, code: str) -> Stored[Plan] | None:
        """Read a plan; None if there is none. Cost: 1 get."""
        return read_plan(self.table, self.organization.id, code)[0]

    def has_subscription(self, name: str) -> bool:
        """Return whether a subscription has an id. Cost: 1 get."""
        return read_terms(self.table, self.organization.id, name) is not None

    def with_external_id(self, external_id: str, *, consistent: bool = True) -> list[Stored[Terms]]:
        """Read the subscriptions that have an external id."""
        return terms_by_external_id(self.table, self.organization.id, external_id, consistent=consistent)
