"""`POST /v1/subscriptions/usage`: a subscription's usage over a window, priced, in Flexprice's shape."""

from meterstone import clock, starting
from meterstone.contracts import flexprice
from meterstone.contracts.message import Problem, Reply, Request
from meterstone.edge.application import READING, Application
from meterstone.scope import Scope
from meterstone.store import Account, StoreUnavailableError, UnknownSubscriptionError
from meterstone.store.reading.window import WindowStore
from meterstone.usage.measure import measure
from meterstone.usage.statement import rate
from meterstone.usage.window import window_for

store = WindowStore.from_environment()
app = Application(
    flexprice,
    store,
    {StoreUnavailableError: Problem.UNAVAILABLE, UnknownSubscriptionError: Problem.NOT_FOUND},
    seconds=READING,
)


@app.route("POST", "/v1/subscriptions/usage", scope=Scope.READ)
def subscription_usage(account: Account, request: Request) -> Reply:
    """Measure a subscription's usage over the window, price it, and apply the commitment."""
    asked, now = flexprice.parse(request), clock.now()
    subscription = store.subscription(account, asked.subscription_id)
    window = window_for(subscription, asked.start, asked.end, lifetime=asked.lifetime, now=now)
    usage = measure(subscription, window, store.reader(account, subscription, now), now)
    return flexprice.answer(rate(usage))


handler = app.handler
starting.loaded()
