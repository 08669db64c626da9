"""A catalogue that changes while events are counted: everything by chance, and repeatable by its seed.

Events come over HTTP and are delivered by a stream that splits, and delivers again, to three warm functions that
may be killed at any write. Meanwhile the catalogue changes, one record at a time: between two deliveries, and in
the middle of one, at any call of the table. Files are imported, stopped, gone on with, and closed; events are
withdrawn; now and then all is rebuilt. What is refused is refused; what is killed may be run again or not.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from random import Random
from typing import Any
from unittest import mock
from unittest.mock import patch

from meterstone.catalogue import anew
from meterstone.catalogue.management import (
    CatalogueConflictError,
    Management,
    RecordRefusedError,
    UnknownRecordError,
)
from meterstone.catalogue.recounting import carry_all_on
from meterstone.store.catalogue.accounts import read_account
from meterstone.store.catalogue.recounts import read_recounts
from meterstone.store.catalogue.subscriptions import list_subscriptions
from meterstone.store.counting.merging import merge
from meterstone.store.counting.waking import wake_unwoken
from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.keys import FIRST, LAST
from meterstone.store.dynamodb.lease import BusyError
from meterstone.store.dynamodb.table import StoreUnavailableError, text
from meterstone.store.operations import imports
from meterstone.store.operations.imports import Importer, Source, SourceLine
from meterstone.store.operations.rebuild import Surroundings, abandon, rebuild
from meterstone.store.operations.replay import catch_up
from meterstone.store.operations.retired import InUse
from meterstone.usage.arrival import Subject
from meterstone.usage.instant import DAY, HOUR, MINUTE, format_instant, parse_instant
from meterstone.usage.meter import Event
from support.both_endpoints import check_all
from support.memory_table import Faults, Killed, MemoryTable
from support.recovering import Clock
from support.scenario import ORGANIZATION, Scenario, Usage, World, digest
from support.stale_table import StaleTable
from support.stream import Folding, Stream

START = parse_instant("2024-02-27T20:00:00Z")
TABLE_CALLS = (
    "get", "batch_get", "get_together", "query", "query_first", "transact", "update", "put", "put_all", "put_new",
)  # fmt: skip
_METERS: tuple[dict[str, Any], ...] = (
    {"id": "calls", "code": "calls", "aggregation": "COUNT"},
    {"id": "bytes", "code": "bytes", "aggregation": "SUM", "field": "value"},
    {"id": "peak", "code": "peak", "aggregation": "MAX", "field": "value"},
    {"id": "users", "code": "users", "aggregation": "COUNT_UNIQUE", "field": "who"},
    {"id": "seats", "code": "seats", "aggregation": "SUM", "field": "value", "recurring": True},
    {"id": "level", "code": "level", "aggregation": "WEIGHTED_SUM", "field": "value", "recurring": True},
)
REFUSED = (RecordRefusedError, CatalogueConflictError, UnknownRecordError)


@contextmanager
def at_call(table: MemoryTable, number: int, do: Callable[[], object]) -> Iterator[list[str]]:
    """Do something just before the call of the table of this number, from 0. Gives the calls that were made."""
    made: list[str] = []
    plain = {name: getattr(table, name) for name in TABLE_CALLS}

    def restore() -> None:
        for name in TABLE_CALLS:
            vars(table).pop(name, None)

    def wrapped(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            made.append(name)
            if len(made) == number + 1:
                restore()
                do()
            return plain[name](*arguments, **more)

        return call

    for name in TABLE_CALLS:
        setattr(table, name, wrapped(name))
    try:
        yield made
    finally:
        restore()


class Life:
    """One organization's days. ``most`` is how many customers and subscriptions there are, about."""

    def __init__(self, seed: int, most: int = 3) -> None:
        self.random = Random(seed)  # noqa: S311 - nothing secret
        self.most = most
        self.clock = Clock(START)
        self.table = StaleTable(page_items=7, seed=seed)
        self.world = World(Scenario((), (), (), START), self.table)
        self.folding = Folding(self.world, Stream(self.random))
        self.management = Management(self.table, ORGANIZATION.id, self.clock)
        self.usage: list[Usage] = []
        #: The lines of the files that are imported.
        self.files: dict[str, list[Usage]] = {}
        #: How often each thing was done, refused or killed.
        self.done: Counter[str] = Counter()
        self.made = self.posted = 0
        #: Ids of recounts are as random as all else, and as repeatable.
        self.marks = Random(seed)  # noqa: S311 - nothing secret
        self._begin()

    def mark(self, size: int) -> str:
        """Return what stands for a random text in the id of a recount."""
        return f"{self.marks.getrandbits(8 * size):0{2 * size}x}"

    def _begin(self) -> None:
        for meter in _METERS:
            self.management.put("meter", meter["id"], meter)
            self._price(f"{meter['id']}-1", meter["id"])
        for code, some in (("basic", _METERS[:4]), ("pro", _METERS[1:])):
            prices = [f"{meter['id']}-1" for meter in some]
            self.management.put("plan", code, {"prices": prices, "currency": "USD"})
        for number in range(3):
            self.management.put("customer", f"cust {number}", {"country": "DE", "customer_type": "company"})

    def _price(self, name: str, meter: str) -> None:
        amount = self.random.choice(["0.01", "1", "2.5"])
        record: dict[str, Any] = {
            "meter_id": meter,
            "currency": "USD",
            "billing_model": "FLAT_FEE",
            "amount": amount,
        }
        if self.random.random() < 0.3:
            tiers = [{"up_to": 5, "unit_amount": "1"}, {"up_to": None, "unit_amount": amount}]
            record |= {"billing_model": "TIERED", "tier_mode": "SLAB", "tiers": tiers}
            del record["amount"]
        self.management.put("price", name, {"type": "USAGE", **record})

    def live(self, steps: int) -> None:
        """Let so many things happen."""
        with patch.object(anew, "token_hex", self.mark):
            for _ in range(steps):
                self.step()

    def step(self) -> None:
        """Let one thing happen."""
        random = self.random
        self.clock.now += random.choice([0, 1, 1_000_000, MINUTE, 7 * MINUTE, HOUR, 9 * HOUR])
        if any(
            shard.times[shard.acknowledged] < self.clock.now - 12 * HOUR
            for shard in self.folding.stream.waiting()
        ):
            # The stream keeps a record for a day.
            self.folding.drain(self.clock.now, 50)
        match random.choices(
            ["post", "deliver", "change", "withdraw", "recount", "load", "rebuild", "roll", "disturb"],
            [10, 6, 8, 3, 2, 1, 0.15, 1, 1],
        )[0]:
            case "post":
                for _ in range(random.randint(1, 6)):
                    self.post()
            case "deliver":
                with self._interrupted(), self._faulty():
                    self.folding.deliver_some(self.clock.now, 12)
            case "change":
                with self._faulty():
                    self.change()
            case "withdraw":
                self.withdraw()
            case "recount":
                with self._interrupted(), self._faulty(), suppress(Killed):
                    self.recount()
            case "load":
                with self._interrupted(), self._faulty():
                    self.load()
            case "rebuild":
                with self._interrupted(), self._faulty():
                    self.rebuild()
            case "roll":
                with self._interrupted():
                    self.roll()
            case _:
                self.folding.stream.disturb()

    def next_id(self) -> str:
        """Return an id that no event has had."""
        self.posted += 1
        return f"e{self.posted}"

    def post(self) -> None:
        """Take an event in over HTTP."""
        self.folding.post(self._some_usage(), self.clock.now)

    def _some_usage(self) -> Usage:
        """Make an event of a subscription or of a customer, that may not be there yet."""
        random = self.random
        number = random.randrange(self.most + 1)
        if random.random() < 0.6:
            subject = Subject.subscription(f"ext {number}")
        else:
            subject = Subject.customer(f"cust {number}")
        name = random.choice([meter["code"] for meter in _METERS] * 2 + ["nothing"])
        at = self.clock.now + random.choice([0, -1, -MINUTE, 4 * MINUTE, -HOUR, -DAY, -3 * DAY])
        value: Any = random.choice([1, 2, Decimal("0.25"), -1, 7, "no number"])
        found = Usage(
            subject,
            Event(self.next_id(), name, at, {"value": value, "who": f"w{random.randrange(4)}"}),
        )
        self.usage.append(found)
        return found

    def load(self) -> None:
        """Import a file, or go on with one that was stopped, or close it as if it were lost."""
        name = f"file {len(self.files)}"
        if self.files and self.random.random() < 0.5:
            name = self.random.choice(list(self.files))
        else:
            self.files[name] = [self._some_usage() for _ in range(self.random.randint(1, 12))]
        try:
            self._load(name, closes=self.random.random() < 0.2)
            self.done["imported"] += 1
        except Killed:
            self.table.faults = Faults()
            self.done["import, killed"] += 1
        except (BusyError, StoreUnavailableError):
            self.done["import, refused"] += 1

    def _load(self, name: str, *, closes: bool = False) -> None:
        account = read_account(self.table, ORGANIZATION.id, consistent=True)
        assert account is not None
        source = Source(name, digest(name))
        with mock.patch.object(imports, "_BATCH", 4):
            if closes:
                imports.close_import(self.table, ORGANIZATION.id, source, self.clock.now)
                return
            lines = [
                SourceLine(line, each.subject, each.event)
                for line, each in enumerate(self.files[name], start=1)
            ]
            Importer(self.table, account).run(source, lines, self.clock.now, lambda *_: None)

    def rebuild(self) -> None:
        """Rebuild the organization, or be killed at it."""
        try:
            rebuild(self.table, ORGANIZATION.id, Surroundings(self.clock, self.sleep))
            self.done["rebuilt"] += 1
        except Killed:
            self.table.faults = Faults()
            self.done["rebuild, killed"] += 1
        except (BusyError, StoreUnavailableError):
            self.done["rebuild, refused"] += 1

    def withdraw(self) -> None:
        """Withdraw an event, whatever has become of it so far; something else may have it in hand."""
        if not self.usage:
            return
        usage = self.random.choice(self.usage[-30:])
        key = keys.event(ORGANIZATION.id, *usage.subject, usage.event.id)
        if self.table.get(key, consistent=True) is None:
            # It is of a file that was not imported so far.
            return
        try:
            self.folding.withdraw(usage, self.clock.now)
        except BusyError:
            self.done["withdraw, busy"] += 1
        else:
            self.usage.remove(usage)
            self.done["withdraw"] += 1

    def change(self) -> None:
        """Change something in the catalogue, or be refused."""
        what = self.random.choices(
            [
                self.sign_up,
                self.end,
                self.upgrade,
                self.offer,
                self.move,
                self.rename,
                self.delete,
                self.delete_meter,
            ],
            [8, 3, 4, 2, 2, 2, 2, 0.3],
        )[0]
        name = what.__name__
        for _ in range(2):
            try:
                what()
            except REFUSED:
                self.done[f"{name}, refused"] += 1
            except StoreUnavailableError:
                self.done[f"{name}, unavailable"] += 1
            except Killed:
                self.table.faults = Faults()
                self.done[f"{name}, killed"] += 1
                if self.random.random() < 0.5:
                    continue
            else:
                self.done[name] += 1
            return

    def sign_up(self) -> None:
        """Make a customer, and a subscription under an external id that may be in use, from some instant on."""
        random, number = self.random, self.random.randrange(self.most)
        customer = f"cust {number}"
        if random.random() < 0.7:
            fields = {"country": random.choice(["DE", "NO"])} if random.random() < 0.5 else {}
            self.management.merge("customer", customer, fields)
        self.made += 1
        record: dict[str, Any] = {
            "customer": customer,
            "external_id": f"ext {random.randrange(self.most)}",
            "plan": random.choice(["basic", "pro"]),
            "currency": "USD",
            "billing_period": random.choice(["MONTHLY", "DAILY", "WEEKLY"]),
        }
        if random.random() < 0.6:
            start = self.clock.now + random.choice([-3 * DAY, -HOUR, MINUTE, 10 * MINUTE, DAY])
            record["start"] = format_instant(start)
            if random.random() < 0.3:
                record["end"] = format_instant(start + random.choice([HOUR, 2 * DAY]))
        if random.random() < 0.3:
            own = random.sample(_METERS, 2)
            record["line_items"] = [{"price": f"{meter['id']}-1"} for meter in own]
        self.management.put("subscription", f"sub {self.made}", record)

    def _some_subscription(self) -> str:
        """Choose a subscription, mostly one that goes on."""
        alive = [
            each.id
            for each in list_subscriptions(self.table, ORGANIZATION.id)
            if each.end is None or each.end > self.clock.now
        ]
        if alive and self.random.random() < 0.8:
            return self.random.choice(alive)
        return f"sub {self.random.randint(1, max(self.made, 1))}"

    def _some_instant(self) -> int | None:
        return self.random.choice(
            [None, None, self.clock.now + 6 * MINUTE, self.clock.now + DAY, self.clock.now - HOUR]
        )

    def end(self) -> None:
        """End a subscription."""
        self.management.end(self._some_subscription(), self._some_instant())

    def upgrade(self) -> None:
        """Have a subscription on another plan, or another subscription in its place."""
        random, name, plan = self.random, self._some_subscription(), self.random.choice(["basic", "pro"])
        if random.random() < 0.6:
            self.management.change_plan(name, plan, self._some_instant())
            return
        self.made += 1
        record = {"id": f"sub {self.made}", "plan": plan, "currency": "USD"}
        self.management.succeed(name, record, self._some_instant())

    def offer(self) -> None:
        """Make a new version of a plan, with a new price."""
        self.made += 1
        meter = self.random.choice(_METERS)["id"]
        name = f"{meter}-{self.made}"
        self._price(name, meter)
        code = self.random.choice(["basic", "pro"])
        stored = self.management.get("plan", code)
        assert stored is not None
        prices = [each for each in stored.value.prices if not each.startswith(f"{meter}-")]
        record = {"prices": [*prices, name], "currency": "USD"}
        if self.random.random() < 0.5:
            self.management.put("plan", code, record)
        else:
            at = self.random.choice([None, None, self.clock.now + 6 * MINUTE, self.clock.now + DAY])
            self.management.offer_to_all(code, record, at)
            self.done["offer, to all"] += 1

    def move(self) -> None:
        """Have a customer in another country from now on, or for some time that is past or to come."""
        before, after = self.random.sample(["DE", "NO"], 2)
        country: object = after
        if self.random.random() < 0.6:
            since = self.clock.now + self.random.choice([-40 * DAY, -3 * DAY, -HOUR, MINUTE, DAY])
            country = [{"value": before}, {"value": after, "since": format_instant(since)}]
            self.done["move, dated"] += 1
        customer = f"cust {self.random.randrange(self.most)}"
        self.management.merge("customer", customer, {"country": country})

    def rename(self) -> None:
        """Have the plan of a subscription that has line items of its own be another, since some time."""
        own = [each.id for each in list_subscriptions(self.table, ORGANIZATION.id) if self._has_own(each.id)]
        if not own:
            return
        before, after = self.random.sample(["basic", "pro"], 2)
        plan: object = after
        if self.random.random() < 0.5:
            since = self.clock.now + self.random.choice([-2 * DAY, -HOUR, -MINUTE, MINUTE])
            plan = [{"value": before}, {"value": after, "since": format_instant(since)}]
        recount = self.management.merge("subscription", self.random.choice(own), {"plan": plan}).recount
        if recount is not None and recount.renamed:
            self.done["rename, of counted usage"] += 1

    def _has_own(self, name: str) -> bool:
        stored = self.management.get("subscription", name)
        return stored is not None and all(each.version is None for each in stored.value.plan)

    def delete(self) -> None:
        """Delete a subscription or a customer, or call a subscription off."""
        match self.random.choice(["subscription", "customer", "pending"]):
            case "subscription":
                self.management.delete("subscription", self._some_subscription())
            case "customer":
                self.management.delete("customer", f"cust {self.random.randrange(self.most)}")
            case _:
                self.management.cancel_pending(self._some_subscription())

    def delete_meter(self) -> None:
        """Delete a meter, in five minutes."""
        self.management.delete("meter", self.random.choice(_METERS)["id"])

    def roll(self) -> None:
        """Do what is done every hour."""
        account = read_account(self.table, ORGANIZATION.id, consistent=True)
        assert account is not None
        self.world.account = account
        wake_unwoken(self.table, account)
        with suppress(BusyError):
            catch_up(self.table, ORGANIZATION.id, self.clock, self.clock.now + HOUR)
        account = read_account(self.table, ORGANIZATION.id, consistent=True)
        assert account is not None
        self.world.account = account
        try:
            self.world.roll(self.clock.now)
            self.done["merged"] += merge(self.table, account, self.clock).items
        except StoreUnavailableError:
            self.done["roll, unavailable"] += 1

    def recount(self) -> None:
        """Carry on what has been put for all, for a while, or until it is killed."""
        with suppress(StoreUnavailableError, CatalogueConflictError):
            until = self.clock.now + MINUTE
            for each in carry_all_on(self.table, self.clock, until, self.sleep):
                self.done["recounted" if each.done_at is not None else "recounted in part"] += 1
                self.done["refused to follow"] += each.refused

    def sleep(self, seconds: float) -> None:
        """Let time pass: meanwhile events come in, and some are delivered."""
        faults, self.table.faults = self.table.faults, Faults()
        self.clock.now += int(seconds * 1_000_000)
        if self.random.random() < 0.5:
            self.post()
        if self.random.random() < 0.3:
            self.withdraw()
        if self.random.random() < 0.5:
            self.folding.deliver_some(self.clock.now, 12)
        self.table.faults = faults

    @contextmanager
    def _faulty(self) -> Iterator[None]:
        if self.random.random() < 0.3:
            number = self.table.writes + self.random.randint(0, 6)
            before = self.random.random() < 0.5
            self.table.faults = Faults(before=number) if before else Faults(after=number)
        try:
            yield
        finally:
            self.table.faults = Faults()

    @contextmanager
    def _interrupted(self) -> Iterator[None]:
        """Change the catalogue at some call of the table, in the middle of what is done."""
        if self.random.random() < 0.2:
            yield
            return

        def change() -> None:
            faults, self.table.faults = self.table.faults, Faults()
            for _ in range(self.random.randint(1, 4)):
                self.change()
            self.table.faults = faults

        with at_call(self.table, self.random.randint(0, 12), change):
            yield

    def check(self) -> None:
        """Let everything come to its end, and compare all totals with what log and records come to."""
        self.clock.now += 10 * MINUTE
        # A rebuild that was stopped is given up.
        abandon(self.table, ORGANIZATION.id, self.clock.around)
        for name in self.files:
            self._load(name)
        self.folding.drain(self.clock.now, 50)
        self.roll()
        for _ in range(30):
            self.recount()
            if all(each.done_at is not None for each in read_recounts(self.table, ORGANIZATION.id)):
                break
            self.clock.now += 3 * MINUTE
        self.folding.drain(self.clock.now, 50)
        self.roll()
        assert all(each.done_at is not None for each in read_recounts(self.table, ORGANIZATION.id))
        # The last day of a meter that was deleted is published when the day is over.
        self.clock.now += DAY + HOUR
        self.recount()
        assert not list(left_of_before(self.table))
        self.roll()
        check_all(self.world, self.usage, self.clock.now, self.random)


def left_of_before(table: StaleTable) -> Iterator[str]:
    """Yield the items of editions that are not read any more: a while after a recount they are deleted."""
    account = read_account(table, ORGANIZATION.id, consistent=True)
    assert account is not None
    for each in list_subscriptions(table, ORGANIZATION.id):
        in_use = InUse(each)
        pk = keys.usage(ORGANIZATION.id, account.generation, each.id)
        for row in table.query(pk, FIRST, LAST, consistent=True):
            if each.editions.entries and not in_use.holds(text(row, "sk")):
                yield text(row, "sk")


def sign_up(life: Life, name: str, start: int, **more: Any) -> None:
    record = {"customer": "cust 0", "external_id": f"ext {name}", "plan": "pro", "currency": "USD", **more}
    life.management.put("subscription", f"sub {name}", {"start": format_instant(start), **more, **record})


def post(life: Life, subject: Subject, name: str, at: int) -> None:
    found = Usage(subject, Event(life.next_id(), name, at, {"value": 3, "who": "w"}))
    life.usage.append(found)
    life.folding.post(found, life.clock.now)


def deliver(life: Life, container: int) -> None:
    (shard,) = life.folding.stream.shards
    life.folding.deliver(shard, 0, len(shard.records), life.clock.now, container)
