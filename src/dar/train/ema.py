"""The running average of weights that samples are made with."""

import copy

import torch
from torch import Tensor, nn


class AveragedModel:
    """Exponential moving average of a model's parameters, and of what its buffers count in floats.

    Args:
        model: followed by the average; copied as its start. If it is to be sharded, so must be the copy.
        decay: weight of the past; the first steps average over fewer, as (1 + step) / (10 + step).

    Attributes:
        model: a copy of the model that bears the averaged weights, in evaluation mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._followed = model

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the model after optimiser step ``step`` (0, 1, ...)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = list(self.model.parameters())
        now: list[Tensor] = [parameter.detach() for parameter in self._followed.parameters()]
        torch._foreach_lerp_(averages, now, 1 - decay)
        for average, buffer in zip(self.model.buffers(), self._followed.buffers(), strict=True):
            if buffer.is_floating_point():
                average.lerp_(buffer, 1 - decay)
