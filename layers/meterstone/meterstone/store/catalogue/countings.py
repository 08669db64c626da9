"""How subscriptions are counted, as their items say it, and the steps of a recount that change it.

Each step is one transaction, under the condition that the item and the versions of the subjects are as they were
read, and raises these versions: whoever counts by what was before writes nothing (see `store.catalogue.subjects`).
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from meterstone.store.catalogue.records import encode_document
from meterstone.store.catalogue.subscriptions import counting_of
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.errors import ConflictError
from meterstone.store.dynamodb.table import Action, Item, Row, Table, integer, key_item, text
from meterstone.usage.arrival import Subject
from meterstone.usage.counting import Counting
from meterstone.usage.terms import Terms, decode_terms

READING: Final = "reading"
"""The attribute of a subject that has by how many recounts its log is being read: nothing is withdrawn then."""

READS: Final = "readings"
"""The attribute of a subject that says how many times its log was read for a recount."""


class CountingSeen(NamedTuple):
    """A subscription's item as it was read."""

    terms: Terms
    counting: Counting
    row: Row

    @property
    def id(self) -> str:
        """The subscription's id."""
        return self.terms.id

    @property
    def live(self) -> Terms:
        """The terms that are read."""
        return self.counting.live or self.terms

    @property
    def subjects(self) -> list[Subject]:
        """Whose events are counted for it, by any of its terms."""
        filling, former = self.counting.filling, self.counting.former
        several = [self.terms, self.live]
        several += [] if filling is None else [filling.terms]
        several += [] if former is None else [former.terms]
        return list(_subjects_of(several))

    @property
    def read(self) -> list[Subject]:
        """Whose logs are read to fill an edition: the same until its flip, whatever is put meanwhile."""
        filling = self.counting.filling
        return [] if filling is None else list(_subjects_of([self.live, filling.terms]))


def _subjects_of(several: Iterable[Terms]) -> dict[Subject, None]:
    found: dict[Subject, None] = {}
    for terms in several:
        found[Subject.subscription(terms.events_by)] = None
        found[Subject.customer(terms.customer_id)] = None
    return found


def read_countings(table: Table, organization_id: str, ids: Iterable[str]) -> list[CountingSeen]:
    """Read how subscriptions are counted. Ids that do not exist are left out. Cost: 1 consistent get each."""
    wanted = [keys.subscription(organization_id, each) for each in ids]
    rows = table.batch_get(wanted, consistent=True)
    return [
        CountingSeen(decode_terms(text(row, "terms")), counting_of(row) or Counting(), row)
        for key in wanted
        if (row := rows.get(key)) is not None and "terms" in row
    ]


def step(
    table: Table,
    organization_id: str,
    changes: Sequence[tuple[CountingSeen, Counting]],
    *,
    reading: bool | None = None,
    beside: Sequence[Action] = (),
) -> bool:
    """Change how subscriptions are counted. Return False, nothing written, if something has changed since.

    ``reading``: whether the logs of the subjects are being read from now on, or not any more. ``beside`` are
    further actions of the transaction. Cost: 1 consistent get for each subject; 2 write units for each KB of each
    item.
    """
    subjects = dict.fromkeys(each for seen, _ in changes for each in seen.subjects)
    read = {each for seen, _ in changes for each in seen.read}
    named = {keys.subject(organization_id, *each): each for each in subjects}
    rows = table.batch_get(named, consistent=True)
    actions = [_counting(table, organization_id, seen, after) for seen, after in changes]
    for key, subject in named.items():
        row = rows.get(key, {})
        sets, removes, values = [], "", dict[str, dict[str, str]]()
        if reading is not None and subject in read:
            readers = integer(row, READING) + (1 if reading else -1)
            if readers > 0:
                sets = [f"{READING} = :readers"]
                values[":readers"] = {"N": str(readers)}
            else:
                removes = f"REMOVE {READING} "
            if reading:
                sets.append(f"{READS} = :reads")
                values[":reads"] = {"N": str(integer(row, READS) + 1)}
        condition = "attribute_not_exists(ver)"
        if "ver" in row:
            condition = "ver = :ver"
            values[":ver"] = {"N": str(integer(row, "ver"))}
        actions.append(
            {
                "Update": {
                    "TableName": table.name,
                    "Key": key_item(key),
                    "UpdateExpression": (f"SET {', '.join(sets)} " if sets else "")
                    + f"{removes}ADD ver :one",
                    "ConditionExpression": condition,
                    "ExpressionAttributeValues": {":one": {"N": "1"}, **values},
                }
            }
        )
    try:
        table.transact([*actions, *beside])
    except ConflictError:
        return False
    return True


def next_reads(table: Table, organization_id: str, subjects: Iterable[Subject]) -> dict[Subject, int]:
    """Return, for each subject, the number that the next reading of its log will have."""
    named = {keys.subject(organization_id, *each): each for each in subjects}
    rows = table.batch_get(named, consistent=True)
    return {each: integer(rows.get(key, {}), READS) + 1 for key, each in named.items()}


def counting_values(counting: Counting) -> Item:
    """Return the attribute that says how a subscription is counted; none if it is by its terms alone."""
    return {"counting": {"S": encode_document(counting)}} if counting != Counting() else {}


def _counting(table: Table, organization_id: str, seen: CountingSeen, after: Counting) -> Action:
    values: Item = {":rev": {"N": str(integer(seen.row, "rev"))}}
    condition = "rev = :rev AND "
    if "counting" in seen.row:
        condition += "counting = :was"
        values[":was"] = {"S": text(seen.row, "counting")}
    else:
        condition += "attribute_not_exists(counting)"
    found = counting_values(after)
    if found:
        values[":counting"] = found["counting"]
    return {
        "Update": {
            "TableName": table.name,
            "Key": key_item(keys.subscription(organization_id, seen.id)),
            "UpdateExpression": "SET counting = :counting" if found else "REMOVE counting",
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
    }
