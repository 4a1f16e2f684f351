"""The order in which images are seen, and the part of it that each process computes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from dar.errors import DARError
from dar.randomness import derived_seed


def epoch_seed(seed: int, epoch: int) -> int:
    """What shuffles an epoch."""
    return derived_seed(seed, epoch)


class EndlessOrder:
    """One seeded shuffle of n items after another: position -> index, with no state to save.

    Args:
        count: n.
        seed: chooses the shuffles.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self._epoch, self._order = -1, torch.empty(0)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.count)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(epoch_seed(self.seed, epoch))
            self._epoch, self._order = epoch, torch.randperm(self.count, generator=generator)
        return int(self._order[place])


@dataclass(frozen=True)
class Share:
    """The part of every batch that one process computes: consecutive positions, in consecutive pieces.

    Attributes:
        index: which process this is.
        processes: how many share a batch.
        pieces: how many forward and backward passes the process makes of its part (gradient accumulation).
    """

    index: int = 0
    processes: int = 1
    pieces: int = 1

    def check_divides(self, batch_size: int) -> None:
        """Make sure that a batch can be divided evenly.

        Raises:
            DARError: if it cannot.
        """
        if batch_size % (self.processes * self.pieces):
            raise DARError(
                f"a batch of {batch_size} cannot be shared by {self.processes} processes in {self.pieces} pieces each: "
                f"make batch_size a multiple of {self.processes * self.pieces}"
            )

    def positions(self, batch_size: int, batch: int) -> list[range]:
        """Positions in the stream of each piece of batch number ``batch``.

        Raises:
            DARError: if the batch cannot be divided evenly.
        """
        self.check_divides(batch_size)
        size = batch_size // (self.processes * self.pieces)
        start = batch * batch_size + self.index * self.pieces * size
        return [range(start + i * size, start + (i + 1) * size) for i in range(self.pieces)]


def piece_positions(batch_size: int, first: int, last: int, share: Share | None) -> Iterator[range]:
    """Positions of each piece of the batches, in order."""
    for i in range(first, last):
        yield from (share or Share()).positions(batch_size, i)
