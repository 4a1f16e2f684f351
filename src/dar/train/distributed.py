"""The processes of one training, through accelerate.

There is one on a laptop; ``accelerate launch`` and ``torchrun`` start many.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast, broadcast_object_list
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.utils.checkpoint import checkpoint

from dar.data import MicroBatches
from dar.errors import DARError

TIMEOUT = timedelta(hours=2)
"""Longest wait of one process for another, which may be downloading, validating or hashing."""

T = TypeVar("T")


class Distributed:
    """The group of processes, and the operations between them.

    Every process runs the same program. Collective operations must be called by all of them.

    Attributes:
        rank: of this process, 0 to world_size - 1.
        world_size: number of processes.
        device: where this process computes.

    Raises:
        DARError: if the launcher is configured to shard by itself.
    """

    def __init__(self) -> None:
        if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
            raise DARError(
                "sharding is chosen in the recipe: leave the launcher's FSDP out, set prior_training.sharded"
            )
        # Explicit arguments win over a launcher's configuration; without GPUs, CPUs must be named.
        self._accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision="no",
            dynamo_backend="no",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=TIMEOUT)],
        )
        self.rank: int = self._accelerator.process_index
        self.world_size: int = self._accelerator.num_processes
        self.device: torch.device = self._accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def micro_batches(self, accumulation: int = 1) -> MicroBatches:
        """Split every batch into micro-batches, and return those of this process."""
        return MicroBatches(self.rank, self.world_size, accumulation)

    def barrier(self) -> None:
        """Wait until all processes have come here."""
        self._accelerator.wait_for_everyone()

    def main_first(self, action: Callable[[], T]) -> T:
        """Run an action in the main process, then in the others, which find on the disk what the first one left there.

        Raises:
            DARError: in all processes, if the action raises it in one.
        """
        found, problem = None, ""
        for is_turn in (self.is_main, not self.is_main):
            if is_turn:
                try:
                    found = action()
                except DARError as error:
                    problem = str(error)
            self.raise_if_any_failed(problem)
        return cast(T, found)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """Sum elementwise over all processes."""
        return self._accelerator.reduce(values, "sum")

    def gather(self, rows: Tensor) -> Tensor:
        """Concatenate the rows of all processes in the order of ranks; each must give equally many."""
        return self._accelerator.gather(rows)

    def broadcast_object(self, thing: Any) -> Any:
        """Return the main process's object in all processes."""
        if self.world_size == 1:
            return thing
        things = [thing]
        broadcast_object_list(things)
        return things[0]

    def shutdown(self) -> None:
        """End together; a process that just ends may be killed by its own network threads."""
        self.barrier()
        self._accelerator.end_training()

    def on_main(self, action: Callable[[], T]) -> T:
        """Run an action in the main process only, and return its result in all.

        Raises:
            DARError: in all processes, if the action raises it.
        """
        outcome: tuple[Any, str] = (None, "")
        if self.is_main:
            try:
                outcome = (action(), "")
            except DARError as error:
                outcome = (None, str(error))
        result, problem = self.broadcast_object(outcome)
        if problem:
            raise DARError(problem)
        return result

    def raise_if_any_failed(self, problem: str) -> None:
        """Stop all processes if one has a problem; an empty text means none.

        Raises:
            DARError: in all processes, if one has a problem.
        """
        if self.any(bool(problem))[0]:
            raise DARError(problem or "another process of this training failed, and its message says why")

    def broadcast(self, values: Tensor) -> Tensor:
        """Return the main process's values: what is computed alike everywhere may still differ by rounding."""
        return broadcast(values)

    def any(self, *facts: bool) -> list[bool]:
        """Tell of each fact whether it holds in some process."""
        if self.world_size == 1:
            return list(facts)
        return [
            bool(count) for count in self.all_reduce_sum(torch.tensor(facts, dtype=torch.int32, device=self.device))
        ]

    def replicate(self, model: nn.Module) -> nn.Module:
        """Wrap a model so that its gradients are averaged over all processes."""
        return self._accelerator.prepare(model)

    def shard(self, units: Sequence[nn.Module]) -> None:
        """Shard parameters, gradients and optimiser states over the processes (FSDP2), in place.

        Args:
            units: modules that are gathered together, the whole last.
        """
        if self.world_size > 1:
            for unit in units:
                fully_shard(unit, reshard_after_forward=True)  # the whole too: a mere evaluation leaves it sharded

    def accumulate(self, model: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Keep gradients local within the block, except in the last micro-batch, where they are averaged."""
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_requires_gradient_sync(last, recurse=False)
        return nullcontext() if last else self._accelerator.no_sync(model)


def recompute_activations(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Checkpoint activations: keep only the inputs of modules of these kinds, and recompute the rest going backward."""
    for module in model.modules():
        if isinstance(module, kinds):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)
