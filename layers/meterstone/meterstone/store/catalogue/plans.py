"""Plans as they are stored: a document of each plan's name, and the prices that belong to it."""

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Table, text
from meterstone.usage.plan import PlanPrices, plan_prices


def read_plan_prices(table: Table, organization_id: str, code: str) -> PlanPrices | None:
    """Read a plan with its prices, of which there may be none; None if there is no plan of that code.

    Cost: 1 get, and 1 query of all prices of the catalogue.
    """
    if table.get(keys.catalogue(organization_id, "plan", code)) is None:
        return None
    prices = keys.catalogue_kind(organization_id, "price")
    return plan_prices(code, (text(row, "doc") for row in table.query_prefix(prices.pk, prices.sk)))
