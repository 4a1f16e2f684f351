import random

import pytest

from dar.data import (
    EndlessOrder,
    MicroBatches,
)
from dar.errors import DARError


def test_order_visits_each_item_once_an_epoch() -> None:
    order = EndlessOrder(10, seed=1)
    epochs = [[order[10 * epoch + i] for i in range(10)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_order_does_not_depend_on_how_it_is_read() -> None:
    forwards = EndlessOrder(7, seed=1)
    expected = [forwards[i] for i in range(28)]
    positions = list(range(28))
    random.Random(0).shuffle(positions)
    jumping = EndlessOrder(7, seed=1)
    found = {position: jumping[position] for position in positions}
    assert [found[i] for i in range(28)] == expected


def test_order_follows_the_seed() -> None:
    one, other = EndlessOrder(50, seed=1), EndlessOrder(50, seed=2)
    assert [one[i] for i in range(50)] != [other[i] for i in range(50)]


@pytest.mark.parametrize(("processes", "pieces"), [(1, 1), (2, 1), (1, 3), (2, 3), (6, 2)])
def test_shares_cover_each_batch_once_and_in_order(processes: int, pieces: int) -> None:
    for batch in (0, 5):
        shares = [MicroBatches(index, processes, pieces).positions(12, batch) for index in range(processes)]
        assert all(len(share) == pieces for share in shares)
        joined = [position for share in shares for piece in share for position in piece]
        assert joined == list(range(12 * batch, 12 * batch + 12))


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    with pytest.raises(DARError, match="a batch of 12 cannot be divided among 5 processes in 2 micro-batches each"):
        MicroBatches(0, 5, 2).positions(12, 0)
