"""Guards: conditions on items that a transaction does not write, or in which it notes but a number."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Action, Item, Table, key_item


class Guard(NamedTuple):
    """The condition that numbers of an item are as they were read; None: that it does not have them.

    ``notes`` are numbers that are set at the same time. What is noted is expected, too, as it was read before.
    """

    key: Key
    expects: Mapping[str, int | None]
    notes: Mapping[str, int] = {}

    def action(self, table: Table) -> Action:
        """Return the guard as an action of a transaction. Cost: 2 write units for each KB of the item."""
        conditions: list[str] = []
        values: Item = {}
        for name, value in self.expects.items():
            if value is None:
                conditions.append(f"attribute_not_exists({name})")
            else:
                conditions.append(f"{name} = :{name}")
                values[f":{name}"] = {"N": str(value)}
        action: Action = {
            "TableName": table.name,
            "Key": key_item(self.key),
            "ConditionExpression": " AND ".join(conditions),
        }
        if self.notes:
            values |= {f":new_{name}": {"N": str(value)} for name, value in self.notes.items()}
            action["UpdateExpression"] = "SET " + ", ".join(f"{name} = :new_{name}" for name in self.notes)
        if values:
            action["ExpressionAttributeValues"] = values
        return {"Update" if self.notes else "ConditionCheck": action}


def merged(guards: Iterable[Guard]) -> dict[Key, Guard]:
    """Return one guard for each item, of guards that were read together: a transaction names no item twice."""
    found: dict[Key, Guard] = {}
    for guard in guards:
        before = found.get(guard.key)
        if before is None:
            found[guard.key] = guard
            continue
        higher = {name: max(value, before.notes.get(name, value)) for name, value in guard.notes.items()}
        found[guard.key] = Guard(guard.key, {**before.expects, **guard.expects}, {**before.notes, **higher})
    return found
