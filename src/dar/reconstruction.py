"""Images through the tokenizer and back, group by group."""

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from dar.images import display_scale, grid, to_images
from dar.randomness import Seed, draw_noise, image_seeds
from dar.tokenizer import SequentialDiffusionTokenizer


def reconstructions(tokenizer: SequentialDiffusionTokenizer, pixels: Tensor, seed: Seed = 0) -> list[Tensor]:
    """What the first 1, 2, ... and all K groups of an image's own tokens decode to, in K steps.

    Args:
        tokenizer: the model.
        pixels: B x 3 x H x W in [-1, 1].
        seed: of the noise.

    Returns:
        K tensors B x 3 x H x W in [-1, 1].
    """
    groups = tokenizer.encode(pixels).split(tokenizer.config.tokens_per_group, dim=1)
    noise = draw_noise(image_seeds(seed, len(pixels)), tokenizer.config.image_size)
    return list(tokenizer.denoise(groups, noise, steps=tokenizer.config.num_groups))


def reconstruction_sheet(pixels: Tensor, stages: Sequence[Tensor]) -> Image.Image:
    """A picture with a row an image: the original, then what its first 1, 2, ... groups decode to."""
    columns = [to_images(column) for column in (pixels, *stages)]
    return grid(list(zip(*columns, strict=True)), scale=display_scale(pixels.shape[-1]))
