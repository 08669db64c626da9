"""The table: every item's key, what it holds, and the access patterns that read it.

One table with the keys `pk` and `sk`, both text. The parts of a key are joined by `#`. A `#` inside an id is
escaped, and an id of more than 64 bytes is replaced by its hash, so that no id can name another item. `<org>` is
the organization's id, and `<g>` its generation, which a rebuild swaps.

| item | pk | sk | read by | read units (eventually consistent, by size s in KB) |
|---|---|---|---|---|
| API key | `key#<sha-256>` | `key` | get, once in 30 s | 0.5 |
| key listing | `keys` | `<key id>` | query, by the command line alone | s/8 |
| organization | `<org>#organization` | `profile`, `meters` | query, once in 30 s | s/8 |
| catalogue | `<org>#catalogue` | `<kind>#<id>` | get; query, when records are listed | s/8 |
| version of a plan | `<org>#catalogue` | `version#<code>#<number>` | batch get | 0.5 each |
| customer | `<org>#customer#<external id>` | `#` | batch get | 0.5 each |
| external id | `<org>#external#<external id>` | `#` | batch get | 0.5 each |
| subscription | `<org>#subscription#<id>` | `document` | get | s/8 |
| … of a customer | `<org>#customer#<external id>` | `<subscription id>` | query | s/8 |
| … by external id | `<org>#external#<external id>` | `<subscription id>` | query | s/8 |
| counter | `<org>#<g>#usage#<subscription>` | `C#<cadence>#<period start>#<line item>#<chunk>` | query of a cadence's range | s/8 |
| chain | the same | `R#<meter>` | get | 0.5 |
| hours | the same | `H#<line item>#<period start>#<day>` | batch get | 0.5 each |
| buckets | the same | `B#<line item>#<period start>#<day>` | batch get | 0.5 each |
| detail | the same | `E#<line item>#<hour or day start>#<length>#<shard>#<number>` | query of an hour, consistent | s/4 |
| first seen | the same | `F#<line item or meter>#<period start>#<value>` | batch get; query | 0.5 each; s/8 |
| values of a day | the same | `U#<line item>#<day>#<period start>#<value>` | query of a range of days | s/8 |
| rollup | `<org>#<g>#rollup#<view>#<values>` | `<month>#<currency>#<meter>#<customer type>#<writer>` | query of a range of months | s/8 |
| event | `<org>#events#<s or c>#<external id>` | `<transaction id>` | conditional put | |
| unmatched | `<org>#unmatched` | `<s or c>#<external id>#<transaction id>` | query, when they are listed and when an event is looked up | s/8 |
| unreadable | `<org>#unreadable` | `<s or c>#<external id>#<transaction id>` | query, when they are listed | s/8 |
| uncounted | `<org>#uncounted` | `numbers` | get, when they are listed | 0.5 |
| scanned | `<org>#<g>#scanned` | `<s or c>#<external id>` | batch get | 0.5 each |
| late | `<org>#<g>#late` | `<s or c>#<external id>` | query, when a rebuild ends | s/4 |
| poison | `poison` | `<record's sha-256>` | query, by the command line alone | s/8 |
| organization listing | `organizations` | `<org>` | query, once an hour | s/8 |
| follower | `follower` | `place` | get, by the local server alone | 0.5 |
| heartbeat | `heartbeat` | `hour` | nobody: the stream brings it to whoever counts | |
| import | `<org>#imports` | `<content's sha-256>` | get | 0.5 |
| purge | `<org>#purges` | `<customer's external id>` | query, before a rebuild and a load | 0.5 |
| recount | `<org>#recounts` | `<id>` | get; query, when they are listed and when a plan is put for all | 0.5; s/8 |

Index `due` (sparse, keys only): `due_pk` = `<org>#<g>#due`, `due_at` = the instant at which the clock alone will
change the tally. Subscriptions whose tallies are to be woken are in it, too: `due_pk` = `<org>#unwoken`, `due_at` =
when it was put that the tallies go otherwise. So are recounts that are not done: `due_pk` = `recounts`, `due_at` =
when one may be carried on; those that are done while what was read before is still there: `due_pk` =
`recounts-turned`, `due_at` = when that is deleted; then `due_pk` = `recounts-done`, `due_at` = when one goes itself.
And so are rollups of all writers but the first: `due_pk` = `<org>#<g>#merging`, `due_at` = when they are merged.

The attributes of an item beside its key. Instants are in microseconds since 1970 unless the table says otherwise:

| item | attribute | holds |
|---|---|---|
| API key, key listing | `org`, `id`, `name`, `created_at` | whose it is; its id and name; when it was made |
| | `scopes` | its scopes, parted by commas; absent if it has all |
| | `revoked_at` | when it was revoked; absent while it is good |
| key listing | `digest` | the key's SHA-256, under which its item is found |
| `profile` | `doc` | the organization, as JSON |
| | `ver` | goes up when the stored format does |
| | `gen`, `cut` | the live generation (absent: `1`); its rebuild counted the events accepted up to `cut` |
| | `rollup_views` | the views that the live generation has, parted by commas (absent: `T,P,C,PC`) |
| | `gen_next`, `cut_next` | the same of the one that a rebuild is filling |
| | `gen_prev`, `cut_prev` | the same of the one that was live before, until it is deleted |
| | `counted_by` | the rules by which the live generation was counted (absent: `1`); see `rules` in `usage` |
| | `stored_format` | the form of the organization's items (absent: `1`); see `stored_format` in `store/catalogue` |
| | `gen_last` | the highest generation that a rebuild has begun: none is used again |
| | `gens_gone` | generations that are being deleted, parted by commas |
| | `lease_by`, `lease_until` | the command that holds the lease, and until when; absent if none does |
| | `replayed` | the last number that `replay` has given to an event |
| | `try_from`, `try_ver` | where trying what waits goes on, and by which `ver` of the subject; absent at its end |
| | `puts` | how many puts have told late subjects to a rebuild (see `operations.late_subjects`) |
| | `runs` | how many runs of imports have begun |
| | `flips` | how many times other editions were read from then on (see `usage.counting`) |
| | `purges` | goes up when what is remembered of a purged customer's ids is not to be used any more |
| | `purged_until` | events that were accepted up to this instant may be under other names; absent if none can be |
| | `upgraded_at` | when it was upgraded to the present stored format; absent if it never had another |
| … in stored format 1 | `ver` | goes up when a catalogue begins to be written, and when it is written |
| | `loading_at` | when a catalogue that is half written was last written to; absent if none is |
| | `tried_ver` | by which `ver` all that waits was last tried to the end; nothing reads it any more |
| `meters` | `doc` | all meters, as JSON |
| | `rev`, `revs` | the version of the list; `rev`, `made_at` and `put_at` of each meter, as JSON |
| catalogue | `id`, `doc` | the record's id, and the record as JSON; of a customer and a subscription, the id alone |
| | `rev`, `made_at`, `put_at` | the record's version, from 1; when it was made, and last put |
| | `used` | of a plan: 1 once a subscription has named it |
| customer | `doc`, `rev`, `made_at`, `put_at` | the customer as JSON, and as above; absent while there is none |
| | `counted`, `begun_at` | 1 once anything was counted for it; see `store/catalogue/subjects.py` |
| | `moves` | how often its facts were changed for a time that was counted, as JSON; see `usage.subscription` |
| customer, external id | `ver` | goes up with each change of a subscription that names it |
| | `latest_at` | the time of the latest event that was counted by it |
| | `tried` | the `ver` by which all that waits of it was last tried |
| | `readings` | how many times its log was read for a recount |
| | `reading` | by how many recounts it is being read: none of its events is withdrawn; absent if by none |
| subscription | `terms` | its terms, as JSON |
| | `counting` | how it is counted, if not by its terms alone, as JSON (see `usage.counting`) |
| | `rev`, `made_at`, `put_at` | as of records of the catalogue |
| | `due_pk`, `due_at` | while its tallies are to be woken: see the index `due` |
| | `doc` | in the place of terms, in stored format 1: the subscription with prices and meters |
| … of a customer, by external id | `id` | the subscription's id |
| counter, chain, hours, buckets, detail, first seen, values | | see `packing` |
| rollup | `u01` … `u31` | of each day of the month, the integer part of the units |
| | `f01` … `f31` | 10^18 times their fraction, with their sign; absent where it was never but 0 |
| | `a01` … `a31` | minor units of the currency |
| | `acc` | when the newest event that the rollup counts came in over HTTP |
| | `moved_at` | when numbers were last moved from it, or to it (see `counting.merging`); absent if none was |
| | `due_pk`, `due_at` | of all writers but the first: see the index `due` |
| event | | see `events.log` |
| unmatched | | the event's attributes, and those that `events.unmatched` lists |
| unreadable, uncounted | | see `events.uncounted` |
| late | `k`, `x` | the subject |
| poison | `record`, `reason`, `put_at` | the stream's record as JSON; why and when it was quarantined |
| follower | `doc` | up to where the local server has followed the table's stream, as JSON |
| | `held_by`, `held_until` | the process that follows it, and until when (in seconds since 1970) |
| heartbeat | `beat` | when it was last written |
| import | `name` | what people call the source |
| | `at`, `done` | when it last ran; the same if it was read to its end, else absent (both RFC 3339) |
| | `run`, `closed` | the number of its last run; the number of the run that closed it, or 0 |
| | `line`, `taken` | the line up to which all is counted; the last line that closing it found in the log |
| | `v` | version |
| purge | `names`, `secret`, `at`, `renaming`, `swapped` | see `operations.purge_records`; there only while a customer is being purged |
| recount | `id` | the recount's id, which begins with the second in which it was made |
| | `what` | `plan`: it has those that follow a plan follow a version of it; `usage`: it counts anew; `move` |
| | `customer` | of `move`: the customer whose facts of the past are others |
| | `renamed` | of `move`: the subscription whose plan has another name for the past |
| | `subscriptions`, `line_items` | of `usage`: the ids, and the line items or meters of chains, as JSON |
| | `events` | of `usage`: how many events the logs had |
| | `plan`, `version`, `since` | the plan's code, the number of the version, and from which instant on |
| | `place` | of `plan`: the sort key of the last subscription (of the catalogue's list) that is done |
| | | of `usage`: up to where the logs are read, as JSON (see `operations.log_counting`); empty when all is done |
| | | of `move`: the generation, the number of moves and the last subscription that is done, as JSON |
| | `done`, `refused` | how many subscriptions follow the version now, and how many cannot |
| | `reasons` | the first of those that cannot, as JSON: pairs of the subscription's id and the reason; of `usage` and `move`, why the rollups do not take what was counted |
| | `waits_for` | what must be over before it can come on; empty if nothing must |
| | `made_at`, `put_at`, `done_at` | when it was made, when it last came on, when it was done; absent until then |
| | `lease_by`, `lease_until` | who carries it on, and until when; absent if nobody does |
| | `due_pk`, `due_at` | see the index `due` |

The other items, `scanned` and the organization listing, have nothing but their keys.
"""

from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from meterstone.usage.charge import Dimensions
from meterstone.usage.edition import SEPARATOR
from meterstone.usage.instant import END_OF_TIME, key_instant, parse_key_instant, utc_midnight
from meterstone.usage.tally import TallyKey

CHUNK_DAYS = 62

VIEWS: dict[str, tuple[str, ...]] = {"T": (), "P": ("plan",), "C": ("country",), "PC": ("plan", "country")}
"""The views of the rollups, by name, each with the `Dimensions` that it is divided by.

A query is answered by the last view all of whose dimensions the query filters on.

A generation has the views that existed when it was begun; the organization's profile names them. A view that is
added here later is filled from then on, also in the live generation. But it has no past, and answers only after a
rebuild.
"""

FIRST_VIEWS = ("T", "P", "C", "PC")
"""The views of a generation whose profile names none."""

WRITERS = 4
"""How many items a rollup is spread over. So many folds can add to it at once without conflict."""

FIRST, LAST = " ", "\U0010ffff" * 17
"""Bounds of all sort keys of a partition: a part of a key that is an id has at most 64 bytes."""

LAST_VERSION = 10**8 - 1
"""The highest version that a plan can have."""

_LONGEST_PART = 64
#: Stands between an id and an edition; an id has no such part, since a `%` in it is followed by 25 or 23.
_EDITION = "%~"
#: Keys are made of the same few ids and dates again and again, so the latest parts are remembered.
_REMEMBERED = 4096
#: A batch may have a thousand subscriptions, each of which has four ids. When fewer are remembered than come in turn,
#: none is found again.
_PARTS_REMEMBERED = 4 * _REMEMBERED


class Key(NamedTuple):
    """The key of one item."""

    pk: str
    sk: str


class Kind(StrEnum):
    """What an item of a subscription's usage is, by the first part of its sort key."""

    COUNTER = "C"
    CHAIN = "R"
    HOURS = "H"
    BUCKETS = "B"
    DETAIL = "E"
    FIRST_SEEN = "F"
    VALUE = "U"


class CounterKey(NamedTuple):
    """The parsed sort key of a counter's chunk: the counter's name (see `counter_name`), and the chunk."""

    name: str
    chunk: int


class EditionKey(NamedTuple):
    """Whose tally an item belongs to, and of which edition.

    ``name`` is the line item as a part of a key (see `part`), or the meter of a chain: then ``since`` is None. Else
    ``since`` is the start of the billing period; of a detail that of its hour or day.
    """

    name: str
    number: int
    since: int | None


class ValueKey(NamedTuple):
    """The parsed sort key of a value of a day.

    Line item and value are parts of a key (see `part`). The billing period's start has the form of `key_instant`.
    """

    item: str
    day: int
    period_start: str
    value: str


class RollupKey(NamedTuple):
    """The sort key of a rollup, read back; meter and type of customers as parts of a key (see `part`)."""

    month: str
    currency: str
    meter: str
    customer_type: str
    writer: str


@lru_cache(_PARTS_REMEMBERED)
def part(text: str) -> str:
    """Return an id as a part of a key: short, and without the separator.

    A name with an edition (see `meterstone.usage.edition.stored_as`) keeps the edition behind it.

    >>> part("a#b"), part("é"), len(part("x" * 255)), part("seats" + SEPARATOR + "2")
    ('a%23b', 'é', 65, 'seats%~2')
    """
    if SEPARATOR in text:
        name, _, edition = text.partition(SEPARATOR)
        return f"{part(name)}{_EDITION}{edition}"
    escaped = text.replace("%", "%25").replace("#", "%23")
    if escaped and len(escaped.encode()) <= _LONGEST_PART and not escaped.startswith("~"):
        return escaped
    return "~" + sha256(text.encode()).hexdigest()


def api_key(key: str) -> Key:
    """Key of an API key's item: the key itself is stored nowhere."""
    return Key("key#" + sha256(key.encode("utf-8", "surrogatepass")).hexdigest(), "key")


def api_key_by_digest(digest: str) -> Key:
    """Key of an API key's item, by the key's SHA-256."""
    return Key(f"key#{digest}", "key")


def digest_of(key: Key) -> str:
    """Return the SHA-256 that an API key's item is found by."""
    return key.pk.removeprefix("key#")


def key_listing(key_id: str) -> Key:
    """Key of an API key's entry in the list of all."""
    return Key("keys", part(key_id))


def organization(organization_id: str, sort: str) -> Key:
    """Key of an organization's ``profile`` or ``meters``."""
    return Key(f"{organization_id}#organization", sort)


def catalogue(organization_id: str, kind: str, name: str) -> Key:
    """Key of a catalogue entry of a kind."""
    return Key(f"{organization_id}#catalogue", f"{kind}#{part(name)}")


def catalogue_kind(organization_id: str, kind: str) -> Key:
    """Partition and prefix of the sort keys of all entries of a kind."""
    return Key(f"{organization_id}#catalogue", f"{kind}#")


def parse_catalogue_kind(sk: str) -> str:
    """Read the kind of a catalogue entry back from its sort key."""
    return sk.partition("#")[0]


def plan_version(organization_id: str, code: str, version: int) -> Key:
    """Key of a version of a plan, which never changes."""
    return Key(f"{organization_id}#catalogue", f"version#{part(code)}#{version:08}")


def subject(organization_id: str, kind: str, external_id: str) -> Key:
    """Key of a subject's item; a customer's is the customer's record.

    It lies in the partition of the items that list the subject's subscriptions. No part of a key begins with a
    `#`, so that it is none of them.
    """
    listed_by = "external" if kind == "s" else "customer"
    return Key(f"{organization_id}#{listed_by}#{part(external_id)}", "#")


def customer(organization_id: str, customer_id: str) -> Key:
    """Key of a customer's record."""
    return subject(organization_id, "c", customer_id)


def unwoken(organization_id: str) -> str:
    """Partition of the index `due` that lists the subscriptions whose tallies are to be woken."""
    return f"{organization_id}#unwoken"


def recount(organization_id: str, recount_id: str = "") -> Key:
    """Key of a recount."""
    return Key(f"{organization_id}#recounts", part(recount_id))


def is_recount(key: Key) -> bool:
    """Return whether a key is that of a recount."""
    return key.pk.endswith("#recounts")


def organization_of_recount(key: Key) -> str:
    """Return the id of the organization whose recount has a key.

    >>> organization_of_recount(recount("acme", "20260301T000000-0a1b2c3d"))
    'acme'
    """
    return key.pk.removesuffix("#recounts")


def open_recounts() -> str:
    """Partition of the index `due` that lists the recounts of all organizations that are not done."""
    return "recounts"


def turned_recounts() -> str:
    """Partition of the index `due` that lists the recounts whose tallies of before are to be deleted."""
    return "recounts-turned"


def done_recounts() -> str:
    """Partition of the index `due` that lists the recounts of all organizations that are done, until they go."""
    return "recounts-done"


def subscription(organization_id: str, subscription_id: str) -> Key:
    """Key of a subscription's document."""
    return Key(f"{organization_id}#subscription#{part(subscription_id)}", "document")


def of_customer(organization_id: str, customer_id: str, subscription_id: str = "") -> Key:
    """Key of the item that lists a subscription under its customer."""
    return Key(f"{organization_id}#customer#{part(customer_id)}", part(subscription_id))


def by_external_id(organization_id: str, external_id: str, subscription_id: str = "") -> Key:
    """Key of the item that lists a subscription under its external id."""
    return Key(f"{organization_id}#external#{part(external_id)}", part(subscription_id))


def usage(organization_id: str, generation: str, subscription_id: str) -> str:
    """Partition of everything that was counted for a subscription."""
    return f"{organization_id}#{generation}#usage#{part(subscription_id)}"


def usage_kind(kind: Kind) -> str:
    """Prefix of the sort keys of all items of a kind of a subscription's usage."""
    return f"{kind}#"


def parse_usage_kind(sk: str) -> str:
    """Return the kind of an item of a subscription's usage (see `Kind`) from its sort key."""
    return sk.partition("#")[0]


def counter(cadence: str, period_start: int, item_id: str, chunk: int) -> str:
    """Sort key of a counter's chunk of 62 days."""
    return f"{counter_name(cadence, period_start, item_id)}#{chunk:05}"


def counter_name(cadence: str, period_start: int, item_id: str) -> str:
    """Return the text that the sort keys of all chunks of a counter begin with."""
    return f"C#{cadence}#{key_instant(period_start)}#{part(item_id)}"


def counter_chunks(cadence: str, period_start: int, item_id: str) -> str:
    """Prefix of the sort keys of all of a counter's chunks, and of no other item."""
    return f"{counter_name(cadence, period_start, item_id)}#"


def parse_counter(sk: str) -> CounterKey:
    """Parse the sort key of a counter's chunk.

    >>> parse_counter(counter("monthly.1", 0, "item", 7))
    CounterKey(name='C#monthly.1#1970-01-01T00:00:00.000000Z#item', chunk=7)
    """
    name, _, chunk = sk.rpartition("#")
    return CounterKey(name, int(chunk))


def parse_period_start(sk: str) -> int:
    """Read the start of the billing period back from the sort key of a counter's chunk.

    >>> parse_period_start(counter("monthly.1", 5_000_000, "item", 7))
    5000000
    """
    return parse_key_instant(sk.split("#")[2])


def parse_item(sk: str) -> str:
    """Read back whose line item's an item of a subscription's usage is; of some it is the meter. A part of a key.

    The edition is left out.

    >>> parse_item(counter("monthly.1", 0, "item", 7)), parse_item(hours("item" + SEPARATOR + "2", 0, 738000))
    ('item', 'item')
    """
    return _parse_stored_as(sk).partition(_EDITION)[0]


def _parse_stored_as(sk: str) -> str:
    parts = sk.split("#")
    return parts[3] if parts[0] == Kind.COUNTER else parts[1]


def parse_item_day(sk: str) -> int:
    """Read the day back from the sort key of a line item's hours, or of its buckets.

    >>> parse_item_day(hours("item", 0, 738000)), parse_item_day(buckets("item", 0, 738001))
    (738000, 738001)
    """
    return parse_day(sk.split("#")[3])


def counters(cadence: str, first_start: int, last_start: int) -> tuple[str, str]:
    """Range of sort keys that holds a cadence's counters from one period to another, both included."""
    # "$" is the character after "#", so the keys of all line items lie below.
    return f"C#{cadence}#{key_instant(first_start)}#", f"C#{cadence}#{key_instant(last_start)}$"


def chain(meter_id: str) -> str:
    """Sort key of the head of a recurring meter's chain; the meter with its edition."""
    return f"R#{part(meter_id)}"


def parse_edition(sk: str) -> EditionKey:
    """Parse whose tally an item of a subscription's usage belongs to from its sort key, and of which edition.

    >>> parse_edition(hours("seats" + SEPARATOR + "2", 5_000_000, 738000))
    EditionKey(name='seats', number=2, since=5000000)
    >>> parse_edition(chain("users"))
    EditionKey(name='users', number=0, since=None)
    """
    parts = sk.split("#")
    kind = parts[0]
    name, _, edition = _parse_stored_as(sk).partition(_EDITION)
    of_meter = kind == Kind.CHAIN or (kind == Kind.FIRST_SEEN and parts[2] == "-")
    since = None if of_meter else parse_key_instant(parts[3] if kind == Kind.VALUE else parts[2])
    return EditionKey(name, int(edition or 0), since)


def hours(item_id: str, period_start: int, day: int) -> str:
    """Sort key of a line item's hours on a day, of one billing period.

    Two periods may share a day. Each has a tally of its own, and no item may belong to two tallies.
    """
    return f"H#{part(item_id)}#{key_instant(period_start)}#{_day(day)}"


def buckets(item_id: str, period_start: int, day: int) -> str:
    """Sort key of a line item's buckets on a day, of one billing period."""
    return f"B#{part(item_id)}#{key_instant(period_start)}#{_day(day)}"


def detail(item_id: str, start: int, length: str, shard: str, number: int, piece: int) -> str:
    """Sort key of the events that one fold counted in one hour, or one day (see ``length``)."""
    return f"{details(item_id, start, length)}{shard}#{number:020}#{piece:03}"


def details(item_id: str, start: int, length: str) -> str:
    """Prefix of the sort keys of all events of an hour, or of a day, that one line item counts."""
    return f"E#{part(item_id)}#{key_instant(start)}#{length}#"


def first_scope(key: TallyKey) -> str:
    """Prefix of the sort keys under which a tally remembers when each value was first seen."""
    if key.item_id is None:
        return f"F#{part(key.stored_as)}#-#"
    return f"F#{part(key.stored_as)}#{key_instant(key.period_start)}#"


def first_seen(key: TallyKey, value_part: str) -> str:
    """Sort key of a tally's item that says when a value (given as a part of a key) was first seen."""
    return first_scope(key) + value_part


def parse_first_seen(sk: str) -> str:
    """Return the value, as a part of a key, from the sort key of an item that says when it was first seen."""
    return sk.rpartition("#")[2]


def value(item_id: str, period_start: int, day: int, text: str) -> str:
    """Sort key of a value that a line item saw on a day, of one billing period."""
    return f"{values(item_id, day)}{key_instant(period_start)}#{part(text)}"


def values(item_id: str, day: int) -> str:
    """Prefix of the sort keys of the values that a line item saw on a day, of all billing periods."""
    return f"U#{part(item_id)}#{_day(day)}#"


def values_of_days(item_id: str, first: int, last: int) -> tuple[str, str]:
    """Range of sort keys of the values that a line item saw from one day to another, both included."""
    return values(item_id, first), _after(values(item_id, last))


def parse_value(sk: str) -> ValueKey:
    """Parse the sort key of a value of a day."""
    _, item, day, period_start, value_part = sk.split("#")
    return ValueKey(item, parse_day(day), period_start, value_part)


@lru_cache(_REMEMBERED)
def rollups(
    organization_id: str,
    generation: str,
    dimensions: Dimensions,
    month: str,
    name: tuple[str, str],
    writer: int,
) -> tuple[Key, ...]:
    """Keys of the rollups, in all views, that a charge's month is added to; ``name``: currency and meter."""
    sk = rollup(month, *name, dimensions.customer_type, writer)
    return tuple(
        Key(rollup_partition(organization_id, generation, view, values_), sk)
        for view, values_ in views(dimensions)
    )


def rollup_partition(organization_id: str, generation: str, view: str, values_: tuple[str, ...]) -> str:
    """Partition of a view for given values of its dimensions."""
    return "#".join([organization_id, generation, "rollup", view, *(part(value) for value in values_)])


def rollup(month: str, currency: str, meter_id: str, customer_type: str | None, writer: int) -> str:
    """Sort key of one writer's rollup of a month; ``customer_type`` is None for customers without a type."""
    return f"{month}#{currency}#{part(meter_id)}#{type_part(customer_type)}#{writer}"


def parse_rollup(sk: str) -> RollupKey:
    """Parse the sort key of a rollup.

    >>> parse_rollup(rollup("2024-03", "usd", "calls", None, 2))
    RollupKey(month='2024-03', currency='usd', meter='calls', customer_type='', writer='2')
    """
    return RollupKey(*sk.split("#"))


def rollup_of_all_types(sk: str) -> str:
    """Return a rollup's sort key without customer type and writer. Rollups of which it is equal lie together.

    >>> rollup_of_all_types(rollup("2024-03", "usd", "calls", "company", 2))
    '2024-03#usd#calls'
    """
    return sk.rsplit("#", 2)[0]


def parse_rollup_of_all_types(all_types: str) -> RollupKey:
    """Read back what `rollup_of_all_types` returned; the customer type and the writer are empty."""
    return parse_rollup(f"{all_types}##")


def parse_rollup_of_all_writers(sk: str) -> RollupKey:
    """Read back what `rollup_of_all_writers` returned; the writer is empty.

    >>> parse_rollup_of_all_writers(rollup_of_all_writers(rollup("2024-03", "usd", "calls", "company", 2)))
    RollupKey(month='2024-03', currency='usd', meter='calls', customer_type='company', writer='')
    """
    return parse_rollup(f"{sk}#")


def rollup_of_all_writers(sk: str) -> str:
    """Return a rollup's sort key without the writer: it is equal for the rollups of all writers."""
    return sk.rpartition("#")[0]


def rollups_of(all_types: str, customer_types: Iterable[str | None]) -> list[str]:
    """Return the sort keys of types' and all writers' rollups from what `rollup_of_all_types` returned.

    >>> rollups_of("2024-03#usd#calls", [None])
    ['2024-03#usd#calls##0', '2024-03#usd#calls##1', '2024-03#usd#calls##2', '2024-03#usd#calls##3']
    """
    return [f"{all_types}#{type_part(each)}#{writer}" for each in customer_types for writer in range(WRITERS)]


def rollup_of_first_writer(sk: str) -> str:
    """Return the sort key of the first writer's rollup from that of any writer's.

    >>> rollup_of_first_writer("2024-03#usd#calls#company#2")
    '2024-03#usd#calls#company#0'
    """
    return f"{rollup_of_all_writers(sk)}#0"


def months(first_day: int, last_day: int) -> tuple[str, str]:
    """Range of sort keys of a view's rollups from the month of one day to the month of another, both included."""
    return f"{month_of(first_day)}#", f"{month_of(last_day)}$"


def type_part(customer_type: str | None) -> str:
    """Return a customer type as a part of a rollup's sort key; it is empty for customers without a type."""
    return "" if customer_type is None else part(customer_type)


def views(dimensions: Dimensions) -> list[tuple[str, tuple[str, ...]]]:
    """List the views that a charge belongs to, each with the charge's values of its dimensions.

    A charge without a value for a dimension is in no view that is divided by it: no filter on that dimension can
    find the charge. The customer type is no dimension of a view but a part of the sort key. It has two values
    only, and so half as many items are written.
    """
    found: list[tuple[str, tuple[str, ...]]] = []
    value_of: dict[str, str | None] = dimensions._asdict()
    for name, divided_by in VIEWS.items():
        values_ = tuple(each for each in map(value_of.get, divided_by) if each is not None)
        if len(values_) == len(divided_by):
            found.append((name, values_))
    return found


def view_of(dimensions: Dimensions) -> tuple[str, tuple[str, ...]]:
    """Return the view that answers a filter on dimensions, with its values. None stands for no filter."""
    return views(dimensions)[-1]


def views_text() -> str:
    """Return the present views as a profile names them; empty if they are the views of a profile that names none.

    >>> views_text()
    ''
    """
    return "" if tuple(VIEWS) == FIRST_VIEWS else ",".join(VIEWS)


def parse_views(text: str) -> tuple[str, ...]:
    """Parse the views of a generation from its profile.

    >>> parse_views("T,P"), parse_views("")
    (('T', 'P'), ('T', 'P', 'C', 'PC'))
    """
    return tuple(text.split(",")) if text else FIRST_VIEWS


def event(organization_id: str, kind: str, external_id: str, transaction_id: str) -> Key:
    """Key of an event in the log: of a subscription (``s``) or of a customer (``c``)."""
    return Key(f"{organization_id}#events#{kind}#{part(external_id)}", part(transaction_id))


def unmatched(organization_id: str, kind: str, external_id: str, transaction_id: str) -> Key:
    """Key of an unmatched event: no line item was there for it when it was to be counted."""
    return Key(f"{organization_id}#unmatched", f"{kind}#{part(external_id)}#{part(transaction_id)}")


def unmatched_of(organization_id: str, kind: str, external_id: str) -> Key:
    """Partition and prefix of the sort keys of one subject's unmatched events."""
    return Key(f"{organization_id}#unmatched", f"{kind}#{part(external_id)}#")


def unreadable(organization_id: str, kind: str, external_id: str, transaction_id: str) -> Key:
    """Key of an event that a meter of a line item cannot read."""
    return Key(f"{organization_id}#unreadable", f"{kind}#{part(external_id)}#{part(transaction_id)}")


def unreadable_of(organization_id: str, kind: str, external_id: str) -> Key:
    """Partition and prefix of the sort keys of one subject's events that a meter cannot read."""
    return Key(f"{organization_id}#unreadable", f"{kind}#{part(external_id)}#")


def uncounted_numbers(organization_id: str) -> Key:
    """Key of the numbers of events that do not count, by reason."""
    return Key(f"{organization_id}#uncounted", "numbers")


def scanned(organization_id: str, generation: str, kind: str, external_id: str) -> Key:
    """Key of the mark that the rebuild of a generation has read a subject's log to its end."""
    return Key(f"{organization_id}#{generation}#scanned", f"{kind}#{part(external_id)}")


def late(organization_id: str, generation: str, kind: str, external_id: str) -> Key:
    """Key of the mark that a subject has come while the rebuild of a generation was running."""
    return Key(f"{organization_id}#{generation}#late", f"{kind}#{part(external_id)}")


def poison(digest: str) -> Key:
    """Key of a quarantined record of the stream, by its content's SHA-256."""
    return Key("poison", digest)


def listed(organization_id: str) -> Key:
    """Key of an organization's entry in the list of all."""
    return Key("organizations", organization_id)


def follower() -> Key:
    """Key of the item in which a local server keeps up to where it has followed the table's stream."""
    return Key("follower", "place")


def heartbeat() -> Key:
    """Key of the item that is written every hour, so that the stream has a record if nothing else happens."""
    return Key("heartbeat", "hour")


def imported(organization_id: str, digest: str) -> Key:
    """Key of the record of an import, by its content's SHA-256."""
    return Key(f"{organization_id}#imports", digest)


def purge(organization_id: str, customer_id: str) -> Key:
    """Key of the record of a customer's purge, for as long as it is under way."""
    return Key(f"{organization_id}#purges", part(customer_id))


def due(organization_id: str, generation: str) -> str:
    """Partition of the index ``due``."""
    return f"{organization_id}#{generation}#due"


def merging(organization_id: str, generation: str) -> str:
    """Partition of the index ``due`` for the rollups that are to be merged."""
    return f"{organization_id}#{generation}#merging"


@lru_cache(_REMEMBERED)
def to_be_merged(rollup_key: Key) -> tuple[str, str] | None:
    """Return a rollup's place in the index ``due``, the partition and when; None for that of the first writer.

    It is due a week after the month's 28th day: then the month is over in every time zone.

    >>> to_be_merged(Key(rollup_partition("acme", "1", "T", ()), rollup("2024-02", "usd", "calls", None, 3)))
    ('acme#1#merging', '2024-03-06T00:00:00.000000Z')
    """
    if rollup_key.sk == rollup_of_first_writer(rollup_key.sk):
        return None
    organization_id, generation, _ = rollup_key.pk.split("#", 2)
    last = parse_day(f"{parse_rollup(rollup_key.sk).month}-28")
    return merging(organization_id, generation), key_instant(min(utc_midnight(last + 7), END_OF_TIME - 1))


@lru_cache(_REMEMBERED)
def month_of(day: int) -> str:
    """Return the month of a day in the form that keys have, such as `2024-03`."""
    return date.fromordinal(day).isoformat()[:7]


def range_of(prefix: str) -> tuple[str, str]:
    """Range of the sort keys that begin with a prefix. The prefix must end with the separator."""
    return prefix, _after(prefix)


def _after(prefix: str) -> str:
    """Return a text above all sort keys with a prefix: "$" is the character after the separator."""
    return prefix.removesuffix("#") + "$"


def parse_day(text: str) -> int:
    """Parse a day of a key."""
    return date.fromisoformat(text).toordinal()


@lru_cache(_REMEMBERED)
def _day(day: int) -> str:
    return date.fromordinal(day).isoformat()
