"""The processes of one training, through accelerate.

There is one on a laptop; ``accelerate launch`` and ``torchrun`` start many.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from dar.data import Share
from dar.errors import DARError


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
        # Without being told, accelerate takes processes on CPUs for so many lone ones.
        cpus = int(os.environ.get("WORLD_SIZE", "1")) > 1 and not torch.cuda.is_available()
        self._accelerator = Accelerator(cpu=cpus)
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

    def main_first(self) -> AbstractContextManager[None]:
        """Within it, the main process goes before the others, which then find what it has left on the disk."""
        return self._accelerator.main_process_first()

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

    def any(self, *facts: bool) -> list[bool]:
        """Whether each fact holds in some process."""
        if self.size == 1:
            return list(facts)
        return [bool(count) for count in self.total(torch.tensor(facts, dtype=torch.int32, device=self.device))]

    def replicate(self, model: nn.Module) -> nn.Module:
        """The model, with gradients averaged over all processes."""
        return self._accelerator.prepare(model)

    def shard(self, units: Sequence[nn.Module], *, bf16: bool) -> None:
        """Spread parameters, gradients and optimiser states over the processes (FSDP2), in place.

        Args:
            units: modules that are gathered together, the whole last.
            bf16: whether to gather in bfloat16; gradients are added up in float32 either way.
        """
        if self.size == 1:
            return
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else MixedPrecisionPolicy()
        for unit in units:
            fully_shard(unit, mp_policy=policy)

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
