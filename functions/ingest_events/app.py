"""Events in: `POST /api/v1/events` and `/batch` in Lago's shape, `POST /v1/events` and `/bulk` in Flexprice's."""

from collections import Counter

from meterstone import clock, starting
from meterstone.contracts import flexprice_events, lago_events
from meterstone.contracts.message import Problem, Reply, Request
from meterstone.edge.application import INGESTION, Application
from meterstone.scope import Scope
from meterstone.store import Account, StoreUnavailableError
from meterstone.store.events.ingest import Intake
from meterstone.usage.arrival import Outcome, Receipt

store = Intake.from_environment()
app = Application(lago_events, store, {StoreUnavailableError: Problem.UNAVAILABLE}, seconds=INGESTION)


@app.route("POST", "/api/v1/events", scope=Scope.INGEST)
def lago_event(account: Account, request: Request) -> Reply:
    """Log one event of a subscription, unless its transaction id was used before."""
    arrival = lago_events.parse_event(request, clock.now())
    receipt = counted(store.take_each(account, {0: arrival}))
    return lago_events.answer_event(account.organization.id, arrival, receipt)


@app.route("POST", "/api/v1/events/batch", scope=Scope.INGEST)
def lago_batch(account: Account, request: Request) -> Reply:
    """Log up to 100 events of subscriptions, unless a transaction id of any of them was used before."""
    arrivals = lago_events.parse_batch(request, clock.now())
    receipt = counted(store.take_all_or_none(account, arrivals))
    return lago_events.answer_batch(account.organization.id, arrivals, receipt)


@app.route("POST", "/v1/events", flexprice_events, scope=Scope.INGEST)
def flexprice_event(account: Account, request: Request) -> Reply:
    """Log one event of a customer."""
    arrival = flexprice_events.parse_event(request, clock.now())
    receipt = counted(store.take_each(account, {0: arrival}))
    return flexprice_events.answer_event(arrival, receipt)


@app.route("POST", "/v1/events/bulk", flexprice_events, scope=Scope.INGEST)
def flexprice_bulk(account: Account, request: Request) -> Reply:
    """Log up to 1000 events of customers, each one independently of the others."""
    bulk = flexprice_events.parse_bulk(request, clock.now())
    receipt = counted(store.take_each(account, bulk.arrivals))
    app.count(EventsRejected=len(bulk.rejected))
    return flexprice_events.answer_bulk(bulk, receipt)


def counted(receipt: Receipt) -> Receipt:
    """Add the outcomes of events to the metrics. Return the receipt."""
    outcomes = Counter(receipt.outcomes.values())
    unmatched = [place for place in receipt.unmatched if receipt.outcomes.get(place) is Outcome.NEW]
    app.count(
        EventsAccepted=outcomes[Outcome.NEW],
        EventsDuplicate=outcomes[Outcome.DUPLICATE],
        EventsConflicting=outcomes[Outcome.CONFLICT],
        EventsUnmatched=len(unmatched),
    )
    if outcomes[Outcome.UNAVAILABLE]:
        app.count(EventsUnavailable=outcomes[Outcome.UNAVAILABLE])
    return receipt


handler = app.handler
starting.loaded()
