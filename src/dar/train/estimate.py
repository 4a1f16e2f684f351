"""Estimates of what a training will take before anything is spent: parameters, memory, operations, time."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from dar.data import MicroBatches
from dar.features.classifier import ImageClassifier
from dar.nn import Block
from dar.prior import Prior
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.tokenizer.diffusion_decoder import DiffusionBlock
from dar.train.classifier_recipe import ClassifierRecipe
from dar.train.hardware import Hardware
from dar.train.losses import tokenizer_losses
from dar.train.prior_losses import cross_entropy
from dar.train.recipe import Recipe, TrainingRecipe

SHARDABLE = ("prior_training",)

LONG = 30 * 86400
ELSEWHERE = "elsewhere    --on h100x8, for example, estimates it for other hardware"
"""What to say of trainings that take too long here, from so many seconds on."""

BYTES_PER_PARAMETER = 20
"""Weight, gradient, two moments and the running average, in float32."""

COUNTED_BATCH = 2
"""Images of the pass that is counted."""

MATRIX_SHARE = 0.4
"""Share of the rate of plain matrix products that a whole training step is taken to reach."""


USABLE_SHARE = 0.9
"""Share of a device's memory that a training may count on."""

RECOMPUTING = 4 / 3
"""Operations with activations recomputed: forward once more, of forward once and backward twice as much."""


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of one training.

    Attributes:
        section: of the recipe that holds its settings.
        parameters: of the model.
        state_bytes: weights, gradients, moments and running average; divided by the processes if sharded.
        kept_bytes: activations of one image that the backward pass needs.
        recomputed_bytes: the same, with those inside blocks computed again; as many where there are no blocks.
        images_at_once: images of one process's micro-batch.
        images_a_process: images of one process's part of a batch.
        recomputes: whether the recipe has activations computed again.
        operations: of the whole training, additions and multiplications.
        images: seen in the whole training.
    """

    section: str
    parameters: int
    state_bytes: int
    kept_bytes: int
    recomputed_bytes: int
    images_at_once: int
    images_a_process: int
    recomputes: bool
    operations: float
    images: int

    @property
    def activation_bytes(self) -> int:
        """Bytes kept for the backward pass of one process's micro-batch."""
        return self.images_at_once * (self.recomputed_bytes if self.recomputes else self.kept_bytes)

    def lines(self, hardware: Hardware) -> list[str]:
        """Describe the estimate in sentences."""
        seconds = self.operations / (hardware.rate * hardware.processes * MATRIX_SHARE)
        source = "measured now" if hardware.is_measured else "as published"
        where = f"{hardware.processes} process{'es' if hardware.processes > 1 else ''} on {hardware.name}"
        return [
            f"parameters   {self.parameters / 1e6:.2f} M",
            f"memory       {self.state_bytes / 1e9:.2f} GB of weights, gradients, moments and average, and about "
            f"{self.activation_bytes / 1e9:.2f} GB of activations, per process; {self._fit(hardware)}",
            f"operations   {self.operations / self.images / 1e9:.2f} GFLOP an image, {self.images:,} images in all",
            f"time         an estimate: about {duration(seconds)} with {where}, whose matrix products reach "
            f"{_rate(hardware.rate)} ({source}), if training reaches {MATRIX_SHARE:.0%} of that",
            *([ELSEWHERE] if hardware.is_measured and seconds > LONG else []),
        ]

    def _fit(self, hardware: Hardware) -> str:
        has = f"there are {hardware.memory / 1e9:.0f} GB"
        usable = USABLE_SHARE * hardware.memory - self.state_bytes
        if self.activation_bytes <= usable:
            return has
        if usable <= 0:
            spread = ", or spread it over more processes with prior_training.sharded=true" * (self.section in SHARDABLE)
            return f"{has}, TOO LITTLE for the model alone: choose a smaller one{spread}"
        remedies = [
            remedy
            for recompute in sorted({self.recomputes, self.recomputed_bytes < self.kept_bytes})
            if (remedy := self._remedy(usable, recompute=recompute))
        ]
        return f"{has}, TOO LITTLE: {' or '.join(remedies) or 'not even one image at a time fits'}"

    def _remedy(self, usable: float, *, recompute: bool) -> str:
        """Suggest settings with which activations fit; empty if there are none."""
        one = self.recomputed_bytes if recompute else self.kept_bytes
        accumulation = next(
            (n for n in divisors(self.images_a_process) if self.images_a_process // n * one <= usable), None
        )
        if accumulation is None:
            return ""
        settings = [f"{self.section}.gradient_accumulation={accumulation}"]
        if recompute and not self.recomputes:
            settings.append(f"{self.section}.recompute_activations=true (a third more computing)")
        return (
            f"{' with '.join(settings)} needs {self.images_a_process // accumulation * one / 1e9:.2f} GB of activations"
        )


def estimate_tokenizer(recipe: Recipe, processes: int = 1, *, bf16: bool = False) -> Estimate:
    """Estimate a tokenizer's training; losses through other networks are not counted.

    Args:
        recipe: sizes and settings.
        processes: that train together.
        bf16: whether they compute in bfloat16.
    """
    size = recipe.tokenizer.image_size
    with FakeTensorMode():
        model = SequentialDiffusionTokenizer(recipe.tokenizer)
        pixels = torch.zeros(COUNTED_BATCH, 3, size, size)

        def loss() -> Tensor:
            output = model(pixels, torch.rand(COUNTED_BATCH), torch.zeros_like(pixels))
            return torch.stack(list(tokenizer_losses(output, pixels, recipe.tokenizer).values())).sum()

        count = _counted(model, loss, (Block, DiffusionBlock), bf16=bf16)
    return _estimate("tokenizer_training", recipe.tokenizer_training, count, processes, sharded=False)


def estimate_prior(recipe: Recipe, num_classes: int, processes: int = 1, *, bf16: bool = False) -> Estimate:
    """Estimate a prior's training; tokenising is not counted. Arguments as for ``estimate_tokenizer``."""
    with FakeTensorMode():
        model = Prior(recipe.prior_config([str(i) for i in range(num_classes)]))
        tokens = torch.zeros(COUNTED_BATCH, recipe.tokenizer.num_tokens, dtype=torch.int64)

        def loss() -> Tensor:
            return cross_entropy(model(tokens[:, 0], tokens), tokens)

        count = _counted(model, loss, (LlamaDecoderLayer,), bf16=bf16)
    training = recipe.prior_training
    return _estimate("prior_training", training, count, processes, sharded=training.sharded)


def estimate_classifier(
    recipe: ClassifierRecipe, num_classes: int, processes: int = 1, *, bf16: bool = False
) -> Estimate:
    """Estimate a classifier's training. Arguments as for ``estimate_tokenizer``."""
    config = recipe.config([str(i) for i in range(num_classes)])
    with FakeTensorMode():
        model = ImageClassifier(config)
        images = torch.zeros(COUNTED_BATCH, 3, config.image_size, config.image_size, dtype=torch.uint8)
        labels = torch.zeros(COUNTED_BATCH, dtype=torch.int64)

        def loss() -> Tensor:
            logits = model(images).logits
            assert logits is not None
            return F.cross_entropy(logits, labels)

        count = _counted(model, loss, (), bf16=bf16)
    return _estimate("classifier_training", recipe.classifier_training, count, processes, sharded=False)


@dataclass(frozen=True)
class _Count:
    """Counts of a model, and of one image's training pass through it."""

    parameters: int
    kept_bytes: int
    recomputed_bytes: int
    operations: float


def _estimate(section: str, recipe: TrainingRecipe, count: _Count, processes: int, *, sharded: bool) -> Estimate:
    images = recipe.steps * recipe.batch_size
    micro_batch = MicroBatches(0, processes, recipe.gradient_accumulation).positions(recipe.batch_size, 0)[0]
    return Estimate(
        section=section,
        parameters=count.parameters,
        state_bytes=BYTES_PER_PARAMETER * count.parameters // (processes if sharded else 1),
        kept_bytes=count.kept_bytes,
        recomputed_bytes=count.recomputed_bytes,
        images_at_once=len(micro_batch),
        images_a_process=recipe.batch_size // processes,
        recomputes=recipe.recompute_activations,
        operations=count.operations * images * (RECOMPUTING if recipe.recompute_activations else 1),
        images=images,
    )


def _counted(
    model: nn.Module, loss: Callable[[], Tensor], recomputed: tuple[type[nn.Module], ...], *, bf16: bool
) -> _Count:
    """Count one pass on tensors that have sizes but no content."""
    saved = _Saved(model, recomputed)
    with FlopCounterMode(display=False) as counter:
        with saved.watched(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            value = loss()
        value.backward()
    return _Count(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        kept_bytes=saved.kept() // COUNTED_BATCH,
        recomputed_bytes=saved.recomputed() // COUNTED_BATCH,
        operations=counter.get_total_flops() / COUNTED_BATCH,
    )


class _Saved:
    """Counts the bytes kept for the backward pass: outside of blocks, in each block, and the inputs of blocks."""

    def __init__(self, model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
        self.weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        self.outside: dict[int, int] = {}
        self.inputs: dict[int, int] = {}
        self.blocks: list[dict[int, int]] = []
        self._current = self.outside
        for block in (module for module in model.modules() if isinstance(module, kinds)):
            block.register_forward_pre_hook(self._enter, with_kwargs=True)
            block.register_forward_hook(self._leave)

    def watched(self) -> AbstractContextManager[Any]:
        """Count what is kept within the block."""

        def note(tensor: Tensor) -> Tensor:
            self._add(self._current, tensor)
            return tensor

        return torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)

    def kept(self) -> int:
        """Bytes where all is kept."""
        everything = self.outside.copy()
        for block in self.blocks:
            everything |= block
        return sum(everything.values())

    def recomputed(self) -> int:
        """Bytes where only what goes into blocks is kept, and one block at a time computed again."""
        return sum((self.outside | self.inputs).values()) + max(
            (sum(block.values()) for block in self.blocks), default=0
        )

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for value in (*args, *kwargs.values()):
            if isinstance(value, Tensor):
                self._add(self.inputs, value)
        self._current = {}
        self.blocks.append(self._current)

    def _leave(self, *_: object) -> None:
        self._current = self.outside

    def _add(self, to: dict[int, int], tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.weights:
            to[storage._cdata] = storage.nbytes()


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 2048, seconds: float = 1.0) -> float:
    """Measure the operations a second of plain matrix products, the ceiling of any training there."""
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


def divisors(number: int) -> list[int]:
    """List the divisors of a number, increasing."""
    return [n for n in range(1, number + 1) if number % n == 0]


def duration(seconds: float) -> str:
    """Format a time in the unit that people would use.

    >>> duration(30), duration(5400), duration(4e5), duration(7e8)
    ('1 minute', '2 hours', '5 days', '22 years')
    """
    day = 86400
    for unit, length, longest in (("minute", 60, 90), ("hour", 3600, 72), ("day", day, 60), ("month", 30.4 * day, 24)):
        count = max(round(seconds / length), 1)
        if seconds < longest * length:
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds / (365 * day):,.0f} years"


def _rate(rate: float) -> str:
    return f"{rate / 1e12:.0f} TFLOP/s" if rate >= 1e13 else f"{rate / 1e9:,.0f} GFLOP/s"
