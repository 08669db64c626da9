"""Records of the catalogue, changed one at a time: own routes, Lago's calls and Flexprice's."""

from meterstone import starting  # isort: split

from flexprice_routes import add_flexprice_routes
from lago_routes import add_lago_routes
from own_routes import add_own_routes

from meterstone.contracts import lago_catalogue
from meterstone.contracts.message import Problem
from meterstone.edge.application import CHANGING, Application
from meterstone.store import Account, StoreUnavailableError
from meterstone.store.catalogue.accounts import AccountStore

store = AccountStore.from_environment()
app: Application[Account] = Application(
    lago_catalogue, store, {StoreUnavailableError: Problem.UNAVAILABLE}, seconds=CHANGING
)
add_own_routes(app, store)
add_lago_routes(app, store)
add_flexprice_routes(app, store)

handler = app.handler
starting.loaded()
