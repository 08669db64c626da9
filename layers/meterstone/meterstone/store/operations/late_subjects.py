"""Late subjects: those that the catalogue has got while a rebuild was running.

A rebuild reads the log of every subject that the catalogue has when it looks. A subscription that is put later
may bring another one. The put then says so, in its own transaction, and the profile counts such puts. The rebuild
reads these logs, too, and the swap is under the condition that there was no further put.
"""

from collections.abc import Iterable
from typing import NamedTuple

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.table import Action, Table, integer, key_item, text
from meterstone.usage.arrival import Subject


class LateSubjects(NamedTuple):
    """The subjects that were told so far, and how many puts have told any."""

    puts: int
    subjects: list[Subject]


def late_subjects(
    table: Table, organization_id: str, generation: str, subjects: Iterable[Subject]
) -> list[Action]:
    """Return the actions by which a put tells its subjects, as long as the rebuild of a generation is running."""
    tell: list[Action] = [
        {
            "Put": {
                "TableName": table.name,
                "Item": key_item(keys.late(organization_id, generation, *each))
                | {"k": {"S": each.kind}, "x": {"S": each.external_id}},
            }
        }
        for each in subjects
    ]
    count: Action = {
        "TableName": table.name,
        "Key": key_item(keys.organization(organization_id, "profile")),
        "UpdateExpression": "ADD puts :one",
        "ConditionExpression": "gen_next = :next",
        "ExpressionAttributeValues": {":one": {"N": "1"}, ":next": {"S": generation}},
    }
    return [*tell, {"Update": count}]


def read_late_subjects(table: Table, organization_id: str, generation: str) -> LateSubjects:
    """Read which subjects are late for a generation. Cost: 1 consistent get and 1 query."""
    profile = table.get(keys.organization(organization_id, "profile"), consistent=True) or {}
    rows = table.query(keys.late(organization_id, generation, "", "").pk, FIRST, LAST, consistent=True)
    return LateSubjects(integer(profile, "puts"), [Subject(text(row, "k"), text(row, "x")) for row in rows])
