"""`GET /api/v1/analytics/usage`: usage by calendar bucket, currency and metric, in Lago's shape."""

from meterstone import clock, starting
from meterstone.contracts import lago
from meterstone.contracts.csv_text import wants_csv
from meterstone.contracts.message import Problem, Reply, Request
from meterstone.edge.application import READING, Application
from meterstone.scope import Scope
from meterstone.store import Account, StoreUnavailableError
from meterstone.store.reading.analytics import AnalyticsStore, ViewNotBuiltError
from meterstone.usage.calendar import zone

store = AnalyticsStore.from_environment()
app = Application(
    lago,
    store,
    {StoreUnavailableError: Problem.UNAVAILABLE, ViewNotBuiltError: Problem.NOT_BUILT},
    seconds=READING,
)


@app.route("GET", "/api/v1/analytics/usage", scope=Scope.READ)
def analytics_usage(account: Account, request: Request) -> Reply:
    """List an organization's usage. The default of the last day is today in the organization's time zone."""
    now = clock.now()
    query = lago.parse(request, today=zone(account.organization.timezone).day_of(now))
    days = store.daily_usage(account, query, now)
    deleted, as_csv = account.deleted_codes(now), wants_csv(request)
    return lago.answer(account.organization.id, query, days, deleted, as_csv=as_csv)


handler = app.handler
starting.loaded()
