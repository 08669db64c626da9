"""The table in memory, with a count of its reads: also of those that find nothing."""

from collections.abc import Iterator

from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, Row
from support.memory_table import MemoryTable


class CountingTable(MemoryTable):
    """Counts the reads of items by key, and the pages that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.gets = 0
        self.pages = 0

    @property
    def reads(self) -> tuple[int, int]:
        """The items asked for by key and the pages since this was last read."""
        found = self.gets, self.pages
        self.gets = self.pages = 0
        return found

    def get(self, key: Key, *, consistent: bool = False) -> Row | None:
        self.gets += 1
        return super().get(key, consistent=consistent)

    def _pages(self, pk: str, low: str, high: str, *, consistent: bool) -> Iterator[list[Item]]:
        for page in super()._pages(pk, low, high, consistent=consistent):
            self.pages += 1
            yield page
