"""What is wrong with a table, its engine, or an organization on it, and what to do about it: see `doctor`."""

import ipaddress
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from meterstone.store.catalogue.accounts import Account, list_organizations, read_account
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.dynamodb.errors import UnreadableItemError
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreUnavailableError, Table
from meterstone.store.events.log import LoggedEvent, read_log
from meterstone.store.events.lookup import EventStore, State
from meterstone.store.events.quarantine import list_poison
from meterstone.store.events.uncounted import PARTLY, read_numbers
from meterstone.store.operations.generations import Generations
from meterstone.store.operations.import_records import Records
from meterstone.store.operations.purge_records import read_purges
from meterstone.usage.instant import HOUR, MINUTE, SECOND, format_instant
from meterstone.usage.receipt import Reason
from meterstone_cli.session import refuse_a_wrong_clock

#: How many events are looked at to see how far the stream is: some MB are read for them.
MOST_EVENTS: Final = 20_000
_NEWEST: Final = 20
#: After how long an event that came in over HTTP counts at the latest, if nothing is wrong.
_SOON: Final = MINUTE
#: After how long a recount is done, if nothing is wrong and it is not of millions of events.
_RECOUNTED: Final = HOUR

_REMEDIES: Final[Mapping[str, str]] = {
    Reason.SUBSCRIPTION: "load the subscriptions, or correct the ids at the sender",
    Reason.CUSTOMER: "load the customers' subscriptions, or correct the ids at the sender",
    Reason.TIME: "load a subscription of the same external id for the time that is missing",
    Reason.CODE: "load a meter for events of that name, or correct the name at the sender",
    Reason.VALUE: "withdraw them, and send them right under new ids",
}


class Finding(NamedTuple):
    """One thing that was looked at: whether it is well, what was found, and, if it is not, what to do."""

    check: str
    ok: bool
    found: str
    remedy: str = ""
    organization: str | None = None


def examine(table: Table, now: int, organization_id: str | None = None) -> Iterator[Finding]:
    """Look at a table, and at one organization on it or at all. What cannot be looked at ends it."""
    try:
        described = table.client.describe_table(TableName=table.name)["Table"]
    except (ClientError, BotoCoreError) as error:
        yield _unreachable(table.name, error)
        return
    yield Finding("table", ok=True, found=f"{table.name} at {table.client.meta.endpoint_url} answers")
    yield from _settings(table, described)
    yield _clock(table)
    yield from _quarantine(table)
    known = list_organizations(table)
    if organization_id is None and not known:
        remedy = "load a catalogue (`meterstone load FOLDER`)"
        yield Finding("organizations", ok=False, found="there is none", remedy=remedy)
    for each in known if organization_id is None else [organization_id]:
        yield from examine_organization(table, each, now)


def examine_organization(table: Table, organization_id: str, now: int) -> Iterator[Finding]:
    """Look at one organization: its catalogue, its counters, its events."""
    account = read_account(table, organization_id, consistent=True)
    if account is None:
        remedy = "load it (`meterstone load FOLDER`), or correct the id"
        yield Finding(
            "catalogue", ok=False, found="there is none", remedy=remedy, organization=organization_id
        )
        return
    for finding in (
        _catalogue(account, now),
        _rules(account),
        _rebuild(account),
        _purge(table, organization_id),
        _recounts(table, organization_id, now),
        _imports(table, organization_id),
        _stream(table, account, now),
        *_uncounted(table, account),
    ):
        yield finding._replace(organization=organization_id)


def _unreachable(name: str, error: Exception) -> Finding:
    match error:
        case ClientError() if error.response["Error"]["Code"] == "ResourceNotFoundException":
            remedy = "name the right one with --table or TABLE_NAME, or make it (`meterstone table create`)"
            return Finding("table", ok=False, found=f"there is no table {name} here", remedy=remedy)
        case ClientError():
            remedy = "give credentials that may read and describe the table"
        case EndpointConnectionError():
            remedy = (
                "start the engine (`meterstone start`), or correct AWS_ENDPOINT_URL_DYNAMODB or the region"
            )
        case _:
            remedy = "set region and credentials; `meterstone start` prints those of its own table"
    return Finding("table", ok=False, found=f"{name} does not answer: {error}", remedy=remedy)


def _settings(table: Table, described: Mapping[str, Any]) -> Iterator[Finding]:
    """Look at what template.yaml sets. The engine on this machine has no backups, and its stream no function."""
    keys = {each["KeyType"]: each["AttributeName"] for each in described["KeySchema"]}
    indexes = {each["IndexName"]: each for each in described.get("GlobalSecondaryIndexes", ())}
    due = {each["AttributeName"] for each in indexes.get("due", {}).get("KeySchema", ())}
    ok = keys == {"HASH": "pk", "RANGE": "sk"} and due == {"due_pk", "due_at"}
    found = "keys and index are right" if ok else "its keys or its index `due` are not Meterstone's"
    remedy = "" if ok else "it is another program's: make one of Meterstone's own (`meterstone table create`)"
    yield Finding("keys", ok=ok, found=found, remedy=remedy)
    stream = described.get("StreamSpecification", {})
    if not stream.get("StreamEnabled"):
        remedy = "deploy template.yaml; on this machine, `meterstone start` turns it on and follows it"
        found = "is off: events that come in over HTTP are logged, and nothing counts them"
        yield Finding("stream", ok=False, found=found, remedy=remedy)
    elif stream.get("StreamViewType") not in {"NEW_IMAGE", "NEW_AND_OLD_IMAGES"}:
        found = f"shows {stream.get('StreamViewType')}: an event's content is not in it"
        yield Finding("stream", ok=False, found=found, remedy="deploy template.yaml, which has NEW_IMAGE")
    else:
        yield Finding("stream", ok=True, found="is on")
    try:
        yield _expiry(table)
        if not _on_this_machine(table.client.meta.endpoint_url):
            yield _backups(table)
    except ClientError as error:
        remedy = "give credentials that may describe the table's time to live and backups"
        yield Finding("settings", ok=False, found=f"cannot all be looked at: {error}", remedy=remedy)


def _expiry(table: Table) -> Finding:
    expiry = table.client.describe_time_to_live(TableName=table.name)["TimeToLiveDescription"]
    expires = expiry.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
    found = f"deletes items by {expiry.get('AttributeName')}" if expires else "is off, as it must be"
    remedy = "turn it off: nothing in the table may vanish" if expires else ""
    return Finding("time to live", ok=not expires, found=found, remedy=remedy)


def _backups(table: Table) -> Finding:
    described = table.client.describe_continuous_backups(TableName=table.name)["ContinuousBackupsDescription"]
    status = described.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    ok = status == "ENABLED"
    remedy = "" if ok else "turn it on: the event log stands in this table alone (template.yaml does)"
    return Finding("point-in-time recovery", ok=ok, found="is on" if ok else "is off", remedy=remedy)


def _on_this_machine(url: str) -> bool:
    """Return whether an address is a loopback one.

    >>> _on_this_machine("http://127.0.0.1:8766"), _on_this_machine("https://dynamodb.eu-west-1.amazonaws.com")
    (True, False)
    """
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _clock(table: Table) -> Finding:
    try:
        refuse_a_wrong_clock(table)
    except BusyError as error:
        remedy = "set it right: until then commands that count refuse to run here"
        return Finding("clock", ok=False, found=str(error).partition(":")[0], remedy=remedy)
    return Finding("clock", ok=True, found="this machine's is the table's")


def _quarantine(table: Table) -> Iterator[Finding]:
    count = sum(1 for _ in list_poison(table))
    found = f"{count} records of the stream were quarantined" if count else "no record was quarantined"
    remedy = "`meterstone poison` lists them with reasons; when the cause is gone, rebuild" if count else ""
    yield Finding("quarantine", ok=not count, found=found, remedy=remedy)


def _catalogue(account: Account, now: int) -> Finding:
    if account.loading_at is None:
        return Finding("catalogue", ok=True, found="is written")
    if account.unsettled(now):
        return Finding("catalogue", ok=True, found="is being written just now")
    since = format_instant(account.loading_at)
    found = f"is half written: a load stopped at {since}"
    return Finding("catalogue", ok=False, found=found, remedy="load the same folder again, then rebuild")


def _rules(account: Account) -> Finding:
    found = f"usage was counted by rules {account.rules}"
    if not account.outdated:
        return Finding("rules", ok=True, found=f"{found}, which are this version's")
    remedy = "rebuild (`meterstone rebuild`; with --dry-run it lists what changes)"
    return Finding("rules", ok=False, found=f"{found}, which are an older version's", remedy=remedy)


def _rebuild(account: Account) -> Finding:
    if account.next is None:
        return Finding("rebuild", ok=True, found="none is open")
    remedy = "if none is running, run `meterstone rebuild` again, or give it up with --abandon"
    return Finding("rebuild", ok=False, found="one is running, or was stopped", remedy=remedy)


def _purge(table: Table, organization_id: str) -> Finding:
    for record in read_purges(table, organization_id):
        customer = record.names.customer[0]
        found = f"the purge of customer {customer} is running, or was stopped"
        remedy = f"if it is not running, run it again (`meterstone purge-customer {customer}`)"
        return Finding("purge", ok=False, found=found, remedy=remedy)
    return Finding("purge", ok=True, found="none is open")


def _recounts(table: Table, organization_id: str, now: int) -> Finding:
    """Look for recounts that should be done by now: until they are, answers are by the terms of before."""
    waiting = [each for each in read_recounts(table, organization_id) if each.done_at is None]
    late = [each for each in waiting if now - each.made_at > _RECOUNTED]
    if not late:
        return Finding("recounts", ok=True, found=f"{len(waiting)} under way" if waiting else "none is open")
    oldest = late[0]
    why = oldest.waits_for or next((reason for _, reason in oldest.reasons), "it has not said why")
    found = f"{oldest.id} is open since {format_instant(oldest.made_at)}: {why}"
    remedy = "remove what it waits for, or look at the log of recount_usage (`meterstone catalogue recounts`)"
    return Finding("recounts", ok=False, found=found, remedy=remedy)


def _imports(table: Table, organization_id: str) -> Finding:
    waiting = [each for each in Records.read(table, organization_id).all if each.open]
    if not waiting:
        return Finding("imports", ok=True, found="none is open")
    named = ", ".join(f"{each.source.name} (line {each.line})" for each in waiting[:_NEWEST])
    remedy = (
        "if none is running, import the same files again, or close them (`meterstone imports --close NAME`)"
    )
    return Finding("imports", ok=False, found=f"running, or stopped: {named}", remedy=remedy)


def _stream(table: Table, account: Account, now: int) -> Finding:
    """Look whether the newest events that came in over HTTP are counted."""
    subjects = Generations(table, account.organization.id).subjects()
    share = max(MOST_EVENTS // max(len(subjects), 1), 1)
    events: list[LoggedEvent] = []
    cut = False
    for subject in subjects:
        try:
            some = list(islice(read_log(table, account.organization.id, subject), share))
        except UnreadableItemError as error:
            remedy = "until then no rebuild and no recount of its subscription goes through"
            return Finding("counting", ok=False, found=str(error), remedy=remedy)
        cut = cut or len(some) == share
        events += [each for each in some if each.accepted and not each.withdrawn]
    newest = sorted(events, key=lambda each: each.accepted)[-_NEWEST:]
    of = f" (of the first {share} events of each external id)" if cut else ""
    if not newest:
        return Finding("counting", ok=True, found=f"no event came in over HTTP{of}")
    store = EventStore(table)
    pending = [each for each in newest if _is_pending(store, account, each)]
    late = [each for each in pending if now - each.accepted > _SOON]
    latest = format_instant(newest[-1].accepted)
    if not late:
        return Finding("counting", ok=True, found=f"has come as far as the event log, {latest}{of}")
    since, behind = format_instant(late[0].accepted), (newest[-1].accepted - late[0].accepted) // SECOND
    found = (
        f"events of {since} and later are not counted; the newest came in {behind} s later, at {latest}{of}"
    )
    remedy = "look at the log of fold_usage and at its alarm; on this machine, `meterstone start` counts them"
    return Finding("counting", ok=False, found=found, remedy=remedy)


def _is_pending(store: EventStore, account: Account, logged: LoggedEvent) -> bool:
    found = store.find(account, [logged.event.id], logged.subject)
    return found is not None and found.state is State.PENDING


def _uncounted(table: Table, account: Account) -> Iterator[Finding]:
    numbers = read_numbers(table, account.organization.id, account.generation)
    elsewhere = numbers.pop(PARTLY)
    unpriced = numbers.pop(Reason.LINE_ITEM)
    for reason, number in numbers.items():
        if number:
            found = f"{number} events do not count, for the reason `{reason}`"
            remedy = f"`meterstone uncounted --reason {reason}` lists them: {_REMEDIES[reason]}"
            yield Finding("uncounted", ok=False, found=found, remedy=remedy)
    if elsewhere:
        found = f"{elsewhere} events count for one meter, and another cannot read them"
        remedy = f"`meterstone uncounted --reason value` lists them: {_REMEDIES[Reason.VALUE]}"
        yield Finding("uncounted", ok=False, found=found, remedy=remedy)
    if not elsewhere and not any(numbers.values()):
        priced = f"; {unpriced} are not priced, which may be meant" if unpriced else ""
        yield Finding("uncounted", ok=True, found=f"no event is uncounted by mistake{priced}")


def failed(error: StoreUnavailableError) -> Finding:
    """Return the finding that the table has stopped answering."""
    return Finding("table", ok=False, found=f"has stopped answering: {error}", remedy="try again later")
