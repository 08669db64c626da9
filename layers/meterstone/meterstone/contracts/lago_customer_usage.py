"""Lago's current, past and projected usage of a customer's subscription on the wire.

What Lago's API description leaves open, or has not, is settled so:

- `to_datetime` is the last microsecond of a billing period, as it is the last second in Lago: the next period
  begins a microsecond later. `issuing_date` is the day on which it has ended, in the subscription's time zone.
- A charge is a line item. Its `code` is the line item's id; `charge_code` and `charge_id` filter on `code` and
  `lago_id`. The totals are those of the charges that are shown.
- Amounts are before the commitment, and there are no taxes: `apply_taxes` changes nothing.
- `events_count` is the number of events of a COUNT metric, and 0 for others: counters do not keep it.
- `filters` and `grouped_usage` are empty lists: usage is not grouped, and a request to group it is refused.
- Of past usage, `periods_count` is how many periods there are at most, on all pages together. A page has at most
  `MOST_PER_PAGE` periods, whatever `periods_count` is.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple, assert_never

from meterstone.contracts import lago, lago_pages
from meterstone.contracts.csv_text import VARY, csv_reply, wants_csv
from meterstone.contracts.lago_events import uuid_of
from meterstone.contracts.lago_pages import MOST_PER_PAGE
from meterstone.contracts.message import Problem, Reply, Request, RequestRefusedError
from meterstone.contracts.path_id import read_path_id
from meterstone.pricing.commitment import Charge
from meterstone.pricing.money import minor_units, plain
from meterstone.pricing.price import BillingModel, Price, TierMode
from meterstone.usage.calendar import zone
from meterstone.usage.instant import format_instant
from meterstone.usage.measure import WindowUsage
from meterstone.usage.meter import Aggregation, Meter
from meterstone.usage.projection import ProjectedUsage
from meterstone.usage.statement import charge_of, price_measured
from meterstone.usage.subscription import LineItem

_FILTERS: Final = {
    "charge_code": "charge_code",
    "charge_id": "charge_id",
    "billable_metric_code": "billable_metric_code",
    # The names that Lago had before.
    "filter_by_charge_code": "charge_code",
    "filter_by_charge_id": "charge_id",
}
_GROUPS: Final = frozenset({"group", "filter_by_group", "filter_by_presentation"})
_PAGING: Final = ("page", "per_page", "periods_count")
_PARAMETERS: Final = ("external_subscription_id", *_FILTERS, *_PAGING, *sorted(_GROUPS))
_COLUMNS: Final = (
    "from_datetime",
    "to_datetime",
    "issuing_date",
    "charge_code",
    "charge_model",
    "billable_metric_code",
    "billable_metric_name",
    "aggregation_type",
    "units",
    "events_count",
    "amount_cents",
    "amount_currency",
)

api_key = lago.api_key
refuse = lago.refuse
forbid = lago.forbid


class Asked(NamedTuple):
    """A request: the customer's id, the subscription's external id, filters, and which page."""

    customer_id: str
    external_subscription_id: str
    #: By `charge_code`, `charge_id` and `billable_metric_code`; a charge passes all that are given.
    filters: Mapping[str, str]
    page: int = 1
    per_page: int = MOST_PER_PAGE
    periods_count: int | None = None
    as_csv: bool = False

    @property
    def skip(self) -> int:
        """The number of periods on the pages before."""
        return (self.page - 1) * self.per_page


def parse(request: Request, *, paged: bool = False) -> Asked:
    """Read a request, and its paging if it is ``paged``. Unknown parameters are ignored.

    Raises `RequestRefusedError`: 404 for an id in the path that none can be, 422 with all bad parameters at once.
    """
    try:
        customer_id = read_path_id(request, "external_customer_id")
    except ValueError:
        raise RequestRefusedError(refuse(Problem.NOT_FOUND)) from None
    names = [name for name in _PARAMETERS if paged or name not in _PAGING]
    faults = lago.repeated(request.parameters, frozenset(names) - _GROUPS)
    for given in request.parameters:
        name = given.partition("[")[0]
        if name in _GROUPS:
            faults[name] = lago.Fault(lago.INVALID, "is not supported: usage is not grouped")

    def read[Value](name: str, reader: Callable[[str], Value]) -> Value | None:
        if name in faults or name not in request.parameters:
            return None
        try:
            return reader(request.parameters[name][0])
        except lago.ValueFaultError as error:
            faults[name] = error.fault
            return None

    external_id = read("external_subscription_id", lago.identifier)
    if external_id is None:
        faults.setdefault("external_subscription_id", lago.Fault(lago.MISSING, "is required"))
    filters = {meant: value for name, meant in _FILTERS.items() if (value := read(name, lago.identifier))}
    page, per_page, count = (read(name, lago_pages.number) if paged else None for name in _PAGING)
    if per_page is not None and per_page > MOST_PER_PAGE:
        faults["per_page"] = lago_pages.too_many()
    if faults:
        raise RequestRefusedError(
            lago.unprocessable({name: faults[name] for name in names if name in faults})
        )
    return Asked(
        customer_id,
        external_id or "",
        filters,
        page or 1,
        per_page or MOST_PER_PAGE,
        count,
        paged and wants_csv(request),
    )


def answer_current(organization_id: str, asked: Asked, usage: WindowUsage) -> Reply:
    """Write the usage of the current billing period: Lago's `customer_usage`."""
    found = _period(organization_id, asked, usage)
    return _sized(Reply.of(200, {"customer_usage": found}, counted_until=usage.counted_until))


def answer_projected(organization_id: str, asked: Asked, usage: ProjectedUsage) -> Reply:
    """Write the usage of the current billing period, and its projection: Lago's `customer_projected_usage`.

    What each charge was projected by stands in `meterstone`, an object of our own.
    """
    so_far, currency = usage.so_far, usage.so_far.subscription.currency
    found = _period(organization_id, asked, so_far)
    found["invoice_id"] = found.pop("lago_invoice_id")
    shown = {each["charge"]["code"]: each for each in found["charges_usage"]}
    total = 0
    for charge, by in usage.projected:
        told = shown.get(charge.key.id)
        if told is not None:
            told["projected_units"] = plain(charge.quantity)
            told["projected_amount_cents"] = minor_units(charge.amount, currency)
            told["meterstone"] = {"projected_by": by}
            total += told["projected_amount_cents"]
    found["projected_amount_cents"] = total
    return _sized(Reply.of(200, {"customer_projected_usage": found}, counted_until=so_far.counted_until))


def answer_past(organization_id: str, asked: Asked, usages: Iterable[WindowUsage], total: int) -> Reply:
    """Write a page of billing periods that have ended, latest first: Lago's `usage_periods`, or CSV.

    CSV has a row for each charge of each period. ``total`` is the number of periods on all pages together.
    """
    usages = list(usages)
    counted_until = max((each.counted_until for each in usages), default=0)
    found = [_period(organization_id, asked, each) for each in usages]
    meta = lago_pages.meta(asked.page, asked.per_page, total)
    later = meta["next_page"]
    if asked.as_csv:
        rows = [_cells(period, charge) for period in found for charge in period["charges_usage"]]
        headers = {} if later is None else {"X-Meterstone-Next-Page": str(later)}
        return _sized(csv_reply(_COLUMNS, rows, headers, counted_until))
    return _sized(Reply.of(200, {"usage_periods": found, "meta": meta}, VARY, counted_until))


def _period(organization_id: str, asked: Asked, usage: WindowUsage) -> dict[str, Any]:
    subscription, window = usage.subscription, usage.window
    charges = []
    for item, measured in usage.measured:
        charge = charge_of(item, price_measured(item.price, measured), subscription.currency)
        told = _charge(organization_id, subscription.id, subscription.currency, charge)
        if told is not None and _passes(asked.filters, told):
            charges.append(told)
    amount = sum(each["amount_cents"] for each in charges)
    day = zone(subscription.timezone).day_of(window.end)
    return {
        "from_datetime": format_instant(window.start),
        "to_datetime": format_instant(max(window.start, window.end - 1)),
        "issuing_date": date.fromordinal(day).isoformat(),
        "lago_invoice_id": None,
        "currency": subscription.currency.upper(),
        "amount_cents": amount,
        "taxes_amount_cents": 0,
        "total_amount_cents": amount,
        "charges_usage": charges,
    }


def _charge(
    organization_id: str, subscription_id: str, currency: str, charge: Charge[LineItem]
) -> dict[str, Any] | None:
    item, meter = charge.key, charge.key.meter
    if meter is None:
        return None
    units = plain(charge.quantity)
    name = item.price.details.get("display_name")
    return {
        "units": units,
        "total_aggregated_units": units,
        "events_count": int(charge.quantity) if meter.aggregation is Aggregation.COUNT else 0,
        "amount_cents": minor_units(charge.amount, currency),
        "amount_currency": currency.upper(),
        "charge": {
            "lago_id": str(uuid_of(organization_id, "charge", subscription_id, item.id)),
            "code": item.id,
            "charge_model": charge_model(item.price),
            "invoice_display_name": name if isinstance(name, str) else None,
        },
        "billable_metric": {
            "lago_id": str(uuid_of(organization_id, "billable_metric", meter.id)),
            "name": meter.name,
            "code": meter.code,
            "aggregation_type": aggregation_type(meter),
        },
        "filters": [],
        "grouped_usage": [],
    }


def charge_model(price: Price) -> str:
    """Return Lago's name of a price's model."""
    match price.billing_model:
        case BillingModel.FLAT_FEE:
            return "standard"
        case BillingModel.PACKAGE:
            return "package"
        case BillingModel.TIERED:
            return "volume" if price.tier_mode is TierMode.VOLUME else "graduated"
        case _:
            assert_never(price.billing_model)


def aggregation_type(meter: Meter) -> str:
    """Return Lago's name of a meter's aggregation; `custom_agg` for an average, which Lago has not."""
    match meter.aggregation:
        case Aggregation.COUNT:
            return "count_agg"
        case Aggregation.SUM | Aggregation.SUM_WITH_MULTIPLIER:
            return "sum_agg"
        case Aggregation.MAX:
            return "max_agg"
        case Aggregation.LATEST:
            return "latest_agg"
        case Aggregation.AVG:
            return "custom_agg"
        case Aggregation.COUNT_UNIQUE:
            return "unique_count_agg"
        case Aggregation.WEIGHTED_SUM:
            return "weighted_sum_agg"
        case _:
            assert_never(meter.aggregation)


def _passes(filters: Mapping[str, str], told: Mapping[str, Any]) -> bool:
    has = {
        "charge_code": told["charge"]["code"],
        "charge_id": told["charge"]["lago_id"],
        "billable_metric_code": told["billable_metric"]["code"],
    }
    return all(has[name] == value for name, value in filters.items())


def _cells(period: Mapping[str, Any], told: Mapping[str, Any]) -> list[Any]:
    charge, metric = told["charge"], told["billable_metric"]
    cells = {
        **period,
        **told,
        "charge_code": charge["code"],
        "charge_model": charge["charge_model"],
        "billable_metric_code": metric["code"],
        "billable_metric_name": metric["name"],
        "aggregation_type": metric["aggregation_type"],
        "units": Decimal(told["units"]),
    }
    return [cells[name] for name in _COLUMNS]


def _sized(reply: Reply) -> Reply:
    if not lago.is_too_large(reply):
        return reply
    reason = f"the answer would have more than {lago.LARGEST_ANSWER} bytes: ask for fewer at once, or filter"
    raise RequestRefusedError(lago.unprocessable({"per_page": lago.Fault(lago.ANSWER_TOO_LARGE, reason)}))
