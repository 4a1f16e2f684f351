"""What a training will take, told before anything is spent: parameters, memory, operations, time."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from dar.prior import Prior
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.loop import use_bf16
from dar.train.losses import tokenizer_losses
from dar.train.prior import cross_entropy
from dar.train.recipe import Recipe, TrainingRecipe

BYTES_PER_PARAMETER = 20
"""Weight, gradient, two moments and the running average, in float32."""

BATCH = 2
"""Images of the pass that is counted."""

MATRIX_SHARE = 0.4
"""Share of the rate of plain matrix products that a whole training step is taken to reach."""


@dataclass(frozen=True)
class Estimate:
    """Of one training.

    Attributes:
        parameters: of the model.
        state_bytes: weights, gradients, moments and running average; divided by the processes if sharded.
        activation_bytes: kept for the backward pass of one process's piece of a batch.
        operations: of the whole training, additions and multiplications.
        images: seen in the whole training.
    """

    parameters: int
    state_bytes: int
    activation_bytes: int
    operations: float
    images: int

    def lines(self, rate: float, processes: int) -> list[str]:
        """The estimate in words, for hardware that multiplies matrices at ``rate`` operations a second."""
        seconds = self.operations / (rate * processes * MATRIX_SHARE)
        return [
            f"parameters   {self.parameters / 1e6:.2f} M",
            f"memory       {self.state_bytes / 1e9:.2f} GB of weights, gradients, moments and average, and about "
            f"{self.activation_bytes / 1e9:.2f} GB of activations, per process",
            f"operations   {self.operations / self.images / 1e9:.2f} GFLOP an image, {self.images:,} images in all",
            f"time         about {_hours(seconds)}: {processes} process(es) that multiply matrices at "
            f"{rate / 1e9:.0f} GFLOP/s (measured now), taken to reach {MATRIX_SHARE:.0%} of it",
        ]


def estimate_tokenizer(recipe: Recipe, processes: int = 1) -> Estimate:
    """What a tokenizer's training takes; losses through other networks are not counted."""
    size = recipe.tokenizer.image_size
    with FakeTensorMode():
        model = SequentialDiffusionTokenizer(recipe.tokenizer)
        pixels = torch.zeros(BATCH, 3, size, size)

        def loss() -> Tensor:
            output = model(pixels, torch.rand(BATCH), torch.zeros_like(pixels))
            return torch.stack(list(tokenizer_losses(output, pixels, recipe.tokenizer).values())).sum()

        return _estimate(model, loss, recipe.tokenizer_training, processes, sharded=False)


def estimate_prior(recipe: Recipe, num_classes: int, processes: int = 1) -> Estimate:
    """What a prior's training takes; tokenising is not counted."""
    with FakeTensorMode():
        model = Prior(recipe.prior_config([str(i) for i in range(num_classes)]))
        tokens = torch.zeros(BATCH, recipe.tokenizer.num_tokens, dtype=torch.int64)

        def loss() -> Tensor:
            return cross_entropy(model(tokens[:, 0], tokens), tokens)

        training = recipe.prior_training
        return _estimate(model, loss, training, processes, sharded=training.sharded)


def _estimate(
    model: nn.Module, loss: Callable[[], Tensor], recipe: TrainingRecipe, processes: int, *, sharded: bool
) -> Estimate:
    """Count one pass on tensors that have sizes but no content."""
    saved: dict[int, int] = {}
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=use_bf16(recipe.precision))
    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), autocast:
            value = loss()
        value.backward()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    images = recipe.steps * recipe.batch_size
    piece = recipe.batch_size // (processes * recipe.gradient_accumulation)
    return Estimate(
        parameters=parameters,
        state_bytes=BYTES_PER_PARAMETER * parameters // (processes if sharded else 1),
        activation_bytes=sum(saved.values()) // BATCH * piece,
        operations=counter.get_total_flops() / BATCH * images,
        images=images,
    )


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 2048, seconds: float = 1.0) -> float:
    """Operations a second of plain matrix products, measured: the ceiling of any training there."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            product = left @ right
        product[0, 0].item()  # waits for a GPU
        return time.perf_counter() - start

    run(3)
    count = max(3, math.ceil(3 * seconds / max(run(3), 1e-9)))
    return 2 * size**3 * count / run(count)


def _hours(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 90:
        return f"{max(minutes, 1):.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 72 * 60 else f"{minutes / 1440:.0f} days"
