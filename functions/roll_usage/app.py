"""Publishes, every hour, what the clock changes, and tries again the events that wait for the catalogue."""

from collections import Counter
from typing import Any

from aws_lambda_powertools.logging import Logger

from meterstone import clock
from meterstone.edge.metrics import embedded
from meterstone.store.catalogue.accounts import list_organizations, read_account
from meterstone.store.counting.fold import Fold
from meterstone.store.dynamodb.errors import StoredFormatError
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreUnavailableError, Table, WriteRefusedError
from meterstone.store.events.uncounted import read_numbers
from meterstone.store.operations.replay import catch_up
from meterstone.usage.instant import HOUR, MINUTE

#: For how long uncounted events are tried, of all organizations together. What is left goes on an hour later.
SLICE = 5 * MINUTE

logger = Logger(service="roll-usage")
table = Table.from_environment()


def handler(_event: dict[str, Any], _: object) -> None:
    """Publish what is due in every organization, count what the catalogue has caught up with, say what is left.

    Raises `WriteRefusedError` at the end, so that an alarm rings: see `Fold.roll`, and of an organization that is
    stored in another format. No organization keeps another from its turn.
    """
    now, refused = clock.now(), []
    live: dict[str, str] = {}
    organizations = list_organizations(table)
    for organization_id in organizations:
        try:
            account = read_account(table, organization_id, consistent=True)
        except StoredFormatError as error:
            refused.append(str(error))
            continue
        if account is None:
            continue
        live[organization_id] = account.generation
        if account.outdated:
            logger.warning(
                "was counted by older rules: a rebuild makes it right",
                extra={"organization": organization_id, "rules": account.rules},
            )
        try:
            rolled = Fold(table, organization_id, account.generation).roll(now)
        except WriteRefusedError as error:
            refused.append(f"{organization_id}: {error}")
        else:
            logger.info("rolled", extra={"organization": organization_id, "ledgers": rolled})
    # Another one is the first every hour: none waits for ever behind one that takes all the time there is.
    first = now // HOUR % len(organizations) if organizations else 0
    until = clock.now() + SLICE
    for organization_id in organizations[first:] + organizations[:first]:
        if clock.now() >= until:
            break
        try_again(organization_id, until)
    report_uncounted(live)
    if refused:
        raise WriteRefusedError("; ".join(refused))


def try_again(organization_id: str, until: int) -> None:
    """Count an organization's events that the catalogue has caught up with; if that cannot be, in an hour."""
    seen = {"organization": organization_id}
    try:
        report = catch_up(table, organization_id, clock.now, until)
    except (BusyError, StoreUnavailableError) as error:
        logger.warning("events that wait were not tried again", extra={**seen, "reason": str(error)})
        return
    if report is not None:
        found: dict[str, Any] = {
            **seen,
            "counted": report.counted,
            "unreadable": len({ident for ident, _ in report.uncounted}),
            "waiting": report.waiting,
            "withdrawn": report.withdrawn,
            "unfinished": report.unfinished,
        }
        logger.info("tried again", extra=found)


def report_uncounted(live: dict[str, str]) -> None:
    """Write how many events of all organizations count nowhere, for each reason. Alarms ring by these numbers."""
    numbers: Counter[str] = Counter()
    for organization_id, generation in live.items():
        numbers.update(read_numbers(table, organization_id, generation))
    for reason, number in numbers.items():
        logger.info("uncounted", extra=embedded(clock.now(), {"UncountedEvents": number}, reason=reason))
