"""Watches a store's client: how long the engine took, what was read, and answers from memory on request.

While it listens, every call goes to the engine and its answer is kept. While it replays, the same calls are
answered from what was kept, inside this process: what is timed then is our own code and botocore's, without any
transport.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from time import perf_counter
from typing import Any

from benchmarks.sizes import Attributes, get_units, item_size, query_units
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from meterstone.store.dynamodb.table import Table

_OPERATIONS = ("Query", "GetItem", "BatchGetItem")


@dataclass(slots=True)
class Reads:
    """What requests read: calls, of them queries (one page each), items, their bytes, and read units."""

    calls: int = 0
    pages: int = 0
    items: int = 0
    bytes: int = 0
    units: float = 0.0

    def count(self, operation: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Add one call. A consistent one costs twice as much."""
        self.calls += 1
        found: list[Attributes]
        asked = request
        match operation:
            case "Query":
                found = answer["Items"]
                self.pages += 1
                units = query_units(found)
            case "GetItem":
                found = [answer["Item"]] if "Item" in answer else []
                units = get_units(answer.get("Item"))
            case _:
                found = [item for items in answer["Responses"].values() for item in items]
                (asked,) = request["RequestItems"].values()
                units = sum(get_units(item) for item in found)
                units += (len(asked["Keys"]) - len(found)) * get_units(None)
        self.units += 2 * units if asked.get("ConsistentRead") else units
        self.items += len(found)
        self.bytes += sum(item_size(item) for item in found)


class Probe:
    """Hangs on the client of a table."""

    def __init__(self, table: Table) -> None:
        """Listen from now on."""
        #: Seconds between sending a request and having its whole answer, since the last `reset`.
        self.seconds = 0.0
        self._exchanges: list[tuple[str, bytes, bytes]] = []
        self._kept: dict[bytes, bytes] = {}
        self._replaying = False
        self._sent: tuple[bytes, float] = b"", 0.0
        handlers: dict[str, Any] = {"before-send": self._before_send, "before-parse": self._before_parse}
        for operation in _OPERATIONS:
            for moment, handler in handlers.items():
                table.client.meta.events.register_first(f"{moment}.dynamodb.{operation}", handler)

    def reset(self) -> None:
        """Begin to count anew; what was kept stays."""
        self._exchanges.clear()
        self.seconds = 0.0

    def reads(self) -> Reads:
        """Count what was read since the last `reset`; not while it is timed."""
        reads = Reads()
        for operation, asked, answer in self._exchanges:
            reads.count(operation, json.loads(asked), json.loads(answer))
        return reads

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Answer from memory as long as the block lasts."""
        self._replaying = True
        try:
            yield
        finally:
            self._replaying = False

    def _before_send(self, request: Any, **_: object) -> AWSResponse | None:
        if self._replaying:
            return AWSResponse(request.url, 200, HTTPHeaders(), _Body(self._kept[request.body]))
        self._sent = request.body, perf_counter()
        return None

    def _before_parse(self, operation_model: Any, response_dict: Mapping[str, Any], **_: object) -> None:
        if self._replaying:
            return
        asked, started = self._sent
        self.seconds += perf_counter() - started
        body = response_dict["body"]
        self._kept[asked] = body
        self._exchanges.append((operation_model.name, asked, body))


class _Body(BytesIO):
    """An answer's body as urllib3 gives it."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()
