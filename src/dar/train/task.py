"""What is particular to training one kind of model: the face that the training loop knows."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dar.data import MicroBatches
from dar.train.distributed import Distributed


class Task(Protocol):
    """What is particular to training one kind of model.

    Attributes:
        model: the model in training.
        extra: tensors to keep in checkpoints, the same in every process; changed in place.
        recomputed: kinds of modules whose activations can be computed again.
    """

    model: nn.Module
    extra: Mapping[str, Tensor]
    recomputed: tuple[type[nn.Module], ...]

    def batches(self, first: int, last: int, micro_batches: MicroBatches) -> Iterator[Any]:
        """Give this process's micro-batches of steps ``first`` to ``last`` (excluded), in order."""

    def shard_units(self, model: nn.Module) -> Sequence[nn.Module]:
        """List the modules of a model like ``model`` to be sharded, the whole last; by default none."""
        return ()

    def losses(
        self, model: nn.Module, batch: Any, step: int, rows: range, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Compute weighted terms of the loss, which add up to the whole batch's over all micro-batches and processes.

        Args:
            model: the model in training, perhaps compiled or replicated.
            batch: the micro-batch.
            step: which step.
            rows: where in the whole batch the micro-batch lies.
            generator: the same for all micro-batches of a step; what is drawn from it is drawn for the whole batch.
        """

    def after_step(
        self, optimizer: torch.optim.Optimizer, averaged: nn.Module, step: int, generator: torch.Generator
    ) -> None:
        """Do what must follow an optimiser step, in every process alike; by default nothing."""
        return

    def statistics(self) -> dict[str, float]:
        """Give further metrics for the log, since the last call; by default none."""
        return {}

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        """Write a picture that shows how the averaged model does; return metrics for the log."""

    def export(self, averaged: nn.Module, folder: Path, distributed: Distributed) -> None:
        """Write the averaged model for ``from_pretrained``; gathering what is sharded, all processes call this."""
