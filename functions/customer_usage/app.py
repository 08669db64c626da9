"""Current, past and projected usage of a customer's subscription, in Lago's shapes."""

from meterstone import clock, starting
from meterstone.contracts import lago_customer_usage as lago
from meterstone.contracts.message import Problem, Reply, Request
from meterstone.edge.application import READING, Application
from meterstone.scope import Scope
from meterstone.store import Account, StoreUnavailableError, UnknownSubscriptionError
from meterstone.store.reading.window import WindowStore
from meterstone.usage.measure import measure, measure_all
from meterstone.usage.past import current, past_periods
from meterstone.usage.projection import project
from meterstone.usage.window import window_for

store = WindowStore.from_environment()
app = Application(
    lago,
    store,
    {StoreUnavailableError: Problem.UNAVAILABLE, UnknownSubscriptionError: Problem.NOT_FOUND},
    seconds=READING,
)


@app.route("GET", "/api/v1/customers/{external_customer_id}/current_usage", scope=Scope.READ)
def current_usage(account: Account, request: Request) -> Reply:
    """Measure the current billing period of a subscription; of one that has ended, its last."""
    asked, now = lago.parse(request), clock.now()
    subscriptions = store.subscriptions(account, (asked.customer_id,), asked.external_subscription_id)
    subscription = current(subscriptions, now)
    window = window_for(subscription, None, None, lifetime=False, now=now)
    usage = measure(subscription, window, store.reader(account, subscription, now), now)
    return lago.answer_current(account.organization.id, asked, usage)


@app.route("GET", "/api/v1/customers/{external_customer_id}/past_usage", scope=Scope.READ)
def past_usage(account: Account, request: Request) -> Reply:
    """List the billing periods that have ended, latest first, also of subscriptions that had the id before."""
    asked, now = lago.parse(request, paged=True), clock.now()
    subscriptions = store.subscriptions(account, (asked.customer_id,), asked.external_subscription_id)
    found = past_periods(subscriptions, now, asked.skip, asked.per_page, asked.periods_count)
    usages = [
        usage
        for subscription, windows in found.page
        for usage in measure_all(subscription, windows, store.reader(account, subscription, now), now)
    ]
    return lago.answer_past(account.organization.id, asked, usages, found.total)


@app.route("GET", "/api/v1/customers/{external_customer_id}/projected_usage", scope=Scope.READ)
def projected_usage(account: Account, request: Request) -> Reply:
    """Project the current billing period of a subscription to its end."""
    asked, now = lago.parse(request), clock.now()
    subscriptions = store.subscriptions(account, (asked.customer_id,), asked.external_subscription_id)
    subscription = current(subscriptions, now)
    window = window_for(subscription, None, None, lifetime=False, now=now)
    usage = project(subscription, window, store.reader(account, subscription, now), now)
    return lago.answer_projected(account.organization.id, asked, usage)


handler = app.handler
starting.loaded()
