"""The embedded engine with a journal: what it has answered is on disk. A program of the engine's own environment.

By itself the engine writes its tables only when it is told to end. Here each request that changes a table also
writes its changes to a journal, as one line, before it is answered. A start merges the journal that an engine left
behind into the tables, and writes them. A line holds whole items, so to merge a journal twice changes nothing.

The table's stream outlives the engine, too: its records of new events, and those by which a follower finds its
place again. Records of other changes are not kept.

What the process has written stays when it is killed. If the machine goes down, the last second may be gone.

A query of a large partition is answered sooner than by the engine alone, which reads the condition anew for each
item of the partition.

The engine ends when its standard input does, so that it never outlives the program that started it. It holds a
lock on its state folder until its tables are written.
"""

# ruff: noqa: SLF001 - the engine offers no other way; `_KNOWN_VERSION` says of which version this is known

import contextlib
import fcntl
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NoReturn

JOURNAL: Final = "journal.jsonl"
LOCK: Final = "engine.lock"
RECOVERED: Final = "recovered.json"
ENDING: Final = "ending"
"""What the lock says besides, when the engine is writing its tables since the program that started it is gone."""
BUSY: Final = 75
"""Exit status if another engine holds the state folder."""
UNWRITTEN: Final = 74
"""Exit status if the journal, or what was merged from it, cannot be written."""
UNREADABLE: Final = 65
"""Exit status if the tables that an engine has written before cannot be read."""

#: The version whose inner parts are known here: how it changes an item, and how it saves and loads.
_KNOWN_VERSION: Final = "1.5.33"
_SERVICE: Final = "dynamodb"
_STREAMS: Final = "meterstone_streams"
_KEPT_MILLISECONDS: Final = 24 * 3600 * 1000
_SYNC_SECONDS: Final = 1.0
_NO_SORT: Final = "__no_sort__"
#: What a table has beside its definition.
_CONTENT: Final = frozenset({"items", "_index_members", "ItemCount", "TableSizeBytes"})
#: Requests that change a table itself. The others change items, if anything.
_OF_TABLES: Final = frozenset({"CreateTable", "UpdateTable", "DeleteTable"})
_FOR_FOLD: Final = {"INSERT": frozenset({"e", "acc"}), "MODIFY": frozenset({"e", "wg"})}
#: The partition of the item in which a follower keeps its place. It says its place by records of this item, too.
_FOLLOWER: Final = {"S": "follower"}
_KEPT_OF_FOLLOWERS: Final = 100
#: What the partitions of the event log have in their keys.
_LOG: Final = "events"
#: The conditions of nearly all queries: of a partition, and of a range in it.
_PARTITION: Final = "pk = :pk"
_RANGE: Final = "pk = :pk AND sk BETWEEN :low AND :high"

type Change = dict[str, Any]


class Journal:
    """Changes of tables on disk, one line for each request: a JSON array of changes."""

    def __init__(self, path: Path) -> None:
        """Write to a file, after the whole lines that stand there. What is left of another line is dropped."""
        self._path = path
        self._file = path.open("ab")
        if path.is_file():
            with path.open("rb") as left:
                self._file.truncate(sum(len(line) for line in left if line.endswith(b"\n")))
        self._changes: list[str] = []
        self._unsynced = False
        threading.Thread(target=self._sync, name="journal", daemon=True).start()

    def add(self, change: Change) -> None:
        """Take up a change that the present request makes."""
        self._changes.append(json.dumps(change, separators=(",", ":")))

    def write(self) -> None:
        """Write the changes of the present request.

        If that fails, the engine ends: it must not answer that it has what the disk has not.
        """
        if not self._changes:
            return
        line = f"[{','.join(self._changes)}]\n".encode()
        self._changes.clear()
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            self._fail(error)
        self._unsynced = True

    def clear(self) -> None:
        """Forget all changes: the tables were written with them."""
        self._file.truncate(0)

    def _sync(self) -> None:
        while True:
            time.sleep(_SYNC_SECONDS)
            if self._unsynced:
                self._unsynced = False
                try:
                    os.fsync(self._file.fileno())
                except OSError as error:
                    self._fail(error)

    def _fail(self, error: OSError) -> None:
        _end(f"cannot write {self._path}: {error.strerror}", UNWRITTEN)


def _end(message: str, status: int) -> NoReturn:
    """End the engine at once, with nothing more answered or written."""
    # A disk that has no room for the journal may have none for this message.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
    os._exit(status)


def changes_in(journal: Path) -> Iterator[Change]:
    """Read the changes of a journal. A last line that is not whole is of a request that was never answered."""
    with journal.open("rb") as file:
        for line in file:
            try:
                changes = json.loads(line)
            except ValueError:
                return
            yield from changes


def merge(change: Change, tables: Any, streams: Any) -> None:
    """Apply a change to the tables and streams, which are found by account, region and name."""
    place = change["table"]
    table = tables.get_scoped(*place)
    if "definition" in change:
        definition = change["definition"]
        if definition is None:
            tables.pop_scoped(*place, None)
            streams.pop_scoped(*place, None)
        elif table is None:
            tables.set_scoped(*place, definition | {"items": {}, "ItemCount": 0, "TableSizeBytes": 0})
        else:
            table.update(definition)
    elif table is not None:
        pk, sk = change["key"]
        _put(table, pk, sk, change["item"])
        if "record" in change:
            record = change["record"]
            record["dynamodb"]["NewImage"] = change["item"]
            records = streams.get_scoped(*place)
            if records is None:
                streams.set_scoped(*place, records := [])
            if not records or _number(record) > _number(records[-1]):
                records.append(record)


def _put(table: dict[str, Any], pk: str, sk: str, item: dict[str, Any] | None) -> None:
    items = table["items"]
    held = items.get(pk, {})
    table["ItemCount"] = table.get("ItemCount", 0) + (item is not None) - (sk in held)
    if item is not None:
        items.setdefault(pk, held)[sk] = item
    elif held.pop(sk, None) is not None and not held:
        del items[pk]


def _number(record: dict[str, Any]) -> str:
    number: str = record["dynamodb"]["SequenceNumber"]
    return number


def _milliseconds(record: dict[str, Any]) -> int:
    """Return when a record was made: the engine's sequence numbers begin with it."""
    return int(_number(record)[:20])


def _is_for_fold(record: dict[str, Any]) -> bool:
    """Return what the filters of the template's event source let through."""
    needed = _FOR_FOLD.get(record["eventName"])
    image = record["dynamodb"].get("NewImage") or {}
    return needed is not None and image.keys() >= needed


def _is_kept(record: dict[str, Any]) -> bool:
    return _is_for_fold(record) or bool(record["dynamodb"]["Keys"].get("pk") == _FOLLOWER)


def _worth_keeping(records: list[dict[str, Any]], now: int) -> list[dict[str, Any]]:
    """Return what the fold needs of the last 24 hours, and in any case where a follower may stand."""
    events = [each for each in records if _is_for_fold(each)]
    own = [each for each in records if _is_kept(each) and not _is_for_fold(each)][-_KEPT_OF_FOLLOWERS:]
    late = [each for each in events[:-1] if _milliseconds(each) > now - _KEPT_MILLISECONDS]
    return sorted([*late, *events[-1:], *own], key=_number)


class _Durable:
    """The engine's modules, with the journal put into them."""

    def __init__(self, state: Path, folder: Path) -> None:
        self._state = state
        self._saved = folder / f"{_SERVICE}.json"
        self._app: Any = importlib.import_module("ministack.app")
        self._core: Any = importlib.import_module("ministack.core.responses")
        self._persistence: Any = importlib.import_module("ministack.core.persistence")
        self._engine: Any = importlib.import_module(f"ministack.services.{_SERVICE}")
        importlib.import_module("hypercorn.config").Config.shutdown_timeout = 24 * 3600.0
        self._load, self._save = self._app.load_state, self._app.save_all
        self._emit, self._handle = self._engine._emit_stream_event, self._engine.handle_request
        self._holds, self._after = self._engine._evaluate_condition, self._engine._apply_exclusive_start_key
        self._get_state = self._engine.get_state
        self._journal: Journal | None = None
        self._numbered, self._milliseconds, self._numbering = 0, 0, threading.Lock()

    def run(self) -> None:
        self._app.load_state, self._app.save_all = self._loaded, self._save_all
        self._engine.get_state = self._state_with_streams
        self._engine._next_stream_seq = self._next_number
        self._engine._emit_stream_event, self._engine.handle_request = self._emitted, self._handled
        self._engine._evaluate_condition = self._holds_at_once
        self._engine._apply_exclusive_start_key = self._after_at_once
        self._app.main()

    def _loaded(self, service: str) -> Any:
        """Load a service's state.

        Where the tables cannot be loaded, the engine ends. By itself it would go on with none, and write that over
        the tables in the end.
        """
        if service != _SERVICE:
            return self._load(service)
        try:
            data = self._load(service)
            if data is None and self._saved.exists():
                _end(f"cannot read {self._saved}", UNREADABLE)
            return self._with_journal(data or {})
        except OSError as error:
            _end(f"cannot write to {self._state}: {error.strerror}", UNWRITTEN)
        except Exception as error:  # noqa: BLE001 - the engine would log it and go on with no tables
            _end(f"cannot read {self._state / JOURNAL}: {error!r}", UNREADABLE)

    def _with_journal(self, data: Any) -> Any:
        """Return tables with all that an engine left in its journal, and write them with it."""
        path = self._state / JOURNAL
        tables = data.setdefault("tables", self._core.AccountRegionScopedDict())
        streams = data.setdefault(_STREAMS, self._core.AccountRegionScopedDict())
        if path.exists() and path.stat().st_size:
            before = time.time()
            left, changes, events = path.stat().st_mtime, 0, 0
            for change in changes_in(path):
                changes += 1
                merge(change, tables, streams)
                events += "record" in change and _LOG in change["key"][0]
            self._persistence.save_state(_SERVICE, data)
            if self._written_since(before):
                path.unlink()
            told = {"until": left, "changes": changes, "events": events}
            (self._state / RECOVERED).write_text(json.dumps(told))
        for place, records in streams._data.items():
            for record in records:
                # The engine forgets what is a day old. What was not followed while it was not running must stay.
                record["dynamodb"].pop("ApproximateCreationDateTime", None)
                self._milliseconds = max(self._milliseconds, _milliseconds(record) + 1)
            self._engine._stream_records.set_scoped(*place, list(records))
        self._journal = Journal(path)
        return data

    def _state_with_streams(self) -> Any:
        streams = self._core.AccountRegionScopedDict()
        now = int(time.time() * 1000)
        for (account, region, table), records in self._engine._stream_records.all_items():
            streams.set_scoped(account, region, table, _worth_keeping(records, now))
        return self._get_state() | {_STREAMS: streams}

    def _next_number(self) -> str:
        """Return a sequence number above all before it, also when the clock was set back."""
        with self._numbering:
            self._milliseconds = max(self._milliseconds, int(time.time() * 1000))
            self._numbered += 1
            return f"{self._milliseconds:020d}{self._numbered:010d}"

    def _save_all(self, services: Any) -> None:
        before = time.time()
        self._save(services)
        # The engine logs what goes wrong here, and goes on. Then the journal stays.
        if self._journal is not None and self._written_since(before):
            self._journal.clear()

    def _written_since(self, instant: float) -> bool:
        # Clocks of file systems tick less often than that of the machine.
        return self._saved.exists() and self._saved.stat().st_mtime >= instant - 0.1

    def _emitted(
        self, table_name: str, event_name: str, old: Any, new: Any, *rest: Any, **named: Any
    ) -> None:
        records = self._engine._stream_records.get(table_name) or []
        last = records[-1] if records else None
        self._emit(table_name, event_name, old, new, *rest, **named)
        table = self._engine._tables.get(table_name)
        if table is None or self._journal is None:
            return
        item = new or old or {}
        change: Change = {
            "table": self._place(table_name),
            "key": [self._value(item, table["pk_name"]), self._value(item, table["sk_name"])],
            "item": new,
        }
        records = self._engine._stream_records.get(table_name) or []
        if records and records[-1] is not last and _is_kept(records[-1]):
            content = {name: held for name, held in records[-1]["dynamodb"].items() if name != "NewImage"}
            change["record"] = records[-1] | {"dynamodb": content}
        self._journal.add(change)

    def _holds_at_once(self, condition: str, item: Any, values: Any, *rest: Any, **named: Any) -> Any:
        """Return whether a condition holds for an item."""
        if condition == _PARTITION:
            return item["pk"] == values[":pk"]
        if condition == _RANGE:
            low, high = values[":low"]["S"], values[":high"]["S"]
            return item["pk"] == values[":pk"] and low <= item["sk"]["S"] <= high
        return self._holds(condition, item, values, *rest, **named)

    def _after_at_once(
        self, items: Any, start: Any, pk_name: str, sk_name: Any, *rest: Any, **named: Any
    ) -> Any:
        """Return the items of a partition that come after the key at which the page before ended."""
        forwards = (rest[0] if rest else named.get("scan_forward", True)) is not False
        if sk_name != "sk" or start.keys() != {"pk", "sk"} or not forwards:
            return self._after(items, start, pk_name, sk_name, *rest, **named)
        last = start["sk"]["S"]
        return [item for item in items if item["sk"]["S"] > last]

    def _value(self, item: Any, name: str | None) -> str:
        return str(self._engine._extract_key_val(item.get(name))) if name else _NO_SORT

    def _place(self, table_name: str) -> list[str]:
        return [self._core.get_account_id(), self._core.get_region(), table_name]

    async def _handled(self, method: str, path: str, headers: Any, body: Any, query: Any) -> Any:
        try:
            return await self._handle(method, path, headers, body, query)
        finally:
            if self._journal is not None:
                if headers.get("x-amz-target", "").rpartition(".")[2] in _OF_TABLES:
                    self._define(body)
                self._journal.write()

    def _define(self, body: bytes) -> None:
        """Journal what a table is after a request that may have changed it."""
        try:
            name = self._engine._normalize_table_name(json.loads(body)["TableName"])
        except (ValueError, KeyError, TypeError):
            return
        table = self._engine._tables.get(name)
        definition = (
            None if table is None else {key: held for key, held in table.items() if key not in _CONTENT}
        )
        assert self._journal is not None  # noqa: S101 - the caller looked
        self._journal.add({"table": self._place(name), "definition": definition})


def _end_with_standard_input(lock: IO[str]) -> None:
    """Be told to end when the program that started this one is gone: it holds the other end."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1 << 10):
            pass
        lock.write(ENDING)
        lock.flush()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _locked(path: Path) -> IO[str] | None:
    """Lock a state folder and say who has it: this process, and the one that started it. None if it is locked."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.truncate(0)
    file.write(f"{os.getpid()} {os.getppid()}\n")
    file.flush()
    return file


def main(state: Path, tables: Path) -> int:
    """Run the engine until it is told to end, or its standard input ends. It keeps its tables in ``tables``."""
    lock = _locked(state / LOCK)
    if lock is None:
        return BUSY
    (state / RECOVERED).unlink(missing_ok=True)
    version = importlib.import_module("importlib.metadata").version("ministack")
    if version != _KNOWN_VERSION:
        sys.exit(f"ministack is {version}: its journal is made for {_KNOWN_VERSION}")
    # The engine's own command line is empty.
    del sys.argv[1:]
    durable = _Durable(state, tables)
    _end_with_standard_input(lock)
    durable.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
