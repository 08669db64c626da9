"""Flexprice's calls on the catalogue: their keys, and the replies to what the catalogue refuses.

Reading and writing is in `flexprice_customers`, `flexprice_subscriptions` (the body of a new one),
`flexprice_subscription_objects` (subscriptions, plans and prices in answers), `flexprice_changes` and
`flexprice_pages`. Each parses to a record in the form of the catalogue's files, and names what is wrong by
Flexprice's names.

- A record that is refused is 400 `validation_error`, each bad field with its reason in `details`.
- A change that moves counted usage is made, and usage follows within a minute. What does not fit to what is stored
  is 409 `invalid_operation`.
- Two writers of one record at once: 409 `version_conflict`. What is there already, and is another: 409
  `already_exists`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, assert_never

from meterstone.contracts import flexprice, flexprice_customers, flexprice_subscriptions
from meterstone.contracts.message import RETRY_AFTER, Problem, Reply, Request, RequestRefusedError
from meterstone.contracts.path_id import read_path_id
from meterstone.usage.identifier import quoted

api_key = flexprice.api_key
forbid = flexprice.forbid

#: By what a request is about, Flexprice's names of the fields whose paths the catalogue's files have.
_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "customer": flexprice_customers.NAMES,
    "subscription": flexprice_subscriptions.NAMES,
    "cancel": {"": "cancel_at", "end": "cancel_at"},
    "change": {
        **flexprice_subscriptions.NAMES,
        "": "change_at",
        "start": "change_at",
        "end": "change_at",
        "plan": "target_plan_id",
    },
}
_ITEM: Final = re.compile(r"(line_items\[\d+\]\.)(\w+)(.*)")


def refuse(problem: Problem) -> Reply:
    """Write the reply to a problem."""
    match problem:
        case Problem.NOT_FOUND:
            return flexprice.error(404, "not_found", "There is no such record.")
        case Problem.UNAVAILABLE:
            message = "The catalogue cannot be reached right now. Send the same request again."
            return flexprice.error(503, "service_unavailable", message, headers=RETRY_AFTER)
        case (
            Problem.UNAUTHORIZED
            | Problem.TOO_MANY_REQUESTS
            | Problem.UNKNOWN_ROUTE
            | Problem.WRONG_METHOD
            | Problem.NOT_BUILT
            | Problem.INTERNAL
        ):
            return flexprice.refuse(problem)
        case _:
            assert_never(problem)


def path_id(request: Request, name: str, kind: str) -> str:
    """Return the id that a part of the path is. Raises `RequestRefusedError` (404) for what no id can be."""
    try:
        return read_path_id(request, name)
    except ValueError:
        raise RequestRefusedError(refuse_unknown(kind, request.path_parameters.get(name, ""))) from None


def refuse_unknown(kind: str, record_id: str) -> Reply:
    """Write the reply to an id that no record has."""
    return flexprice.error(404, "not_found", f"There is no {kind} {quoted(record_id)}.")


def refuse_record(kind: str, errors: Iterable[tuple[str, str]]) -> Reply:
    """Write what is wrong with a record: each a path in the form of the catalogue's files, and a reason."""
    faults = {name_of(kind, path): reason for path, reason in errors}
    message = "; ".join(f"{name} {reason}" for name, reason in faults.items())
    details = {name: {"reason": reason} for name, reason in faults.items()}
    return flexprice.error(400, "validation_error", f"Invalid request: {message}.", details)


def refuse_conflict(kind: str, path: str, reason: str) -> Reply:
    """Write why a change is not possible."""
    details = {name_of(kind, path) or kind: {"reason": reason}}
    return flexprice.error(409, "invalid_operation", f"This change is not possible: {reason}.", details)


def refuse_operation(field: str, reason: str) -> Reply:
    """Write that a request does not fit to the state of what it changes: 400, as Flexprice answers."""
    details = {field: {"reason": reason}}
    return flexprice.error(400, "invalid_operation", f"This is not possible: {field} {reason}.", details)


def refuse_existing(kind: str, field: str) -> Reply:
    """Write that another record is there already."""
    details = {field: {"reason": "is taken"}}
    return flexprice.error(409, "already_exists", f"There is another {kind} of this {field}.", details)


def refuse_stale() -> Reply:
    """Write that somebody else has changed the record at the same time."""
    message = "The record was changed at the same time. Send the same request again."
    return flexprice.error(409, "version_conflict", message, headers=RETRY_AFTER)


def name_of(kind: str, path: str) -> str:
    """Return Flexprice's name of a field, of which the path in the form of the catalogue's files is given.

    >>> name_of("subscription", "commitment.amount"), name_of("subscription", "line_items[2].price")
    ('commitment_amount', 'line_items[2].price_id')
    """
    names = _NAMES.get(kind, {})
    if path in names:
        return names[path]
    if found := _ITEM.fullmatch(path):
        where, name, rest = found.groups()
        return f"{where}{flexprice_subscriptions.ITEM_NAMES.get(name, name)}{rest}"
    first = re.split(r"[.\[]", path, maxsplit=1)[0]
    return names.get(first, first) + path[len(first) :]
