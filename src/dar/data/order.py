"""The order in which images are seen, and the part of it that each process computes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from dar.errors import DARError
from dar.randomness import derived_seed


def epoch_seed(seed: int, epoch: int) -> int:
    """Derive the seed that shuffles an epoch."""
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
class MicroBatches:
    """The micro-batches that one process computes of every batch: consecutive positions.

    Attributes:
        rank: of the process, 0 to world_size - 1.
        world_size: number of processes that share a batch.
        accumulation: micro-batches, each a forward and a backward pass, that a process makes of its part of a batch.
    """

    rank: int = 0
    world_size: int = 1
    accumulation: int = 1

    def check_divides(self, batch_size: int) -> None:
        """Make sure that a batch can be divided evenly.

        Raises:
            DARError: if it cannot.
        """
        if batch_size % (self.world_size * self.accumulation):
            raise DARError(
                f"a batch of {batch_size} cannot be divided among {self.world_size} processes in {self.accumulation} "
                f"micro-batches each: "
                f"make batch_size a multiple of {self.world_size * self.accumulation}"
            )

    def positions(self, batch_size: int, batch: int) -> list[range]:
        """List the positions in the stream of each micro-batch of batch number ``batch``.

        Raises:
            DARError: if the batch cannot be divided evenly.
        """
        self.check_divides(batch_size)
        size = batch_size // (self.world_size * self.accumulation)
        start = batch * batch_size + self.rank * self.accumulation * size
        return [range(start + i * size, start + (i + 1) * size) for i in range(self.accumulation)]


def micro_batch_positions(
    batch_size: int, first: int, last: int, micro_batches: MicroBatches | None
) -> Iterator[range]:
    """List the positions of each micro-batch of the batches, in order."""
    for i in range(first, last):
        yield from (micro_batches or MicroBatches()).positions(batch_size, i)
