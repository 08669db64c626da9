"""The whole of Meterstone as a client meets it: a base URL, keys, and what is known to be there.

What is there is `tests/small`, whose README has the figures. Behind the URL run the functions as they ship and a
DynamoDB engine, by default ministack in a process of its own. The environment can say otherwise:
`AWS_ENDPOINT_URL_DYNAMODB` names an engine that runs already, `METERSTONE_ENGINE` the virtual environment that has
ministack, `METERSTONE_API_URL` an API that was deployed over the table `TABLE_NAME`.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest import mock
from uuid import uuid4

from meterstone import clock
from meterstone.scope import Scope
from meterstone.store.catalogue.api_keys import create_key, revoke_key
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.imports import Source
from meterstone.store.operations.load import create_table
from meterstone_cli.catalogue.folder import read_catalogue
from meterstone_cli.devserver import engine
from meterstone_cli.devserver.server import running
from meterstone_cli.files.loading import import_events
from meterstone_cli.files.usage_files import UsageEvent, read_usage
from support.written import write_stored

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).parents[1] / "small"
ENGINE = Path(os.environ.get("METERSTONE_ENGINE", ROOT / ".venvs/engine"))


@dataclass(frozen=True, slots=True)
class Stack:
    """A running Meterstone with `tests/small` in it. Each key is good for both contracts."""

    base_url: str
    key: str
    revoked_key: str
    #: The key of an organization that has a subscription of its own, and no usage.
    other_key: str
    #: By scope, a key of the first organization that has this scope alone.
    scoped_keys: Mapping[Scope, str]
    other_subscription_id: str = "sub_stranger"
    organization_id: str = "0c9d1c52-8f0e-4d0b-9d5c-6b1f6c1f0a01"
    subscription_id: str = "sub_acme"
    #: A subscription that has no usage.
    quiet_subscription_id: str = "sub_shy"


@contextlib.contextmanager
def database() -> Iterator[Table]:
    """Give a table of an engine, made for as long as the block lasts; the environment names both."""
    with contextlib.ExitStack() as cleanup:
        variables = {"TABLE_NAME": os.environ.get("TABLE_NAME", f"meterstone-{uuid4().hex[:12]}")}
        if "AWS_ENDPOINT_URL_DYNAMODB" not in os.environ:
            state = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
            url = cleanup.enter_context(engine.running(ENGINE, state, engine.free_port(), keep=False))
            variables |= engine.environment_of_clients(url)
        cleanup.enter_context(mock.patch.dict(os.environ, variables))
        yield Table.from_environment()


@contextlib.contextmanager
def stack() -> Iterator[Stack]:
    """Run Meterstone on a loopback port as long as the block lasts."""
    with database() as table, contextlib.ExitStack() as cleanup:
        keys = fill(table)
        url = os.environ.get("METERSTONE_API_URL")
        if url is None:
            url = cleanup.enter_context(running(ROOT / "template.yaml"))
        yield Stack(url, *keys)


def fill(table: Table) -> tuple[str, str, str, dict[Scope, str]]:
    """Load both organizations and the usage; give a key, a revoked one, the other's, and one of each scope."""
    create_table(table)
    catalogue, _ = read_catalogue(SMALL / "catalogue")
    other, _ = read_catalogue(SMALL / "other")
    write_stored(table, catalogue)
    write_stored(table, other)
    rows = [
        (line, row)
        for line, row in read_usage(SMALL / "usage.csv", clock.now())
        if isinstance(row, UsageEvent)
    ]
    refused: list[str] = []
    import_events(
        table,
        catalogue.organization.id,
        Source("usage.csv", uuid4().hex),
        rows,
        clock.now(),
        lambda line, _, reason: refused.append(f"line {line}: {reason}"),
    )
    assert not refused
    revoked, revoked_id = create_key(table, catalogue.organization.id, "revoked", clock.now())
    assert revoke_key(table, revoked_id, clock.now())
    clients, _ = create_key(table, catalogue.organization.id, "clients", clock.now())
    others, _ = create_key(table, other.organization.id, "other", clock.now())
    scoped = {
        scope: create_key(table, catalogue.organization.id, scope, clock.now(), [scope])[0] for scope in Scope
    }
    return clients, revoked, others, scoped
