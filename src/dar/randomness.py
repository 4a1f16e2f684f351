"""Seeds per image, so that an image depends on its own seed and on nothing that happens to run beside it.

An image's generator draws, in this order and on the CPU: the noise that denoising starts from, then one uniform
number a token. Whatever uses only the noise (a tokenizer alone) thereby agrees with what uses both (the pipeline).
"""

import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from dar.errors import DARError

Seed = int | Sequence[int] | torch.Generator
"""A number (image i of a batch uses seed + i), one number an image, or a generator that draws the numbers."""


def image_seeds(seed: Seed, count: int) -> list[int]:
    """The seed of each of ``count`` images.

    Raises:
        DARError: if a list of seeds has another length, or a seed is not a whole number from 0 to 2^63 - 1.
    """
    if isinstance(seed, torch.Generator):
        return torch.randint(2**62, (count,), generator=seed, device=seed.device).tolist()
    if isinstance(seed, Sequence):
        if len(seed) != count:
            raise DARError(f"{len(seed)} seeds were given for {count} images: give one an image, or a single number")
        return [_checked(one) for one in seed]
    return [_checked(_checked(seed) + i) for i in range(count)]


def _checked(seed: int) -> int:
    try:
        number = operator.index(seed)
    except TypeError:
        raise DARError(f"a seed must be a whole number, not {seed!r}") from None
    if not 0 <= number < 2**63:
        raise DARError(f"a seed must lie between 0 and 2^63 - 1, not be {number}")
    return number


def draw_noise(seeds: Sequence[int], image_size: int) -> Tensor:
    """Standard normal noise, B x 3 x image_size x image_size, float32, on the CPU."""
    return draw_noise_and_uniforms(seeds, image_size, 0)[0]


def draw_noise_and_uniforms(seeds: Sequence[int], image_size: int, num_tokens: int) -> tuple[Tensor, Tensor]:
    """All the random numbers of a batch: B x 3 x H x W normal (float32) and B x N uniform in [0, 1) (float64)."""
    noises, uniforms = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        noises.append(torch.randn(3, image_size, image_size, generator=generator))
        uniforms.append(torch.rand(num_tokens, generator=generator, dtype=torch.float64))
    return torch.stack(noises), torch.stack(uniforms)
