"""Single events, and those that do not count.

`GET /api/v1/events/{transaction_id}` answers in Lago's shape, `GET /v1/events/uncounted` in one of our own.
"""

from meterstone import starting
from meterstone.contracts import flexprice_uncounted, lago_find
from meterstone.contracts.message import Problem, Reply, Request
from meterstone.edge.application import READING, Application
from meterstone.scope import Scope
from meterstone.store import Account, StoreUnavailableError
from meterstone.store.events.lookup import AmbiguousEventError, EventStore, TooManySubjectsError

store = EventStore.from_environment()
app = Application(lago_find, store, {StoreUnavailableError: Problem.UNAVAILABLE}, seconds=READING)
#: Another function withdraws the event.
app.answered_elsewhere("/api/v1/events/{transaction_id}", "DELETE")


@app.route("GET", "/api/v1/events/{transaction_id}", scope=Scope.READ)
def find_event(account: Account, request: Request) -> Reply:
    """Find an event of a subscription or a customer by its transaction id."""
    asked = lago_find.parse(request)
    try:
        found = store.find(account, (asked.transaction_id,), asked.subject)
    except (TooManySubjectsError, AmbiguousEventError):
        return lago_find.refuse_unnamed()
    if found is None:
        return lago_find.refuse(Problem.NOT_FOUND)
    return lago_find.answer(account.organization.id, found)


@app.route("GET", "/v1/events/uncounted", flexprice_uncounted, scope=Scope.READ)
def list_uncounted(account: Account, request: Request) -> Reply:
    """List a page of the events that count nowhere, or that a meter of a line item cannot read."""
    asked = flexprice_uncounted.parse(request)
    return flexprice_uncounted.answer(asked, store.uncounted(account, asked.reason, asked.after))


handler = app.handler
starting.loaded()
