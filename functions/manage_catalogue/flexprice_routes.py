"""The routes of Flexprice's calls on the catalogue: customers, subscriptions, plans and prices."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from flexprice_at import Catalogue
from flexprice_searching import resolve_all, search_customers, search_subscriptions
from flexprice_subscribing import cancel, change, change_in_place, subscribe

from meterstone import clock
from meterstone.catalogue.management import (
    CatalogueConflictError,
    KindOfRecord,
    Management,
    RecordRefusedError,
    StaleRecordError,
    UnknownRecordError,
)
from meterstone.contracts import flexprice_catalogue as flexprice
from meterstone.contracts import (
    flexprice_changes,
    flexprice_customers,
    flexprice_pages,
    flexprice_subscriptions,
)
from meterstone.contracts.flexprice_changes import Changed
from meterstone.contracts.flexprice_customers import customer_object
from meterstone.contracts.flexprice_subscription_objects import answer_plan, answer_price, subscription_object
from meterstone.contracts.message import Reply, Request, RequestRefusedError
from meterstone.edge.application import Answer, Application
from meterstone.scope import Scope
from meterstone.store import UnknownSubscriptionError
from meterstone.store.catalogue.accounts import Account, AccountStore
from meterstone.store.catalogue.pages import terms_of_customer
from meterstone.store.catalogue.stamped import NEVER, Stored
from meterstone.usage.plan import Plan
from meterstone.usage.subscription import Customer

type Route = Callable[[Catalogue, Request], Reply]


def add_flexprice_routes(app: Application[Account], store: AccountStore) -> None:
    """Register the routes, which work on the table of a store."""
    for (method, path), (route, about) in ROUTES.items():
        app.route(method, path, flexprice, scope=Scope.CATALOGUE)(_in_flexprices_words(route, about, store))


def _in_flexprices_words(route: Route, about: str, store: AccountStore) -> Answer[Account]:
    """Answer by a route, and write in Flexprice's shape what the catalogue refuses."""

    def answer(account: Account, request: Request) -> Reply:
        management = Management(store.table, account, clock.now)
        try:
            return route(Catalogue(store.table, account.organization, management, clock.now()), request)
        except RecordRefusedError as error:
            return flexprice.refuse_record(about, error.errors)
        except CatalogueConflictError as error:
            return flexprice.refuse_conflict(about, error.path, error.reason)
        except StaleRecordError:
            return flexprice.refuse_stale()
        except UnknownRecordError as error:
            return flexprice.refuse_unknown(error.kind, error.id)
        except UnknownSubscriptionError as error:
            # It was deleted since it was read.
            return flexprice.refuse_unknown("subscription", str(error))

    return answer


def post_customer(at: Catalogue, request: Request) -> Reply:
    """Make a customer. One that is there already is the answer if it is like it."""
    asked = flexprice_customers.parse_create(request)
    stored = at.customer(asked.id)
    if stored is None:
        try:
            stored = at.management.put("customer", asked.id, asked.record({}), if_match=0).stored
        except StaleRecordError:
            # Another request has made it meanwhile.
            stored = at.customer(asked.id)
    if stored is None:
        return flexprice.refuse_stale()
    if not asked.is_like(stored.value, at.now):
        return flexprice.refuse_existing("customer", "external_id")
    return _customer(at, stored, 201)


def put_customer(at: Catalogue, request: Request) -> Reply:
    """Change a customer. Its fields that the request does not have stay as they are."""
    asked = flexprice_customers.parse_change(request)
    stored = at.customer(asked.id)
    if stored is None:
        return flexprice.refuse_unknown("customer", asked.id)

    def fields(found: Stored[Customer] | None) -> Mapping[str, object]:
        return asked.record({} if found is None else found.value.details)

    return _customer(at, at.management.merge("customer", asked.id, fields).stored)


def find_customer(at: Catalogue, request: Request) -> Reply:
    """Show a customer."""
    return _customer(at, _found(at, "customer", request, "id"))


def find_customer_by_external_id(at: Catalogue, request: Request) -> Reply:
    """Show the customer of an external id, which is its id."""
    return _customer(at, _found(at, "customer", request, "external_id"))


def delete_customer(at: Catalogue, request: Request) -> Reply:
    """Delete a customer that no subscription refers to."""
    at.management.delete("customer", _found(at, "customer", request, "id").value.id)
    return Reply(204, "")


def post_customer_search(at: Catalogue, request: Request) -> Reply:
    """List a page of customers."""
    asked = flexprice_pages.parse_customers(request)
    listed = search_customers(at, asked)
    zone = at.organization.timezone
    items = [customer_object(each, zone, at.now) for each in listed.page]
    return flexprice_pages.answer(items, asked.page, listed.total)


def list_subscriptions_of_customer(at: Catalogue, request: Request) -> Reply:
    """List all subscriptions of the customer of an external id."""
    customer = _found(at, "customer", request, "external_id")
    stored = terms_of_customer(at.table, at.organization.id, customer.value.id)
    whole = resolve_all(at, sorted(stored, key=lambda each: (each.value.start, each.value.id)))
    return flexprice_pages.answer_all([subscription_object(*each, at.now) for each in whole])


def post_subscription(at: Catalogue, request: Request) -> Reply:
    """Subscribe a customer to a plan."""
    return _subscription(at, subscribe(at, flexprice_subscriptions.parse(request)), 201)


def find_subscription(at: Catalogue, request: Request) -> Reply:
    """Show a subscription."""
    return _subscription(at, _found(at, "subscription", request, "id"))


def post_subscription_search(at: Catalogue, request: Request) -> Reply:
    """List a page of subscriptions."""
    asked = flexprice_pages.parse_subscriptions(request)
    listed = search_subscriptions(at, asked)
    items = [subscription_object(*each, at.now, line_items=asked.line_items) for each in listed.page]
    return flexprice_pages.answer(items, asked.page, listed.total)


def post_cancel(at: Catalogue, request: Request) -> Reply:
    """End a subscription now, with its billing period or at an instant."""
    asked = flexprice_changes.parse_cancel(request, at.now)
    stored = cancel(at, _whole(at, request), asked)
    # Not the instant of the request: one that ends now ended after that.
    return flexprice_changes.answer_cancel(asked, stored.value, clock.now())


def post_change(at: Catalogue, request: Request) -> Reply:
    """Have another subscription with another plan follow on a subscription."""
    asked = flexprice_changes.parse_change(request)
    old, new = change(at, _whole(at, request), asked)
    return flexprice_changes.answer_change(asked, at.whole(old), at.whole(new), clock.now())


def post_change_in_place(at: Catalogue, request: Request) -> Reply:
    """Change the plan of a subscription, which goes on."""
    asked = flexprice_changes.parse_change_in_place(request)
    stored, before, since = change_in_place(at, _whole(at, request), asked)
    plans = [at.plan(code) or Stored(Plan(code), NEVER) for code in (before, asked.plan)]
    return flexprice_changes.answer_change_in_place(asked, plans, since, at.whole(stored), clock.now())


def find_plan(at: Catalogue, request: Request) -> Reply:
    """Show a plan with its prices."""
    plan = _found(at, "plan", request, "id")
    prices = (at.management.get("price", each) for each in plan.value.prices)
    return answer_plan(plan, [each for each in prices if each is not None])


def find_price(at: Catalogue, request: Request) -> Reply:
    """Show a price."""
    return answer_price(_found(at, "price", request, "id"))


ROUTES: Final[Mapping[tuple[str, str], tuple[Route, str]]] = {
    ("POST", "/v1/customers"): (post_customer, "customer"),
    ("PUT", "/v1/customers"): (put_customer, "customer"),
    ("POST", "/v1/customers/search"): (post_customer_search, "customer"),
    ("GET", "/v1/customers/{id}"): (find_customer, "customer"),
    ("DELETE", "/v1/customers/{id}"): (delete_customer, "customer"),
    ("GET", "/v1/customers/external/{external_id}"): (find_customer_by_external_id, "customer"),
    ("GET", "/v1/customers/external/{external_id}/subscriptions"): (
        list_subscriptions_of_customer,
        "subscription",
    ),
    ("POST", "/v1/subscriptions"): (post_subscription, "subscription"),
    ("POST", "/v1/subscriptions/search"): (post_subscription_search, "subscription"),
    ("GET", "/v1/subscriptions/{id}"): (find_subscription, "subscription"),
    ("POST", "/v1/subscriptions/{id}/cancel"): (post_cancel, "cancel"),
    ("POST", "/v1/subscriptions/{id}/change/execute"): (post_change, "change"),
    ("POST", "/v1/subscriptions/{id}/change/v2/execute"): (post_change_in_place, "change"),
    ("GET", "/v1/plans/{id}"): (find_plan, "plan"),
    ("GET", "/v1/prices/{id}"): (find_price, "price"),
}
"""The function that answers each method and path, and what it is about: that decides how fields are called."""


def _found(at: Catalogue, kind: KindOfRecord, request: Request, part: str) -> Any:
    """Return the record of a kind that a part of the path names. Raises `RequestRefusedError` (404)."""
    name = flexprice.path_id(request, part, kind)
    stored = at.management.get(kind, name)
    if stored is None:
        raise RequestRefusedError(flexprice.refuse_unknown(kind, name))
    return stored


def _whole(at: Catalogue, request: Request) -> Changed:
    return at.whole(_found(at, "subscription", request, "id"))


def _customer(at: Catalogue, stored: Stored[Customer], status: int = 200) -> Reply:
    return Reply.of(status, customer_object(stored, at.organization.timezone, at.now))


def _subscription(at: Catalogue, stored: Any, status: int = 200) -> Reply:
    # Not the instant of the request: one that begins now began after that.
    return Reply.of(status, subscription_object(*at.whole(stored), clock.now()))
