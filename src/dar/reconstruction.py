"""Images through the tokenizer and back, group by group."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from dar.images import to_images
from dar.metrics.similarity import psnr
from dar.randomness import Seed, draw_noise, image_seeds
from dar.sheets import captioned_grid, display_scale
from dar.solvers import DEFAULT_SOLVER
from dar.tokenizer import SequentialDiffusionTokenizer


def reconstructions(
    tokenizer: SequentialDiffusionTokenizer, pixels: Tensor, seed: Seed = 0, solver: str = DEFAULT_SOLVER
) -> list[Tensor]:
    """Decode the first 1, 2, ... and all K groups of images' own tokens, in the model's own steps.

    Args:
        tokenizer: the model.
        pixels: B x 3 x H x W in [-1, 1].
        seed: of the noise.
        solver: "adams-bashforth-2" or "euler".

    Returns:
        K tensors B x 3 x H x W in [-1, 1].
    """
    return decoded_groups(tokenizer, tokenizer.encode(pixels), seed, solver=solver)


def decoded_groups(
    tokenizer: SequentialDiffusionTokenizer,
    tokens: Tensor,
    seed: Seed = 0,
    steps: int | None = None,
    solver: str = DEFAULT_SOLVER,
) -> list[Tensor]:
    """Decode the first 1, 2, ... and all K groups of tokens, in one pass over all of them.

    For k groups, this is the preview after the last step that needs no further group, and so what
    ``tokenizer.decode`` gives for their tokens.

    Args:
        tokenizer: the model.
        tokens: B x N, int64.
        seed: of the noise.
        steps: S, denoising steps; None means ``config.num_steps``.
        solver: "adams-bashforth-2" or "euler".

    Returns:
        K tensors B x 3 x H x W in [-1, 1].

    Raises:
        DARError: if the solver is unknown, or there is no step.
    """
    config = tokenizer.config
    noise = draw_noise(image_seeds(seed, len(tokens)), config.image_size)
    groups = tokens.split(config.tokens_per_group, dim=1)
    previews = tokenizer.denoise(groups, noise, steps, solver)
    schedule = tokenizer.clock.schedule(steps or config.num_steps)
    after = {step.group: preview for step, preview in zip(schedule, previews, strict=True)}
    return [after[max(group for group in after if group <= k)] for k in range(config.num_groups)]


def groups_named(count: int) -> str:
    """Name a number of token groups on sheets."""
    return "1 group" if count == 1 else f"{count} groups"


def reconstruction_sheet(pixels: Tensor, stages: Sequence[Tensor], row_names: Sequence[str] = ()) -> Image.Image:
    """Draw a row for each image: the original, then what its first 1, 2, ... groups decode to, each with its PSNR.

    Args:
        pixels: B x 3 x H x W in [-1, 1].
        stages: for each number of groups, B x 3 x H x W in [-1, 1].
        row_names: of the B rows.
    """
    rows = list(zip(*(to_images(column) for column in (pixels, *stages)), strict=True))
    decibels = torch.stack([psnr(stage, pixels) for stage in stages], dim=1).tolist()
    return captioned_grid(
        rows,
        captions=[["", *(f"{value:.1f} dB" for value in row)] for row in decibels],
        row_names=row_names,
        column_names=["original", *(groups_named(k) for k in range(1, len(stages) + 1))],
        scale=display_scale(pixels.shape[-1]),
    )
