"""Organizations of their own, each with a catalogue and a key, for tests of the official clients."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from meterstone import clock
from meterstone.catalogue.management import KindOfRecord, Management
from meterstone.store.catalogue.api_keys import create_key
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.load import create_table
from meterstone_cli.catalogue.folder import read_catalogue
from meterstone_cli.devserver.bookmark import begin
from meterstone_cli.devserver.follower import following
from meterstone_cli.devserver.server import running
from support.stack import ROOT, database
from support.written import write_stored

type Records = Mapping[str, Mapping[str, Any]]


def make_organization(folder: Path, *, meters: Records, prices: Records, plans: Records) -> tuple[str, str]:
    """Make an organization in Berlin with such records in the table that the environment names.

    Returns its id and a key that may do everything. A catalogue is written into the folder on the way.
    """
    table = Table.from_environment()
    organization_id = str(uuid4())
    record = {"id": organization_id, "name": "Acme", "timezone": "Europe/Berlin"}
    files = folder / "catalogue"
    files.mkdir()
    (files / "organization.yaml").write_text(yaml.safe_dump(record))
    catalogue, _ = read_catalogue(files)
    write_stored(table, catalogue)
    management = Management(table, organization_id)
    kinds: list[tuple[KindOfRecord, Records]] = [("meter", meters), ("price", prices), ("plan", plans)]
    for kind, records in kinds:
        for name, fields in records.items():
            management.put(kind, name, fields)
    key, _ = create_key(table, organization_id, "clients", clock.now())
    return organization_id, key


@contextlib.contextmanager
def counting() -> Iterator[str]:
    """Serve all functions over a table whose stream is followed, and give their address.

    The deployed ones if there are any: their table has its own follower.
    """
    if deployed := os.environ.get("METERSTONE_API_URL"):
        yield deployed
        return
    with database() as table, contextlib.ExitStack() as cleanup:
        create_table(table)
        begin()
        url = cleanup.enter_context(running(ROOT / "template.yaml"))
        cleanup.enter_context(following(ROOT / "functions"))
        yield url
