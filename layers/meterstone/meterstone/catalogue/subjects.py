"""Whose events a subscription counts: its customer and its external id, as they are read before a change."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meterstone.catalogue.attempt import Attempt
from meterstone.store.catalogue.stamped import CustomerSeen, SubjectSeen, customer_seen, subject_seen
from meterstone.store.dynamodb import keys
from meterstone.usage.terms import Terms


class Subjects(NamedTuple):
    """The subjects of some subscriptions as they were read, before the subscriptions that share them."""

    customers: Mapping[str, CustomerSeen]
    external: Mapping[str, SubjectSeen]

    def beside(self, other: "Subjects") -> "Subjects":
        """Return the subjects of both. Of one that was read twice, what was read first holds."""
        return Subjects({**self.customers, **other.customers}, {**self.external, **other.external})

    def latest(self, terms: Terms, *, alone: bool = False) -> int | None:
        """Return the time of the latest event that was counted by a subscription's subjects, None if none was.

        ``alone`` looks at the customer only.
        """
        found = [self.customers[terms.customer_id].subject.latest]
        if not alone:
            found.append(self.external[terms.events_by].latest)
        return max((each for each in found if each is not None), default=None)


def read_subjects(attempt: Attempt, terms: Iterable[Terms]) -> Subjects:
    """Read the subjects of subscriptions. Cost: 1 consistent get each, in batches."""
    organization_id = attempt.organization_id
    found = list(terms)
    owners = {each.customer_id: keys.customer(organization_id, each.customer_id) for each in found}
    names = {each.events_by: keys.subject(organization_id, "s", each.events_by) for each in found}
    rows = attempt.table.batch_get((*owners.values(), *names.values()), consistent=True)
    # A customer of the first stored format is in the list alone.
    listed = {
        name: keys.catalogue(organization_id, "customer", name)
        for name, key in owners.items()
        if "doc" not in rows.get(key, {})
    }
    entries = attempt.table.batch_get(listed.values(), consistent=True) if listed else {}
    customers = {
        name: customer_seen(key, rows.get(key, {}), entries.get(listed.get(name, key), {}))
        for name, key in owners.items()
    }
    return Subjects(customers, {name: subject_seen(key, rows.get(key, {})) for name, key in names.items()})
