"""Why usage costs what it costs, and what it would cost otherwise. Nothing is stored."""

from meterstone import clock, starting
from meterstone.contracts import explain, flexprice, preview, price_preview
from meterstone.contracts.flexprice import UsageRequest
from meterstone.contracts.message import Problem, Reply, Request
from meterstone.edge.application import READING, Application
from meterstone.scope import Scope
from meterstone.store import Account, StoreUnavailableError, UnknownSubscriptionError
from meterstone.store.catalogue.plans import read_plan_prices
from meterstone.store.reading.window import WindowStore
from meterstone.usage.explanation import explain as explained
from meterstone.usage.measure import WindowUsage, measure
from meterstone.usage.preview import ChangeError, changed, in_force_throughout, price_list
from meterstone.usage.recorded import RecordedReader
from meterstone.usage.statement import rate
from meterstone.usage.window import window_for

store = WindowStore.from_environment()
app = Application(
    flexprice,
    store,
    {StoreUnavailableError: Problem.UNAVAILABLE, UnknownSubscriptionError: Problem.NOT_FOUND},
    seconds=READING,
)


def _measure(account: Account, asked: UsageRequest) -> tuple[WindowUsage, RecordedReader, int]:
    """Measure a subscription's usage over the window, as the usage endpoint does."""
    now = clock.now()
    subscription = store.subscription(account, asked.subscription_id)
    window = window_for(subscription, asked.start, asked.end, lifetime=asked.lifetime, now=now)
    reader = RecordedReader(store.reader(account, subscription, now))
    return measure(subscription, window, reader, now), reader, now


@app.route("POST", "/v1/subscriptions/usage/explain", scope=Scope.READ)
def explain_usage(account: Account, request: Request) -> Reply:
    """Price a subscription's usage over the window, and say how each charge came about."""
    usage, reader, now = _measure(account, explain.parse(request))
    return explain.answer(explained(usage, rate(usage), reader, now))


@app.route("POST", "/v1/subscriptions/usage/preview", scope=Scope.READ)
def preview_usage(account: Account, request: Request) -> Reply:
    """Price the same usage as it is, and under another plan, other prices, commitment or quantities."""
    asked = preview.parse(request)
    usage, reader, now = _measure(account, asked.usage)
    plan = None
    if asked.plan is not None and not in_force_throughout(usage.subscription, asked.plan, usage.window):
        plan = read_plan_prices(store.table, account.organization.id, asked.plan)
        if plan is None:
            preview.refuse_unknown_plan(asked.plan)
    as_it_is = explained(usage, rate(usage), reader, now)
    try:
        other = changed(usage, asked.changes(plan), reader, now)
    except ChangeError as error:
        preview.refuse_change(error)
    return preview.answer(
        as_it_is, explained(other.usage, rate(other.usage), reader, now, other.given), other
    )


@app.route("POST", "/v1/prices/preview", scope=Scope.READ)
def preview_price(_: Account, request: Request) -> Reply:
    """Price quantities by themselves, with no subscription."""
    asked = price_preview.parse(request)
    return price_preview.answer(asked.price, price_list(asked.price, asked.quantities))


handler = app.handler
starting.loaded()
