"""The catalogue of an organization at the instant of a request, as Flexprice's calls work with it."""

from typing import NamedTuple

from meterstone.catalogue.management import Management
from meterstone.contracts.flexprice_changes import Changed
from meterstone.contracts.stored import Stored as StoredRecord
from meterstone.store.catalogue.stamped import Stored
from meterstone.store.catalogue.subscriptions import read_subscription
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

    def subscription(self, subscription_id: str) -> Stored[Terms] | None:
        """Read a subscription's terms, None if there is none of that id."""
        found: Stored[Terms] | None = self.management.get("subscription", subscription_id)
        return found

    def customer(self, customer_id: str) -> Stored[Customer] | None:
        """Read a customer, None if there is none of that id."""
        found: Stored[Customer] | None = self.management.get("customer", customer_id)
        return found

    def plan(self, code: str) -> Stored[Plan] | None:
        """Read a plan, None if there is none of that code."""
        found: Stored[Plan] | None = self.management.get("plan", code)
        return found

    def whole(self, stored: StoredRecord[Terms]) -> Changed:
        """Return a subscription with everything that its terms refer to. Raises `UnknownSubscriptionError`."""
        name = stored.value.id
        whole = read_subscription(self.table, self.organization.id, name, consistent=True, facts=False)
        return Changed(stored, whole)
