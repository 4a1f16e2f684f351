"""Random numbers of a batch of images before a training pass of the tokenizer."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dar.train.own_states import own_ticks
from dar.train.recipe import Recipe


class Draws(NamedTuple):
    """Random numbers of each of B images before a training pass.

    Attributes:
        ticks: before which denoising step an image is taken from the sampler's own path; 0 means that it is not. They
            stay on the CPU, so that asking whether there are any waits for no GPU.
        u: clocks in [0, 1).
        noise: B x 3 x H x W, standard normal.
        offsets: B x 2, where perceptual networks look, 0 to twice ``perceptual_shift`` pixels.
    """

    ticks: Tensor
    u: Tensor
    noise: Tensor
    offsets: Tensor

    def of(self, rows: range) -> "Draws":
        """Take those of some consecutive images."""
        return Draws(*(tensor[rows.start : rows.stop] for tensor in self))


def draw(recipe: Recipe, step: int, shape: Sequence[int], generator: torch.Generator) -> Draws:
    """Draw for the whole batch of a training step, of which every process and micro-batch takes its own part.

    Args:
        recipe: sizes and settings.
        step: of the training, from 0.
        shape: of an image: 3, H, W.
        generator: of this step.
    """
    settings = recipe.tokenizer_training
    count, device = settings.batch_size, generator.device
    started = step >= max(settings.own_state_start, settings.continuous_steps)
    ticks = own_ticks(count, settings.own_state_share if started else 0.0, recipe.tokenizer.num_steps, step)
    u = _clocks(ticks, recipe.tokenizer.num_steps, generator)
    noise = torch.randn(count, *shape, generator=generator, device=device)
    size = 2 * settings.perceptual_shift + 1
    return Draws(ticks, u, noise, torch.randint(size, (count, 2), generator=generator, device=device))


def _clocks(ticks_B: Tensor, num_steps: int, generator: torch.Generator) -> Tensor:
    """Choose the clock of each image: drawn, or where its own denoising step begins."""
    drawn = stratified_uniform(len(ticks_B), generator)
    ticks_B = ticks_B.to(drawn.device)
    return torch.where(ticks_B > 0, ticks_B / num_steps, drawn)


def stratified_uniform(count: int, generator: torch.Generator) -> Tensor:
    """Draw ``count`` uniform numbers in [0, 1), one from each of as many equal intervals: a batch covers all times."""
    strata = torch.randperm(count, generator=generator, device=generator.device)
    spread = (strata + torch.rand(count, generator=generator, device=generator.device)) / count
    return spread.clamp(max=1 - 2**-24)  # rounding could reach 1
