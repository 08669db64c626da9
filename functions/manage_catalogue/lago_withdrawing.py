"""The call by which an event is withdrawn."""

import time

from lago_at import Catalogue

from meterstone import clock
from meterstone.catalogue.errors import CatalogueBusyError
from meterstone.contracts import lago_find
from meterstone.contracts.message import Problem, Reply, Request
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.events.lookup import AmbiguousEventError, EventStore, TooManySubjectsError
from meterstone.store.operations.rebuild import Surroundings
from meterstone.store.operations.withdraw import withdraw_event


def withdraw(at: Catalogue, request: Request) -> Reply:
    """Withdraw an event, and show it with its mark. Again it changes nothing, and answers the same."""
    asked = lago_find.parse(request)
    account = read_account(at.table, at.organization.id, consistent=True)
    if account is None:
        return lago_find.refuse(Problem.NOT_FOUND)
    store = EventStore(at.table)
    try:
        found = store.find(account, (asked.transaction_id,), asked.subject)
        if found is None:
            return lago_find.refuse(Problem.NOT_FOUND)
        name, subject = found.event.id, found.subject
        withdraw_event(at.table, account.organization.id, subject, name, Surroundings(clock.now, time.sleep))
        found = store.find(account, [name], subject)
    except (TooManySubjectsError, AmbiguousEventError):
        return lago_find.refuse_unnamed()
    except BusyError as error:
        raise CatalogueBusyError("", str(error)) from error
    if found is None:
        return lago_find.refuse(Problem.NOT_FOUND)
    return lago_find.answer(account.organization.id, found)
