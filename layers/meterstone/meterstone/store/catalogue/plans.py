"""Plans as they are stored: as they are now, and every version that they have had."""

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Row, Table, text
from meterstone.usage.plan import Plan, PlanPrices, decode_plan, decode_price, price_list


def read_plan(table: Table, organization_id: str, code: str, *, consistent: bool = False) -> Plan | None:
    """Read a plan as it is now; None if there is none of that code. Cost: 1 get."""
    row = table.get(keys.catalogue(organization_id, "plan", code), consistent=consistent)
    return None if row is None else unpack_plan(row)


def unpack_plan(row: Row) -> Plan:
    """Read a plan from its item."""
    return decode_plan(text(row, "doc"))


def read_plan_prices(table: Table, organization_id: str, code: str) -> PlanPrices | None:
    """Read a plan with its prices, of which there may be none; None if there is no plan of that code.

    Cost: 1 get, and 1 for each price that is not remembered.
    """
    plan = read_plan(table, organization_id, code)
    if plan is None:
        return None
    wanted = [keys.catalogue(organization_id, "price", each) for each in plan.prices]
    prices = table.unchanging(wanted, lambda row: decode_price(text(row, "doc")))
    return price_list(code, prices.values())
