"""`GET /catalogue/v1/…`: the catalogue's records, read only."""

from collections.abc import Callable
from typing import Final

from meterstone import starting
from meterstone.contracts import catalogue
from meterstone.contracts.catalogue_records import Value
from meterstone.contracts.message import Problem, Reply, Request
from meterstone.contracts.recounts import answer_recounts, recount_record
from meterstone.contracts.stored import Stored
from meterstone.edge.application import READING, Application
from meterstone.scope import Scope
from meterstone.store import Account, StoreUnavailableError
from meterstone.store.catalogue import listing, stamped
from meterstone.store.catalogue.accounts import AccountStore
from meterstone.store.catalogue.listing import Chosen, Page, Place
from meterstone.store.catalogue.recounts import list_recounts, read_recount
from meterstone.store.dynamodb.table import Table
from meterstone.usage.plan import decode_price

store = AccountStore.from_environment()
app: Application[Account] = Application(
    catalogue, store, {StoreUnavailableError: Problem.UNAVAILABLE}, seconds=READING
)

type List = Callable[[Table, str, Place], Page[Stored[Value]]]
type Find = Callable[[Table, str, str], Stored[Value] | None]


@app.route("GET", "/catalogue/v1/organization", scope=Scope.CATALOGUE)
def organization(account: Account, _: Request) -> Reply:
    """Show the organization that the key opens."""
    return Reply.of(200, catalogue.organization_record(account.organization))


@app.route("GET", "/catalogue/v1/subscriptions", scope=Scope.CATALOGUE)
def subscriptions(account: Account, request: Request) -> Reply:
    """List subscriptions: of a customer, of a plan, under an external id, in force at an instant."""
    asked = catalogue.parse(request, "subscription", ("customer", "plan", "external_id", "at"))
    chosen = Chosen(
        asked.filters.get("customer"), asked.filters.get("external_id"), asked.filters.get("plan"), asked.at
    )
    place = Place(asked.after, asked.limit)
    page = listing.list_subscriptions(store.table, account.organization.id, place, chosen)
    return catalogue.answer(asked, page.records, page.after)


@app.route("GET", "/catalogue/v1/recounts", scope=Scope.CATALOGUE)
def recounts(account: Account, request: Request) -> Reply:
    """List what changes for many subscriptions have done, and what they are at, the youngest first."""
    asked = catalogue.parse(request, "recount")
    found = list_recounts(store.table, account.organization.id, asked.after, asked.limit + 1)
    return answer_recounts(asked, found[: asked.limit], more=len(found) > asked.limit)


@app.route("GET", "/catalogue/v1/recounts/{id}", scope=Scope.CATALOGUE)
def recount(account: Account, request: Request) -> Reply:
    """Show how far a recount is."""
    name = catalogue.path_id(request, "recount")
    found = read_recount(store.table, account.organization.id, name)
    return catalogue.unknown("recount", name) if found is None else Reply.of(200, recount_record(found))


def add_list(kind: str, read: List) -> None:
    """Register the route that lists the records of a kind."""

    @app.route("GET", f"/catalogue/v1/{kind}s", scope=Scope.CATALOGUE)
    def answer(account: Account, request: Request) -> Reply:
        asked = catalogue.parse(request, kind)
        page = read(store.table, account.organization.id, Place(asked.after, asked.limit))
        return catalogue.answer(asked, page.records, page.after)


def add_record(kind: str, read: Find) -> None:
    """Register the route that shows a record of a kind. Another function has the methods that change it."""
    path = f"/catalogue/v1/{kind}s/{{id}}"
    app.answered_elsewhere(path, *CHANGING, *(("PATCH",) if kind == "subscription" else ()))

    @app.route("GET", path, scope=Scope.CATALOGUE)
    def answer(account: Account, request: Request) -> Reply:
        name = catalogue.path_id(request, kind)
        found = read(store.table, account.organization.id, name)
        return catalogue.unknown(kind, name) if found is None else catalogue.answer_one(found)


def prices(table: Table, organization_id: str, place: Place) -> Page[Stored[Value]]:
    """List prices."""
    page = listing.list_prices(table, organization_id, place)
    found = [(at, stamped.Stored(decode_price(each.value), each.stamp)) for at, each in page.records]
    return Page(found, page.after)


def meter(table: Table, organization_id: str, name: str) -> Stored[Value] | None:
    """Read a meter."""
    seen = stamped.read_meters(table, organization_id)
    found = next((each for each in seen.meters if each.id == name), None)
    return None if found is None else stamped.Stored(found, seen.stamps.get(name, stamped.NEVER))


def price(table: Table, organization_id: str, name: str) -> Stored[Value] | None:
    """Read a price."""
    found = stamped.read_price(table, organization_id, name)
    return None if found is None else stamped.Stored(decode_price(found.value), found.stamp)


def plan(table: Table, organization_id: str, name: str) -> Stored[Value] | None:
    """Read a plan as it is now."""
    return stamped.read_plan(table, organization_id, name)[0]


def customer(table: Table, organization_id: str, name: str) -> Stored[Value] | None:
    """Read a customer."""
    return stamped.read_customer(table, organization_id, name).stored


def subscription(table: Table, organization_id: str, name: str) -> Stored[Value] | None:
    """Read a subscription."""
    seen = stamped.read_terms(table, organization_id, name)
    return None if seen is None else seen.stored


CHANGING: Final = ("PUT", "DELETE")

add_list("meter", listing.list_meters)
add_list("price", prices)
add_list("plan", listing.list_plans)
add_list("customer", listing.list_customers)
add_record("meter", meter)
add_record("price", price)
add_record("plan", plan)
add_record("customer", customer)
add_record("subscription", subscription)

handler = app.handler
starting.loaded()
