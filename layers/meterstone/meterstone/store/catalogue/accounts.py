"""Accounts: the organization that an API key opens, with its meters and the generations of its counters."""

import time
from collections.abc import Iterable
from copy import replace
from typing import Self

import msgspec

from meterstone.api_key import well_formed
from meterstone.scope import ALL_SCOPES, Scope, parse_scopes
from meterstone.store.catalogue.stored_format import FORMAT, refuse_another_format, stored_format
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST, Key
from meterstone.store.dynamodb.table import REMEMBERED, Action, ReadCost, Row, Table, integer, key_item, text
from meterstone.usage.instant import MINUTE
from meterstone.usage.meter import Meter
from meterstone.usage.rules import RULES
from meterstone.usage.subscription import Organization

#: How long the writer of a catalogue may be silent, in microseconds. After that the load is taken to have stopped,
#: and the catalogue is read as it stands.
LOADS = 2 * MINUTE
_MOST_REMEMBERED = 1000
_MOST_UNKNOWN = 10_000
_FIRST_GENERATION = "1"
#: The rules of a generation whose profile names none.
_FIRST_RULES = 1
_ORGANIZATION = msgspec.json.Decoder(Organization)
_METERS = msgspec.json.Decoder(tuple[Meter, ...])


class Generation(msgspec.Struct, frozen=True):
    """One counting of all events. Its rebuild counts the events accepted up to ``cut``; 0: no rebuild made it."""

    name: str
    cut: int = 0


class Account(msgspec.Struct, frozen=True):
    """An organization with its meters, as an API key opens it, and its generations of counters."""

    organization: Organization
    generation: str
    meters: tuple[Meter, ...] = ()
    #: The version of the whole catalogue. In the present stored format it only goes up when the format does.
    version: int = 0
    #: The `Generation.cut` of the live generation.
    cut: int = 0
    #: The generation that a rebuild is filling, and the one that was live before the last swap. Events are counted
    #: into both, too.
    next: Generation | None = None
    previous: Generation | None = None
    #: In stored format 1, when the writer of a catalogue that is half written was last heard of; else None.
    loading_at: int | None = None
    #: The views of the rollups that the live generation has.
    views: tuple[str, ...] = keys.FIRST_VIEWS
    #: The rules by which the live generation was counted: see `meterstone.usage.rules`.
    rules: int = RULES
    #: See `meterstone.store.catalogue.stored_format`.
    stored_format: int = FORMAT
    #: How many times it was changed which editions are read (see `meterstone.usage.counting`).
    flips: int = 0
    #: Goes up with each purge: an id that was purged may be another's by now.
    purges: int = 0
    #: A purge may have put events under other names that were accepted up to this instant: all, while one runs.
    purged_until: int = 0
    #: The id of the API key that opened it; empty if it was read without one.
    key_id: str = ""
    #: The scopes of that key. None, if it was read without a key.
    scopes: frozenset[Scope] = frozenset()

    @property
    def outdated(self) -> bool:
        """Whether the live generation was counted by older rules than this code's. A rebuild corrects it."""
        return self.rules < RULES

    def unsettled(self, now: int) -> bool:
        """Return whether a catalogue is being written: what is read of it now may be half old and half new."""
        return self.loading_at is not None and now < self.loading_at + LOADS

    @property
    def live(self) -> Generation:
        """The generation that is read."""
        return Generation(self.generation, self.cut)

    def deleted_codes(self, now: int) -> frozenset[str]:
        """Return the codes of deleted meters that no live meter has."""
        live = {meter.code for meter in self.meters if meter.deleted_at is None or meter.deleted_at > now}
        return frozenset(meter.code for meter in self.meters) - live


class Accounts:
    """Looks API keys up, and remembers for `REMEMBERED` seconds the accounts of good ones, and which are not good.

    So a revoked key works for at most so much longer.

    Keys that are not good are remembered apart. So nobody without a good key can have one forgotten.
    """

    def __init__(self, table: Table) -> None:
        """Look keys up in a table."""
        self._table = table
        self._known: dict[Key, tuple[float, Account]] = {}
        #: When each key was found to be unknown or revoked, the oldest first.
        self._unknown: dict[Key, float] = {}

    def account(self, api_key: str) -> Account | None:
        """Return the account of a key; None if it is malformed, unknown or revoked.

        Cost: nothing for a malformed or a remembered key; 1 consistent get, and 1 query if the key is good.
        """
        if not well_formed(api_key):
            return None
        key = keys.api_key(api_key)
        # The time of day is used, since a monotonic clock may stand still while the function is frozen.
        clock = time.time()
        known = self._known.get(key)
        if known is not None and 0 <= clock - known[0] < REMEMBERED:
            return known[1]
        self._known.pop(key, None)
        if 0 <= clock - self._unknown.get(key, -REMEMBERED) < REMEMBERED:
            return None
        # A consistent read, so that a key that was made a moment ago is not remembered as unknown. A key cannot be
        # made after it was asked for: it is drawn from 2^256, and nobody knows it before.
        row = self._table.get(key, consistent=True)
        if row is None or "revoked_at" in row:
            self._remember_unknown(key, clock)
            return None
        found = read_account(self._table, text(row, "org"))
        if found is None:
            return None
        account = replace(found, key_id=text(row, "id"), scopes=scopes_of(row))
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[key] = clock, account
        return account

    def _remember_unknown(self, key: Key, clock: float) -> None:
        self._unknown.pop(key, None)
        if len(self._unknown) >= _MOST_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[key] = clock


class AccountStore:
    """A table that is opened by API keys, as every function that answers HTTP needs it. One for each thread."""

    def __init__(self, table: Table) -> None:
        """Look keys up in a table."""
        self.table = table
        self._accounts = Accounts(table)

    @classmethod
    def from_environment(cls) -> Self:
        """Open the table named by ``TABLE_NAME``; ``AWS_ENDPOINT_URL_DYNAMODB`` chooses the engine."""
        return cls(Table.from_environment())

    @property
    def cost(self) -> ReadCost:
        """The items and read units since the last reset."""
        return self.table.cost

    def begin(self, seconds: float) -> None:
        """Begin a request that has so many seconds: all calls of the table, their attempts and pauses."""
        self.table.begin(seconds)

    def account(self, api_key: str) -> Account | None:
        """Return the account of an API key; None if it is not good. Remembered for 30 seconds, either way."""
        return self._accounts.account(api_key)


def scopes_of(row: Row) -> frozenset[Scope]:
    """Return the scopes of a key's item, or of its entry in the list: all, if it stores none."""
    return parse_scopes(text(row, "scopes")) if "scopes" in row else ALL_SCOPES


def read_account(table: Table, organization_id: str, *, consistent: bool = False) -> Account | None:
    """Read an organization with its meters; None if there is none. Cost: 1 query.

    Raises `StoredFormatError` if it is stored in another format than this code's.
    """
    pk = keys.organization(organization_id, "").pk
    rows = {text(row, "sk"): row for row in table.query(pk, "m", "q", consistent=consistent)}
    if "profile" not in rows:
        return None
    refuse_another_format(organization_id, rows["profile"])
    meters = _METERS.decode(text(rows["meters"], "doc")) if "meters" in rows else ()
    profile = rows["profile"]
    return Account(
        _ORGANIZATION.decode(text(profile, "doc")),
        text(profile, "gen") or _FIRST_GENERATION,
        meters,
        integer(profile, "ver"),
        integer(profile, "cut"),
        _generation(profile, "next"),
        _generation(profile, "prev"),
        integer(profile, "loading_at") if "loading_at" in profile else None,
        keys.parse_views(text(profile, "rollup_views")),
        integer(profile, "counted_by") if "counted_by" in profile else _FIRST_RULES,
        stored_format(profile),
        integer(profile, "flips"),
        integer(profile, "purges"),
        integer(profile, "purged_until"),
    )


def generation_alone(table: Table, account: Account) -> Action:
    """Return the action of a transaction by which an account's generation is live, and no other one being filled.

    Cost: 2 write units.
    """
    return {
        "ConditionCheck": {
            "TableName": table.name,
            "Key": key_item(keys.organization(account.organization.id, "profile")),
            # The first generation's name is not stored. Once there is a name, it stays.
            "ConditionExpression": "attribute_not_exists(gen_next) AND gen = :gen "
            "OR attribute_not_exists(gen_next) AND attribute_not_exists(gen)",
            "ExpressionAttributeValues": {":gen": {"S": account.generation}},
        }
    }


def read_generations(table: Table, organization_ids: Iterable[str]) -> dict[str, str]:
    """Read the names of organizations' live generations. Organizations without a catalogue are left out.

    Cost: 1 get each, in batches.
    """
    profiles = {keys.organization(each, "profile"): each for each in organization_ids}
    rows = table.batch_get(profiles, consistent=True)
    return {profiles[key]: text(row, "gen") or _FIRST_GENERATION for key, row in rows.items()}


def _generation(profile: Row, which: str) -> Generation | None:
    name = text(profile, f"gen_{which}")
    return Generation(name, integer(profile, f"cut_{which}")) if name else None


def list_organizations(table: Table) -> list[str]:
    """List the ids of all organizations that have a catalogue. Cost: 1 query."""
    return [text(row, "sk") for row in table.query(keys.listed("").pk, FIRST, LAST)]
