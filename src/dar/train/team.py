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
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from dar.data import Share
from dar.errors import DARError

PATIENCE = timedelta(hours=2)
"""How long processes wait for each other: one may download, validate or hash while the others wait."""

T = TypeVar("T")


class Team:
    """Who takes part, and what they tell each other.

    Every process runs the same program. Methods that exchange something must be called by all of them.

    Attributes:
        index: which process this is.
        size: how many there are.
        device: where this one computes.

    Raises:
        DARError: if the launcher was told to shard by itself.
    """

    def __init__(self) -> None:
        if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
            raise DARError(
                "sharding is chosen in the recipe: leave the launcher's FSDP out, set prior_training.sharded"
            )
        # Told what to do, whatever a launcher's configuration says; without GPUs it must be told that CPUs are meant.
        self._accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision="no",
            dynamo_backend="no",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
        self.index: int = self._accelerator.process_index
        self.size: int = self._accelerator.num_processes
        self.device: torch.device = self._accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes and reports."""
        return self.index == 0

    def share(self, pieces: int = 1) -> Share:
        """This process's part of every batch."""
        return Share(self.index, self.size, pieces)

    def wait(self) -> None:
        """Go on when all have come here."""
        self._accelerator.wait_for_everyone()

    def main_first(self, action: Callable[[], T]) -> T:
        """Do something in all processes, after the main one has done it and left on the disk what it takes.

        Raises:
            DARError: in all of them, if the action does in one.
        """
        found, problem = None, ""
        for is_turn in (self.is_main, not self.is_main):
            if is_turn:
                try:
                    found = action()
                except DARError as error:
                    problem = str(error)
            self.agree(problem)
        return cast(T, found)

    def total(self, values: Tensor) -> Tensor:
        """Elementwise sum over all processes."""
        return self._accelerator.reduce(values, "sum")

    def gather(self, rows: Tensor) -> Tensor:
        """Rows of all processes, in their order; each must give as many."""
        return self._accelerator.gather(rows)

    def told_by_main(self, thing: Any) -> Any:
        """What the main process has to say."""
        if self.size == 1:
            return thing
        things = [thing]
        broadcast_object_list(things)
        return things[0]

    def leave(self) -> None:
        """Take leave of each other, at the end; a process that just ends may be killed by its own network threads."""
        self.wait()
        self._accelerator.end_training()

    def by_main(self, action: Callable[[], T]) -> T:
        """What the main process finds when it does something; what it raises is raised in all.

        Raises:
            DARError: if the action does.
        """
        outcome: tuple[Any, str] = (None, "")
        if self.is_main:
            try:
                outcome = (action(), "")
            except DARError as error:
                outcome = (None, str(error))
        result, problem = self.told_by_main(outcome)
        if problem:
            raise DARError(problem)
        return result

    def agree(self, problem: str) -> None:
        """Stop all processes if one has a problem; empty means none.

        Raises:
            DARError: then, in all of them.
        """
        if self.any(bool(problem))[0]:
            raise DARError(problem or "another process of this training failed, and told why")

    def same_everywhere(self, values: Tensor) -> Tensor:
        """The main process's values: what is computed alike everywhere may still differ by rounding."""
        return broadcast(values)

    def any(self, *facts: bool) -> list[bool]:
        """Whether each fact holds in some process."""
        if self.size == 1:
            return list(facts)
        return [bool(count) for count in self.total(torch.tensor(facts, dtype=torch.int32, device=self.device))]

    def replicate(self, model: nn.Module) -> nn.Module:
        """The model, with gradients averaged over all processes."""
        return self._accelerator.prepare(model)

    def shard(self, units: Sequence[nn.Module]) -> None:
        """Spread parameters, gradients and optimiser states over the processes (FSDP2), in place.

        Args:
            units: modules that are gathered together, the whole last.
        """
        if self.size > 1:
            for unit in units:
                fully_shard(unit, reshard_after_forward=True)  # the whole too: a mere evaluation leaves it sharded

    def piece_of_many(self, model: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Within it, gradients are kept to oneself until the last piece."""
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_requires_gradient_sync(last, recurse=False)
        return nullcontext() if last else self._accelerator.no_sync(model)


def whole(tensor: Tensor) -> Tensor:
    """A tensor with all its rows, gathered if it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def recompute_activations(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Keep only what goes into modules of these kinds, and compute the rest again in the backward pass."""
    for module in model.modules():
        if isinstance(module, kinds):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)
