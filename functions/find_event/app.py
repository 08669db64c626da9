"""`GET /api/v1/events/{transaction_id}`: one event, where it counts and where not, in Lago's shape."""

from meterstone.contracts import lago_find
from meterstone.contracts.message import Problem, Reply, Request
from meterstone.edge.application import READING, Application
from meterstone.store import Account, StoreUnavailableError
from meterstone.store.events.lookup import AmbiguousEventError, EventStore, TooManySubjectsError

store = EventStore.from_environment()
app = Application(lago_find, store, {StoreUnavailableError: Problem.UNAVAILABLE}, seconds=READING)


@app.route("GET", "/api/v1/events/{transaction_id}")
def find_event(account: Account, request: Request) -> Reply:
    """Find an event of a subscription or a customer by its transaction id."""
    asked = lago_find.parse(request)
    try:
        found = store.find(account, asked.ids, asked.subject)
    except (TooManySubjectsError, AmbiguousEventError):
        return lago_find.refuse_unnamed()
    if found is None:
        return lago_find.refuse(Problem.NOT_FOUND)
    return lago_find.answer(account.organization.id, found)


handler = app.handler
