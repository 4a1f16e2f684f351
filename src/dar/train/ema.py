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
        torch._foreach_lerp_(_averaged(self.model), _averaged(self._followed), 1 - decay)


def _averaged(model: nn.Module) -> list[Tensor]:
    """Parameters, and buffers such as the statistics of batch normalisation."""
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    return [*(parameter.detach() for parameter in model.parameters()), *buffers]
