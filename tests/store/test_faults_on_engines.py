"""The fold stopped at each of its writes, on a real engine: in the end it counted what the events come to."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from unittest import mock
from uuid import uuid4

import pytest

from meterstone.store.dynamodb.keys import Key
from meterstone.store.dynamodb.table import Item, StoreUnavailableError, Table
from meterstone.usage.subscription import Organization
from support import recovering
from support import scenario as scenarios
from support.counting import check_analytics
from support.memory_table import Killed
from support.recovering import streaming
from support.stored import rich


class Stopping(Table):
    """An engine's table that fails at the write of a number, from 0: before it is done, or after."""

    number, at, done = 0, -1, False

    def stop(self, at: int, *, done: bool) -> None:
        """Fail at the write of this number from now."""
        self.number, self.at, self.done = 0, at, done

    def transact(self, actions: Sequence[Any]) -> None:
        """Write all or nothing, or fail."""
        self._attempt(lambda: super(Stopping, self).transact(actions))

    def put(self, item: Item) -> None:
        """Write one item, or fail."""
        self._attempt(lambda: super(Stopping, self).put(item))

    def put_new(self, item: Item) -> Item | None:
        """Write one item if there is none, or fail."""
        return self._attempt(lambda: super(Stopping, self).put_new(item))

    def delete_all(self, keys: Iterable[Key]) -> None:
        """Remove items, or fail."""
        self._attempt(lambda: super(Stopping, self).delete_all(keys))

    def _attempt[T](self, write: Callable[[], T]) -> T:
        number, self.number = self.number, self.number + 1
        if number == self.at and not self.done:
            raise Killed
        written = write()
        if number == self.at:
            raise StoreUnavailableError("its answer was lost")
        return written


@pytest.mark.slow
@pytest.mark.parametrize("done", [False, True], ids=["killed before", "answer lost after"])
def test_a_fold_that_is_stopped_at_any_write_counts_once(engine: Table, *, done: bool) -> None:
    scenario = rich()
    table = Stopping(Table.from_environment().client, engine.name)
    stops, stopped = 0, True
    while stopped:
        organization = Organization(str(uuid4()))
        with (
            mock.patch.object(scenarios, "ORGANIZATION", organization),
            mock.patch.object(recovering, "ORGANIZATION", organization),
        ):
            world, stream = streaming(scenario, table)
            stream.post(scenario.usage)
            table.stop(stops, done=done)
            try:
                stream.deliver()
            except (Killed, StoreUnavailableError):
                stops += 1
            else:
                stopped = False
            table.stop(-1, done=done)
            stream.deliver(again=len(scenario.usage))
            world.roll(stream.clock.now)
            check_analytics(world, scenario.usage, stream.clock.now)
    assert stops >= 8, "some of them in steps"
