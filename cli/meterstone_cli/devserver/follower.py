"""What Lambda's event source and scheduler do in AWS, on this machine: the table's stream is folded as it comes.

The follower keeps its place in the table (see `bookmark`), and goes on from there. A batch that fails is delivered
again, without end, as the template says: nothing is skipped. Where it cannot follow, it says so, and tries again,
whatever the engine answers.

Where the records after its place are gone, or no place was kept, it cannot know which events were counted. It then
begins anew at the stream's end, and has each organization rebuilt from the event log, which closes the gap.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from meterstone.store.dynamodb import keys
from meterstone.store.dynamodb.table import Table
from meterstone.store.operations.rebuild import Surroundings
from meterstone_cli.devserver.bookmark import HELD_SECONDS, Bookmark, Place, ShardPlace, TakenOverError
from meterstone_cli.devserver.function import Function, FunctionBusyError, FunctionFailedError
from meterstone_cli.devserver.gap import Recount
from meterstone_cli.devserver.stream import GoneError, Page, Stream, StreamError
from meterstone_cli.progress import say

log = logging.getLogger(__name__)

_PAUSE: Final = 0.1
_PAUSE_AFTER_FAILURE: Final = 1.0
_ROLL_EVERY: Final = 3600.0
_SAVE_EVERY: Final = 5.0
_LOOK_FOR_SHARDS_EVERY: Final = 10.0
#: An engine that is away for so long may have been started again, and know nothing of its iterators.
_RESTARTS_IN: Final = 0.3
#: As the template's: a batch may touch very many tallies.
_TIMEOUT: Final = 120.0
_LONGEST_TIMEOUT: Final = 900.0
_CARRY_ON_EVERY: Final = 300.0
_BETWEEN_WORDS: Final = 10.0


@contextlib.contextmanager
def following(
    functions: Path,
    *,
    around: Surroundings | None = None,
    tell: Callable[[str], None] = say,
) -> Iterator[None]:
    """Fold what is posted while the block runs, to the last event, from where the table was last followed.

    The table is the one that ``TABLE_NAME`` and ``AWS_ENDPOINT_URL_DYNAMODB`` name. Its stream is turned on where
    it is not. A table in AWS is not followed, nor one whose stream is followed by a function of the emulator.
    ``around`` is by whose clock to rebuild, and how to wait.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB", "")
    if not is_emulator(endpoint):
        tell("The table is in AWS: what is posted is counted there, by the function that follows its stream")
        yield
        return
    follower = _follower(functions, endpoint, around, tell)
    follower.turn_stream_on()
    thread = threading.Thread(target=follower.run, name="stream", daemon=True)
    thread.start()
    try:
        yield
    finally:
        follower.stop.set()
        while thread.is_alive():
            thread.join(_BETWEEN_WORDS)
            if thread.is_alive():
                tell("Waiting: what was posted is being counted")


def is_emulator(endpoint: str) -> bool:
    """Return whether an address of DynamoDB is an emulator's. Lambda follows the streams of AWS."""
    host = urlsplit(endpoint).hostname or ""
    return bool(host) and not host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def _follower(
    functions: Path, endpoint: str, around: Surroundings | None, tell: Callable[[str], None]
) -> "Follower":
    config = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1})
    table = Table.from_environment()
    streams = boto3.client("dynamodbstreams", endpoint_url=endpoint, config=config)
    stop = threading.Event()
    return Follower(
        Stream(table.client, streams, table.name),
        Bookmark(table),
        Recount(Table.from_environment(), around, stop, tell),
        Functions(
            Function("fold_usage", functions / "fold_usage" / "app.py", timeout=_TIMEOUT),
            Function("roll_usage", functions / "roll_usage" / "app.py", timeout=_TIMEOUT),
            Function("recount_usage", functions / "recount_usage" / "app.py", timeout=_LONGEST_TIMEOUT),
            boto3.client("lambda", endpoint_url=endpoint, config=config),
        ),
        stop,
        tell,
    )


class Functions(NamedTuple):
    """What folds batches, follows the clock and recounts, and a client of the emulator's own functions."""

    fold: Function
    roll: Function
    recount: Function
    deployed: Any


class Follower:
    """Follows one table's stream in a thread of its own."""

    def __init__(
        self,
        stream: Stream,
        bookmark: Bookmark,
        recount: Recount,
        functions: Functions,
        stop: threading.Event,
        tell: Callable[[str], None],
    ) -> None:
        """Follow until ``stop`` is set."""
        self.stop = stop
        self._stream = stream
        self._bookmark = bookmark
        self._recount = recount
        self._fold = functions.fold
        self._roll = functions.roll
        self._carry_on = functions.recount
        self._carrying: threading.Thread | None = None
        self._made: list[Mapping[str, Any]] = []
        self._carried = -_CARRY_ON_EVERY
        self._deployed = functions.deployed
        self._tell = tell
        self._place = Place()
        self._iterators: dict[str, str] = {}
        self._trouble = ""
        self._is_on = False
        self._saved = self._answered = self._described = 0.0
        self._rolled = -_ROLL_EVERY

    def turn_stream_on(self) -> None:
        """Turn the stream on before anything is posted here. If that fails, `run` closes the gap."""
        try:
            self._stream.find()
        except Exception as error:  # noqa: BLE001 - as in `run`
            self._say_trouble(error)
        else:
            self._is_on = True

    def run(self) -> None:
        """Follow until told to stop, and then to the stream's end; through whatever the engine answers."""
        while True:
            try:
                if self._begin():
                    self._follow()
                    return
            except TakenOverError:
                pass
            except Exception as error:  # noqa: BLE001 - the outermost edge of this thread: nothing may end it
                self._say_trouble(error)
            if self.stop.wait(_PAUSE_AFTER_FAILURE):
                self._recount.join()
                return

    def _begin(self) -> bool:
        """Find the place from which to go on. Return whether there is anything to follow, for this process."""
        holder = self._bookmark.take()
        if holder is not None:
            self._say_trouble(f"process {holder} follows it already, and counts for all")
            return False
        self._iterators.clear()
        arn = self._stream.find()
        if self._is_mapped(arn):
            self._say_trouble("a function that is deployed there follows it already")
            self._bookmark.release()
            return False
        place = self._bookmark.read()
        if place is None:
            self._start_over("nothing says what of the table's stream was counted")
        elif not place.stream and not self._is_on:
            self._start_over("the table's stream was turned on late")
        elif place.stream not in {"", arn}:
            self._start_over("the table's stream is another one than before")
        else:
            self._place = place
            self._place.stream = arn
            self._bookmark.save(place)
            if any(not held.ended and name not in self._stream.shards for name, held in place.shards.items()):
                self._start_over("a part of the table's stream is gone")
        if self._place.gap and not self._recount.has_begun():
            self._recount.start()
        return True

    def _is_mapped(self, arn: str) -> bool:
        """Return whether the emulator itself hands the stream to a function that was deployed to it."""
        try:
            found = self._deployed.list_event_source_mappings(EventSourceArn=arn)
        except (BotoCoreError, ClientError):
            # An engine of DynamoDB alone has no functions.
            return False
        return bool(found.get("EventSourceMappings"))

    def _start_over(self, why: str) -> None:
        """Begin at the end of the stream, in another incarnation, with a rebuild for all before.

        Nothing at or before the end is delivered in this incarnation: it may have been counted in another.
        """
        self._place = Place(gap=True)
        self._bookmark.save(self._place)
        shards = {name: self._end_of(name) for name in self._stream.shards}
        self._place = Place(self._stream.arn, self._place.incarnation, gap=True, shards=shards)
        self._bookmark.save(self._place)
        self._iterators.clear()
        self._tell(f"{why[0].upper()}{why[1:]}: what is not sure to be counted is counted again from the log")
        self._recount.start()

    def _end_of(self, shard: str) -> ShardPlace:
        place = ShardPlace()
        iterator: str | None = self._stream.iterator(shard, "")
        while iterator is not None:
            page = self._stream.read(iterator)
            if page.records:
                place.at = page.numbers[-1]
            elif page.following is not None:
                return place
            iterator = page.following
        place.ended = True
        return place

    def _follow(self) -> None:
        while True:
            stopping = self.stop.is_set()
            if time.monotonic() - self._rolled >= _ROLL_EVERY:
                self._rolled = time.monotonic()
                if failed := self._failure(self._roll, {}):
                    self._tell(f"{failed}; it is called again in an hour")
            self._carry_recounts_on()
            if self._place.gap:
                self._close_gap()
            self._look_for_shards()
            delivered = sum([self._deliver(shard) for shard in self._open_shards()])
            self._say_good()
            if delivered:
                continue
            if stopping:
                self._recount.join()
                self._save()
                self._bookmark.release()
                return
            if time.monotonic() - self._saved >= _SAVE_EVERY:
                self._save()
            self.stop.wait(_PAUSE)

    def _carry_recounts_on(self) -> None:
        """Have recounts carried on when one was made, and every five minutes, in a thread beside.

        What is stopped with the program is carried on by the next start.
        """
        is_due = self._made or time.monotonic() - self._carried >= _CARRY_ON_EVERY
        if not is_due or self.stop.is_set() or (self._carrying is not None and self._carrying.is_alive()):
            return
        event = {"Records": self._made}
        self._made = []
        self._carried = time.monotonic()

        def carry_on() -> None:
            if failed := self._failure(self._carry_on, event):
                self._tell(f"{failed}; it is called again in five minutes")

        self._carrying = threading.Thread(target=carry_on, name="recounts", daemon=True)
        self._carrying.start()

    def _close_gap(self) -> None:
        if self._recount.is_done():
            self._place.gap = False
            self._save()
        else:
            self._recount.go_on()

    def _look_for_shards(self) -> None:
        if time.monotonic() - self._described < _LOOK_FOR_SHARDS_EVERY:
            return
        self._described = time.monotonic()
        if self._stream.find() != self._place.stream:
            self._start_over("the table's stream is another one than before")
        for name in self._stream.shards:
            self._place.shards.setdefault(name, ShardPlace())
        for name in self._place.shards.keys() - self._stream.shards.keys():
            if self._place.shards[name].ended:
                del self._place.shards[name]

    def _open_shards(self) -> list[str]:
        """List the shards to read: a shard's events come after all of the shard that it was split from."""
        held = self._place.shards
        return [
            name
            for name, parent in self._stream.shards.items()
            if name in held and not held[name].ended and (parent not in held or held[parent].ended)
        ]

    def _deliver(self, shard: str) -> int:
        """Hand the next records of a shard to the fold; return how many they were."""
        if time.monotonic() - self._answered > _RESTARTS_IN:
            self._iterators.clear()
        place = self._place.shards[shard]
        try:
            if shard not in self._iterators:
                self._iterators[shard] = self._stream.iterator(shard, place.at)
            page = self._stream.read(self._iterators[shard])
        except GoneError as error:
            if shard in self._iterators:
                # The iterator is gone; the place may be there still.
                raise StreamError(str(error)) from error
            self._start_over(f"the table's stream has lost its records ({error})")
            return 1
        self._answered = time.monotonic()
        if page.numbers and place.at and int(page.numbers[0]) <= int(place.at):
            raise StreamError(f"after record {place.at} came {page.numbers[0]}")
        events = [record for record in page.records if is_for_fold(record)]
        if events:
            self._fold_all(events, shard)
        self._made += [record for record in page.records if is_new_recount(record)]
        self._move(shard, page)
        if events or place.ended:
            self._save()
        return len(page.records)

    def _fold_all(self, events: list[Mapping[str, Any]], shard: str) -> None:
        """Have events folded, again and again until they are. If told to stop meanwhile, give up."""
        batch = {"Records": events, "shardId": self._place.name_of(shard)}
        while failed := self._failure(self._fold, batch):
            self._say_trouble(failed)
            if self.stop.wait(_PAUSE_AFTER_FAILURE):
                raise StreamError(f"{len(events)} events or more are counted by the next start")
            if time.monotonic() - self._saved > HELD_SECONDS / 2:
                self._save()

    def _move(self, shard: str, page: Page) -> None:
        """Move past a page. A place is at an event, or at a record of the place itself: others may not be kept."""
        place = self._place.shards[shard]
        for record, number in zip(page.records, page.numbers, strict=True):
            if is_for_fold(record) or record["dynamodb"].get("Keys", {}).get("pk") == _OWN:
                place.at = number
        if page.following is None:
            place.ended = True
            self._described = 0.0
            self._iterators.pop(shard, None)
        else:
            self._iterators[shard] = page.following

    def _save(self) -> None:
        self._bookmark.save(self._place)
        self._saved = time.monotonic()

    def _failure(self, function: Function, event: dict[str, Any]) -> str:
        """Call a function. Return why that failed; empty if it did not."""
        try:
            function.invoke(event)
        except (FunctionFailedError, FunctionBusyError) as error:
            log.debug("%s failed", function.name, exc_info=True)
            return f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        return ""

    def _say_trouble(self, why: object) -> None:
        """Say once that the stream cannot be followed, and why."""
        text = f"{type(why).__name__}: {why}" if isinstance(why, Exception) else str(why)
        kind = text[:_SAME]
        if kind == self._trouble:
            return
        self._trouble = kind
        log.debug("the stream cannot be followed", exc_info=isinstance(why, BaseException))
        self._tell(f"The table's stream is not followed: {text}. What is posted is kept, and counted later")

    def _say_good(self) -> None:
        if self._trouble:
            self._trouble = ""
            self._tell("The table's stream is followed again")


_OWN: Final = {"S": keys.follower().pk}
#: Two troubles whose texts begin alike are told as one: what follows is often an address or a number.
_SAME: Final = 40


def is_for_fold(record: Mapping[str, Any]) -> bool:
    """Return what the template's filters let through: new events, and the marks of withdrawn ones."""
    image = record["dynamodb"].get("NewImage") or {}
    mark = {"INSERT": "acc", "MODIFY": "wg"}.get(record.get("eventName", ""))
    return mark is not None and "e" in image and mark in image


def is_new_recount(record: Mapping[str, Any]) -> bool:
    """Return what the template's filter of recounts lets through."""
    image = record["dynamodb"].get("NewImage") or {}
    return record.get("eventName") == "INSERT" and "what" in image
