"""`GET /catalogue/v1/…`: the catalogue's records, read only."""

from meterstone.contracts import catalogue
from meterstone.contracts.message import Problem, Reply, Request
from meterstone.edge.application import READING, Application
from meterstone.scope import Scope
from meterstone.store import Account, StoreUnavailableError, UnknownSubscriptionError
from meterstone.store.catalogue.accounts import AccountStore
from meterstone.store.catalogue.listing import (
    Chosen,
    Place,
    list_customers,
    list_meters,
    list_plans,
    list_subscriptions,
)
from meterstone.store.catalogue.subscriptions import read_subscription

store = AccountStore.from_environment()
app = Application(
    catalogue,
    store,
    {StoreUnavailableError: Problem.UNAVAILABLE, UnknownSubscriptionError: Problem.NOT_FOUND},
    seconds=READING,
)


@app.route("GET", "/catalogue/v1/organization", scope=Scope.CATALOGUE)
def organization(account: Account, _: Request) -> Reply:
    """Show the organization that the key opens."""
    return Reply.of(200, catalogue.organization_record(account.organization))


@app.route("GET", "/catalogue/v1/customers", scope=Scope.CATALOGUE)
def customers(account: Account, request: Request) -> Reply:
    """List customers."""
    asked = catalogue.parse(request, "customer")
    page = list_customers(store.table, account.organization.id, Place(asked.after, asked.limit))
    return catalogue.answer(asked, page.records, page.after, catalogue.customer_record)


@app.route("GET", "/catalogue/v1/plans", scope=Scope.CATALOGUE)
def plans(account: Account, request: Request) -> Reply:
    """List plans."""
    asked = catalogue.parse(request, "plan")
    page = list_plans(store.table, account.organization.id, Place(asked.after, asked.limit))
    return catalogue.answer(asked, page.records, page.after, catalogue.plan_record)


@app.route("GET", "/catalogue/v1/meters", scope=Scope.CATALOGUE)
def meters(account: Account, request: Request) -> Reply:
    """List meters, deleted ones too."""
    asked = catalogue.parse(request, "meter")
    page = list_meters(account, Place(asked.after, asked.limit))
    return catalogue.answer(asked, page.records, page.after, catalogue.meter_record)


@app.route("GET", "/catalogue/v1/subscriptions", scope=Scope.CATALOGUE)
def subscriptions(account: Account, request: Request) -> Reply:
    """List subscriptions: of a customer, of a plan, under an external id, in force at an instant."""
    asked = catalogue.parse(request, "subscription", ("customer", "plan", "external_id", "at"))
    chosen = Chosen(
        asked.filters.get("customer"), asked.filters.get("external_id"), asked.filters.get("plan"), asked.at
    )
    place = Place(asked.after, asked.limit)
    page = list_subscriptions(store.table, account.organization.id, place, chosen)
    return catalogue.answer(asked, page.records, page.after, catalogue.subscription_record)


@app.route("GET", "/catalogue/v1/subscriptions/{id}", scope=Scope.CATALOGUE)
def subscription(account: Account, request: Request) -> Reply:
    """Show a subscription."""
    wanted = request.path_parameters["id"]
    found = read_subscription(store.table, account.organization.id, wanted)
    return Reply.of(200, catalogue.subscription_record(found))


handler = app.handler
