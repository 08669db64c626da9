"""Publishes, every hour, what the clock brings: recurring values, ended days of weighted sums, unfinished work."""

from typing import Any

from aws_lambda_powertools.logging import Logger

from meterstone import clock
from meterstone.store.catalogue.accounts import list_organizations, read_account
from meterstone.store.counting.fold import Fold
from meterstone.store.dynamodb.table import Table, WriteRefusedError

logger = Logger(service="roll-usage")
table = Table.from_environment()


def handler(_event: dict[str, Any], _: object) -> None:
    """Publish what is due in every organization. Raises `WriteRefusedError` at the end: see `Fold.roll`."""
    now, refused = clock.now(), []
    for organization_id in list_organizations(table):
        account = read_account(table, organization_id, consistent=True)
        if account is None:
            continue
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
    if refused:
        raise WriteRefusedError("; ".join(refused))
