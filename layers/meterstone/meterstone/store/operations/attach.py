"""Attaching a restored table: every organization is rebuilt before a stack opens on the table.

A restored table has the items of one instant. Events that were logged by then and not yet counted are on no
stream: the stream of the table that they were put into is not the restored table's. So counters and rollups of
every organization are counted anew from the log, beside the restored ones, and swapped in.

A stopped attachment goes on where it was. Nothing is stored for that: an organization's live generation has a cut
(see `rebuild`) that lies after the table was restored only if it was rebuilt since.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from copy import replace
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event as Flag

from meterstone.store.catalogue.accounts import list_organizations, read_account
from meterstone.store.dynamodb.errors import StoreError
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.rebuild import RebuildReport, Surroundings, rebuild


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of one organization: the report of its rebuild, or the reason why there was none."""

    organization_id: str
    report: RebuildReport | None = None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the organizations of a table stand: rebuilt since an instant, or not yet.

    ``half_loaded`` are those whose catalogue was being written at the restore point: some of their subscriptions
    are of the catalogue before.
    """

    rebuilt: list[str]
    left: list[str]
    half_loaded: list[str]


class _StoppedError(StoreError):
    """Another organization's rebuild was interrupted, and so this one's is."""


def standing(table: Table, since: int) -> Standing:
    """Look which organizations were rebuilt since an instant. Cost: 1 query, and 1 for each organization."""
    found = Standing([], [], [])
    for organization_id in list_organizations(table):
        account = read_account(table, organization_id, consistent=True)
        if account is None:
            continue
        (found.rebuilt if account.cut > since else found.left).append(organization_id)
        if account.loading_at is not None:
            found.half_loaded.append(organization_id)
    return found


def rebuild_each(
    tables: Sequence[Table], organizations: Iterable[str], around: Surroundings
) -> Iterator[Rebuilt]:
    """Rebuild organizations, as many at once as there are tables. Yield each when it is done, or refused.

    Every one of ``tables`` is the same table, opened once more: each is used by one thread at a time.
    """
    free: SimpleQueue[Table] = SimpleQueue()
    for table in tables:
        free.put(table)
    stop = Flag()

    def one(organization_id: str) -> Rebuilt:
        table = free.get()
        try:
            return Rebuilt(
                organization_id, rebuild(table, organization_id, _told(around, organization_id, stop))
            )
        except StoreError as error:
            return Rebuilt(organization_id, refused=str(error))
        finally:
            free.put(table)

    with ThreadPoolExecutor(len(tables)) as pool:
        try:
            for done in as_completed([pool.submit(one, each) for each in organizations]):
                yield done.result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _told(around: Surroundings, organization_id: str, stop: Flag) -> Surroundings:
    """Have a rebuild say whose it is, and end at its next pause if the whole is interrupted."""

    def sleep(seconds: float) -> None:
        if stop.is_set():
            raise _StoppedError("stopped")
        around.sleep(seconds)

    def progress(text: str) -> None:
        around.progress(f"{organization_id}: {text}")

    return replace(around, sleep=sleep, progress=progress)
