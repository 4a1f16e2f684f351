"""A flow transformer on pixels that is told the class: D-AR's diffusion decoder without tokens."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dar.data import Augmentation, MicroBatches
from dar.data.in_memory import DecodedImages
from dar.data.order import micro_batch_positions
from dar.data.stream import AugmentedStream
from dar.flow import Clock, interpolate
from dar.images import to_uint8
from dar.randomness import draw_noise, image_seeds
from dar.solvers import SolverState, advance, euler
from dar.storage import WEIGHTS, save_tensors
from dar.tokenizer.config import TokenizerConfig
from dar.tokenizer.diffusion_decoder import DiffusionDecoder
from dar.train.distributed import Distributed
from dar.train.draws import stratified_uniform
from dar.train.frozen_losses import FrozenLosses
from dar.train.recipe import Recipe
from dar.train.task import Task

CLASS_TOKENS = 4
STEPS = 50
LABEL_DROPOUT = 0.1


class PixelFlow(nn.Module):
    """Velocity at a noisy image, given its class.

    Args:
        config: sizes of the decoder, image size, clock.
        num_classes: C; index C stands for no class.
    """

    def __init__(self, config: TokenizerConfig, num_classes: int) -> None:
        super().__init__()
        self.config, self.num_classes = config, num_classes
        self.clock = Clock(1, config.time_shift)
        self.classes = nn.Embedding(num_classes + 1, CLASS_TOKENS * config.decoder_width)
        self.decoder = DiffusionDecoder(config)

    def forward(self, x_B3HW: Tensor, t_B: Tensor, classes_B: Tensor) -> Tensor:
        """B x 3 x H x W noisy images at B times, of B classes -> velocities, B x 3 x H x W."""
        return self.decoder(x_B3HW, t_B, self.classes(classes_B).unflatten(1, (CLASS_TOKENS, -1)))

    @torch.no_grad()
    def samples(self, labels: Tensor, guidance: float, seed: int) -> Tensor:
        """Samples of classes by Euler's steps, image i from ``seed`` + i: B x 3 x H x W uint8."""
        state = SolverState(draw_noise(image_seeds(seed, len(labels)), self.config.image_size))
        image = state.x
        for step in self.clock.schedule(STEPS):
            state, image = advance(
                state, lambda x, t=step.start: self._guided(x, t, labels, guidance), euler, step.start, step.end
            )
        return to_uint8((image / self.config.data_std).clamp(-1, 1))

    def _guided(self, x_B3HW: Tensor, t: float, labels_B: Tensor, guidance: float) -> Tensor:
        if guidance == 1:
            return self(x_B3HW, torch.full((len(x_B3HW),), t), labels_B)
        classes = torch.cat([labels_B, torch.full_like(labels_B, self.num_classes)])
        own, none = self(torch.cat([x_B3HW, x_B3HW]), torch.full((len(classes),), t), classes).chunk(2)
        return none + guidance * (own - none)


@dataclass(frozen=True)
class LabelledBatch:
    """Images of one step: pixels B x 3 x H x W in [-1, 1], and B class indices."""

    pixels: Tensor
    labels: Tensor


class PixelFlowTask(Task):
    """Images and classes in, D-AR's losses on the flow and the predicted image out.

    Args:
        recipe: D-AR's; losses are weighted as there.
        data: training images.
        num_classes: how many there are.
    """

    extra: Mapping[str, Tensor]

    def __init__(self, recipe: Recipe, data: DecodedImages, num_classes: int, distributed: Distributed) -> None:
        self.recipe, self.settings = recipe, recipe.tokenizer_training
        torch.manual_seed(self.settings.seed)
        self.flow = PixelFlow(recipe.tokenizer, num_classes)
        self.model: nn.Module = self.flow
        self.frozen_losses = FrozenLosses(self.settings, recipe.tokenizer.image_size, distributed.device)
        augmentation = Augmentation(recipe.tokenizer.image_size, flip=recipe.data.flip)
        self.stream = AugmentedStream(data, augmentation, self.settings.seed)
        self.extra, self.recomputed = {}, ()

    def batches(self, first: int, last: int, micro_batches: MicroBatches) -> Iterator[LabelledBatch]:
        """Pieces of steps ``first`` to ``last`` (excluded)."""
        size, stream = self.settings.batch_size, self.stream
        batches = stream.batches(size, first, last, 0, micro_batches)
        for batch, positions in zip(batches, micro_batch_positions(size, first, last, micro_batches), strict=True):
            yield LabelledBatch(batch.pixels, stream.data.labels[[stream.order[position] for position in positions]])

    def losses(
        self, model: nn.Module, batch: LabelledBatch, step: int, rows: range, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Weighted terms of the loss of one micro-batch, which is the whole batch."""
        config, settings, count = self.recipe.tokenizer, self.settings, len(batch.pixels)
        t = self.flow.clock.time(stratified_uniform(count, generator))
        noise = torch.randn(batch.pixels.shape, generator=generator)
        dropped = torch.rand(count, generator=generator) < LABEL_DROPOUT
        offsets = torch.randint(2 * settings.perceptual_shift + 1, (count, 2), generator=generator)
        image = config.data_std * batch.pixels
        x_t = interpolate(image, noise, t)
        velocity = model(x_t, t, batch.labels.masked_fill(dropped, self.flow.num_classes)).float()
        predicted = (x_t + (1 - t)[:, None, None, None] * velocity) / config.data_std
        found = {}
        if self.frozen_losses.distances:
            distances = self.frozen_losses.perceptual_distances(predicted, batch.pixels, offsets)
            found["perceptual"] = settings.perceptual_weight * (t * distances).mean()
        return found | {
            "flow": (velocity - (image - noise)).square().mean() / config.data_std**2,
            "pixel": settings.pixel_weight * (predicted - batch.pixels).square().mean(),
        }

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        """Nothing: the judge looks at the end."""
        return {}

    def export(self, averaged: nn.Module, folder: Path, distributed: Distributed) -> None:
        """Write the averaged model."""
        save_tensors(folder / WEIGHTS, averaged.state_dict())
