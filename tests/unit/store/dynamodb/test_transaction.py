"""What fits in a transaction: actions, bytes, and items to which several contributors add."""

from collections.abc import Sequence

import pytest

from meterstone.store.dynamodb.transaction import MOST_ACTIONS, MOST_BYTES, Needs, TransactionBudget, packed

ALL, HALF = MOST_BYTES, MOST_BYTES // 2


@pytest.mark.parametrize(
    ("needs", "packs"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([Needs(100, 0)], [[0]], id="as many actions as there may be"),
        pytest.param([Needs(99, 0), Needs(1, 0), Needs(1, 0)], [[0, 1], [2]], id="one action too many"),
        pytest.param([Needs(1, HALF), Needs(1, HALF), Needs(1, 1)], [[0, 1], [2]], id="one byte too many"),
        pytest.param([Needs(101, 0), Needs(0, 0)], [[0], [1]], id="too many actions for any transaction"),
        pytest.param([Needs(1, ALL + 1), Needs(0, 0)], [[0], [1]], id="too many bytes for any transaction"),
        pytest.param(
            [Needs(49, 0, {"a", "b"}), Needs(49, 0, {"a", "b"})],
            [[0, 1]],
            id="shared items are one action each",
        ),
        pytest.param(
            [Needs(49, 0, {"a", "b"}), Needs(49, 0, {"b", "c"})], [[0], [1]], id="shared items that differ"
        ),
        pytest.param(
            [Needs(98, 0, {"a"}), Needs(98, 0, {"a"}), Needs(1, 0, {"b"})],
            [[0], [1], [2]],
            id="what is shared counts anew in each transaction",
        ),
    ],
)
def test_what_fits_is_put_together_in_order(needs: Sequence[Needs], packs: list[list[int]]) -> None:
    assert list(packed(range(len(needs)), lambda number: needs[number])) == packs


def test_an_action_beside_takes_room_in_every_transaction() -> None:
    def beside_a_guard() -> TransactionBudget:
        return TransactionBudget(beside=1)

    packs = list(packed(range(199), lambda _: Needs(1, 0), beside_a_guard))

    assert [len(pack) for pack in packs] == [MOST_ACTIONS - 1, MOST_ACTIONS - 1, 1]
