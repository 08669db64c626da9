"""Loading a catalogue from YAML into the engine: anew, unchanged, and with one subscription more; a plan for all.

`python -m benchmarks.catalogue 20000` (with the paths that `make bench` sets) measures another size.
"""

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks import engine, world
from benchmarks.figures import Figure, Part

from meterstone import clock
from meterstone.catalogue.management import Management
from meterstone.catalogue.recounting import carry_all_on
from meterstone.pricing.price import Price
from meterstone.store.catalogue.recounts import SETTLED
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import put_organization
from meterstone.usage.instant import HOUR, format_instant
from meterstone.usage.subscription import Subscription
from meterstone_cli.catalogue import read_catalogue
from meterstone_cli.files.loading import load_catalogue

_SIZES, _QUICK = (500, 5000), (500,)
_BUDGET_SECONDS = 5.0


def run(quick: bool) -> Part:  # noqa: FBT001 - every part is called alike
    """Load a catalogue of each size."""
    return measured(_QUICK if quick else _SIZES)


def measured(sizes: Sequence[int]) -> Part:
    """Load catalogues of so many subscriptions, each into an engine of its own."""
    figures: list[Figure] = []
    for many in sizes:
        with tempfile.TemporaryDirectory(prefix="meterstone-bench-") as place, engine.running() as table:
            folder = Path(place)
            write(folder, many)
            figures.append(_figure(f"{many:,} subscriptions, first load", table, folder))
            figures.append(_figure(f"{many:,} subscriptions, unchanged", table, folder, _BUDGET_SECONDS))
            write(folder, many + 1)
            figures.append(_figure(f"{many:,} subscriptions, one more", table, folder, _BUDGET_SECONDS))
        with engine.running() as table:
            figures.append(_put_for_all(table, many))
    return Part(
        "catalogue",
        figures,
        notes=["own ms is CPU of the command, files is the share of the seconds in which the folder is read"],
        limits=[
            "reading: libyaml's events, then pydantic's checks of each record",
            "unchanged: the engine, which looks through the whole partition of the catalogue for each page",
            "first load: the engine: 25 new records go in one transaction, what lists them 25 in a batch",
        ],
    )


def _figure(name: str, table: Table, folder: Path, budget: float | None = None) -> Figure:
    began, spent = time.perf_counter(), time.process_time()
    catalogue, places = read_catalogue(folder)
    read = time.perf_counter() - began
    load_catalogue(table, catalogue, places, clock.now())
    beside = {"own ms": (time.process_time() - spent) * 1000, "files s": read}
    return Figure(name, time.perf_counter() - began, "s", budget, beside)


def _put_for_all(table: Table, many: int) -> Figure:
    """Have the subscriptions of a plan follow its next version, where none has events from then on."""
    organization_id = world.ORGANIZATION.id
    put_organization(table, world.ORGANIZATION)
    management = Management(table, organization_id)
    management.put("meter", "calls", {"code": "calls", "aggregation": "COUNT"})
    for amount in ("1", "2"):
        price = {"currency": "EUR", "billing_model": "FLAT_FEE", "meter_id": "calls", "amount": amount}
        management.put("price", f"at {amount}", price)
    management.put("plan", "basic", {"prices": ["at 1"], "billing_period": "MONTHLY"})
    start = format_instant(clock.now())
    records = [
        (f"s{number}", {"customer": f"c{number}", "plan": "basic", "currency": "EUR", "start": start})
        for number in range(many)
    ]
    management.put_many("customer", [(f"c{number}", {}) for number in range(many)])
    management.put_many("subscription", records)
    management.offer_to_all("basic", {"prices": ["at 2"], "billing_period": "MONTHLY"})

    def later() -> int:
        return clock.now() + SETTLED

    began, spent = time.perf_counter(), time.process_time()
    (recount,) = carry_all_on(table, later, later() + HOUR)
    took, own = time.perf_counter() - began, time.process_time() - spent
    if recount.done != many:
        raise RuntimeError(f"{recount.done} of {many} subscriptions follow")
    return Figure(
        f"{many:,} followers of a plan that is put for all", many / took, "/s", None, {"own ms": own * 1000}
    )


def write(folder: Path, many: int) -> None:
    """Write the catalogue of so many subscriptions as a person would: YAML, a record to an entry."""
    subscriptions = [world.subscription(number) for number in range(many)]
    prices = {item.price.id: item.price for item in subscriptions[0].line_items}
    files = {
        "organization": [f"id: {world.ORGANIZATION.id}"],
        "customers": (
            f"- {{id: {each.customer_id}, country: {each.country[0].value},"
            f" customer_type: {each.customer_type[0].value}}}"
            for each in subscriptions
        ),
        "plans": (f"- {{code: {code}}}" for code in sorted({each.plan[0].value for each in subscriptions})),
        "meters": (
            f"- {{id: {each.id}, code: {each.code}, name: {each.name}, aggregation: {each.aggregation},"
            f" event_name: {each.event_name}" + (f", field: {each.field}}}" if each.field else "}")
            for each in world.METERS
        ),
        "prices": _lines(map(_price, prices.values())),
        "subscriptions": _lines(map(_subscription, subscriptions)),
    }
    for kind, lines in files.items():
        (folder / f"{kind}.yaml").write_text("\n".join(lines) + "\n")


def _lines(records: Iterable[Iterable[str]]) -> Iterator[str]:
    for record in records:
        first, *more = record
        yield f"- {first}"
        yield from (f"  {line}" for line in more)


def _price(price: Price) -> Iterator[str]:
    yield f"id: {price.id}"
    yield f"currency: {price.currency}"
    yield f"billing_model: {price.billing_model}"
    yield f"meter_id: {price.meter_id}"
    yield f"amount: {price.amount}"
    if price.transform_quantity is not None:
        yield f"transform_quantity: {{divide_by: {price.transform_quantity.divide_by}}}"
    if price.tiers:
        yield f"tier_mode: {price.tier_mode}"
        yield "tiers:"
        for tier in price.tiers:
            up_to = "null" if tier.up_to is None else tier.up_to
            yield f"- {{up_to: {up_to}, unit_amount: {tier.unit_amount}, flat_amount: {tier.flat_amount}}}"


def _subscription(subscription: Subscription) -> Iterator[str]:
    yield f"id: {subscription.id}"
    yield f"external_id: {subscription.external_id}"
    yield f"customer: {subscription.customer_id}"
    yield f"plan: {subscription.plan[0].value}"
    yield f"currency: {subscription.currency}"
    yield f"start: {format_instant(subscription.start)}"
    yield "commitment: {amount: 500, overage_factor: 1.5}"
    yield "line_items:"
    for item in subscription.line_items:
        yield f"- {{id: {item.id}, price: {item.price.id}}}"


if __name__ == "__main__":
    from benchmarks import report

    print("\n".join(report.lines(measured([int(each) for each in sys.argv[1:]] or _SIZES))))
