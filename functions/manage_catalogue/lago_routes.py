"""The routes of Lago's calls on the catalogue: customers, subscriptions, plans and billable metrics."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from lago_at import Catalogue
from lago_listing import list_page
from lago_subscribing import SubscriptionFound, find, subscribe, terminate, update
from lago_withdrawing import withdraw

from meterstone import clock
from meterstone.catalogue.management import (
    CatalogueConflictError,
    Management,
    RecordRefusedError,
    UnknownRecordError,
)
from meterstone.contracts import (
    lago_catalogue,
    lago_customers,
    lago_plans,
    lago_subscription_answers,
    lago_subscriptions,
)
from meterstone.contracts.lago_pages import PageAsked
from meterstone.contracts.message import Reply, Request, RequestRefusedError
from meterstone.edge.application import Answer, Application
from meterstone.scope import Scope
from meterstone.store.catalogue.accounts import Account, AccountStore
from meterstone.store.catalogue.pages import (
    customer_ids,
    read_all_plans,
    read_prices_of,
    read_some_customers,
)
from meterstone.store.catalogue.stamped import Stored, read_meters
from meterstone.usage.meter import Meter
from meterstone.usage.subscription import Customer

type Route = Callable[[Catalogue, Request], Reply]


def add_lago_routes(app: Application[Account], store: AccountStore) -> None:
    """Register the routes, which work on the table of a store."""
    for (method, path), route in ROUTES.items():
        app.route(method, path, lago_catalogue, scope=Scope.CATALOGUE)(_in_lago_s_words(route, store))


def _in_lago_s_words(route: Route, store: AccountStore) -> Answer[Account]:
    """Answer by a route, and write in Lago's shape what the catalogue refuses."""

    def answer(account: Account, request: Request) -> Reply:
        management = Management(store.table, account, clock.now)
        try:
            return route(Catalogue(store.table, account.organization, management, clock.now()), request)
        except RecordRefusedError as error:
            return lago_catalogue.refuse_record(error.errors)
        except CatalogueConflictError as error:
            return lago_catalogue.refuse_conflict(error.path, error.reason)
        except UnknownRecordError as error:
            return lago_catalogue.not_found(error.kind)

    return answer


def put_customer(at: Catalogue, request: Request) -> Reply:
    """Make or change a customer. Its fields that the request does not have stay as they are."""
    asked = lago_customers.parse(request)

    def fields(stored: Stored[Customer] | None) -> Mapping[str, object]:
        return asked.record({} if stored is None else stored.value.details)

    return _customer(at, at.management.merge("customer", asked.external_id, fields).stored)


def find_customer(at: Catalogue, request: Request) -> Reply:
    """Show a customer."""
    return _customer(at, _found(at.customer, "customer", "external_customer_id", request))


def delete_customer(at: Catalogue, request: Request) -> Reply:
    """Delete a customer that no subscription refers to."""
    found = _found(at.customer, "customer", "external_customer_id", request)
    return _customer(at, at.management.delete("customer", found.value.id))


def list_customers(at: Catalogue, request: Request) -> Reply:
    """List a page of customers, in the order of their ids."""
    asked = lago_customers.parse_list(request)
    ids = customer_ids(at.table, at.organization.id)
    page = read_some_customers(at.table, at.organization.id, _page(ids, asked))
    return lago_customers.answer_list(
        at.organization.id, at.organization.timezone, asked, page, len(ids), at.now
    )


def post_subscription(at: Catalogue, request: Request) -> Reply:
    """Subscribe a customer to a plan, or change the plan of a subscription."""
    return _subscription(at, subscribe(at, lago_subscriptions.parse(request)))


def find_subscription(at: Catalogue, request: Request) -> Reply:
    """Show the subscription that has an external id and a status."""
    return _subscription(at, find(at, lago_subscriptions.parse_one(request)))


def put_subscription(at: Catalogue, request: Request) -> Reply:
    """Change a subscription's name or end."""
    return _subscription(at, update(at, lago_subscriptions.parse_update(request)))


def delete_subscription(at: Catalogue, request: Request) -> Reply:
    """End a subscription now, or call off a pending one."""
    return _subscription(at, terminate(at, lago_subscriptions.parse_one(request)))


def list_subscriptions(at: Catalogue, request: Request) -> Reply:
    """List a page of subscriptions."""
    asked = lago_subscriptions.parse_list(request)
    page, total, siblings = list_page(at, asked)
    return lago_subscription_answers.answer_list(
        at.organization.id, asked.page, page, total, siblings, at.now
    )


def find_plan(at: Catalogue, request: Request) -> Reply:
    """Show a plan."""
    plan = _found(at.plan, "plan", "code", request)
    prices = read_prices_of(at.table, at.organization.id, [plan.value])
    return lago_plans.answer_plan(at.organization.id, plan, prices, _meters(at))


def list_plans(at: Catalogue, request: Request) -> Reply:
    """List a page of plans, in the order of their codes."""
    asked = lago_plans.parse_list(request)
    plans = read_all_plans(at.table, at.organization.id)
    page = _page(plans, asked)
    prices = read_prices_of(at.table, at.organization.id, (each.value for each in page))
    return lago_plans.answer_plans(at.organization.id, asked, page, prices, _meters(at), len(plans))


def find_metric(at: Catalogue, request: Request) -> Reply:
    """Show a billable metric that is not deleted."""
    code = lago_catalogue.path_id(request, "code", "meter")
    seen = read_meters(at.table, at.organization.id)
    live = _live(seen.meters, at.now)
    meter = next((each for each in live if each.code == code), None)
    if meter is None:
        return lago_catalogue.not_found("meter")
    return lago_plans.answer_metric(at.organization.id, meter, seen.stamps.get(meter.id))


def list_metrics(at: Catalogue, request: Request) -> Reply:
    """List a page of the billable metrics that are not deleted, in the order of their ids."""
    asked = lago_plans.parse_list(request)
    seen = read_meters(at.table, at.organization.id)
    return lago_plans.answer_metrics(at.organization.id, asked, _live(seen.meters, at.now), seen.stamps)


ROUTES: Final[Mapping[tuple[str, str], Route]] = {
    ("POST", "/api/v1/customers"): put_customer,
    ("GET", "/api/v1/customers"): list_customers,
    ("GET", "/api/v1/customers/{external_customer_id}"): find_customer,
    ("DELETE", "/api/v1/customers/{external_customer_id}"): delete_customer,
    ("POST", "/api/v1/subscriptions"): post_subscription,
    ("GET", "/api/v1/subscriptions"): list_subscriptions,
    ("GET", "/api/v1/subscriptions/{external_id}"): find_subscription,
    ("PUT", "/api/v1/subscriptions/{external_id}"): put_subscription,
    ("DELETE", "/api/v1/subscriptions/{external_id}"): delete_subscription,
    ("GET", "/api/v1/plans"): list_plans,
    ("GET", "/api/v1/plans/{code}"): find_plan,
    ("GET", "/api/v1/billable_metrics"): list_metrics,
    ("GET", "/api/v1/billable_metrics/{code}"): find_metric,
    ("DELETE", "/api/v1/events/{transaction_id}"): withdraw,
}
"""The function that answers each method and path."""


def _found[T](read: Callable[[str], Stored[T] | None], kind: str, part: str, request: Request) -> Stored[T]:
    """Return the record of a kind that a part of the path names. Raises `RequestRefusedError` (404)."""
    stored = read(lago_catalogue.path_id(request, part, kind))
    if stored is None:
        raise RequestRefusedError(lago_catalogue.not_found(kind))
    return stored


def _customer(at: Catalogue, stored: Stored[Customer]) -> Reply:
    return lago_customers.answer(at.organization.id, at.organization.timezone, stored, at.now)


def _subscription(at: Catalogue, found: SubscriptionFound) -> Reply:
    # What has begun or ended with the request is later than it.
    now = clock.now()
    return lago_subscription_answers.answer(at.organization.id, found.stored, found.siblings, now)


def _meters(at: Catalogue) -> dict[str, Meter]:
    return {each.id: each for each in read_meters(at.table, at.organization.id).meters}


def _live(meters: Iterable[Meter], now: int) -> list[Meter]:
    live = (each for each in meters if each.deleted_at is None or now < each.deleted_at)
    return sorted(live, key=lambda each: each.id)


def _page[T](records: Sequence[T], asked: PageAsked) -> Sequence[T]:
    return records[asked.skip : asked.skip + asked.per_page]
