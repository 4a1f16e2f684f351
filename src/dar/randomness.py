"""Seeds per image, so that an image depends on its own seed and on nothing that happens to run beside it.

An image's generator draws, in this order and on the CPU: the noise that denoising starts from, then one uniform
number a token. Whatever uses only the noise (a tokenizer alone) thereby agrees with what uses both (the pipeline).
What else is random (orders, augmentations, training steps, labels) has a seed derived from one number and its purpose.
"""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from dar.checks import whole_number
from dar.errors import DARError, quoted

Seed = int | Sequence[int] | torch.Generator
"""A number (image i of a batch uses seed + i), one number an image, or a generator that draws the numbers."""

Generators = torch.Generator | Sequence[torch.Generator]
"""Draws the seeds of all images; or one an image."""


def chosen_seeds(seed: Seed | None, generator: Generators | None, count: int) -> list[int]:
    """Choose the seed of each of ``count`` images, from whichever of the two is given; from 0 on if neither is.

    Raises:
        DARError: if both are given, there are not as many as images, or as ``image_seeds`` does.
    """
    if generator is None:
        return image_seeds(0 if seed is None else seed, count)
    if seed is not None:
        raise DARError("seed and generator were both given: give one of them")
    if isinstance(generator, torch.Generator):
        return image_seeds(generator, count)
    if not isinstance(generator, Sequence) or not all(isinstance(one, torch.Generator) for one in generator):
        raise DARError(f"generator must be a torch.Generator, or one an image, not {quoted(repr(generator))}")
    if len(generator) != count:
        raise DARError(f"{len(generator)} generators were given for {count} images: give one an image, or a single one")
    return [image_seeds(one, 1)[0] for one in generator]


def image_seeds(seed: Seed, count: int) -> list[int]:
    """Expand a seed to one for each of ``count`` images.

    Raises:
        DARError: if a list of seeds has another length, or a seed is not a whole number from 0 to 2^63 - 1.
    """
    if isinstance(seed, torch.Generator):
        return torch.randint(2**62, (count,), generator=seed, device=seed.device).tolist()
    if isinstance(seed, Sequence) and not isinstance(seed, str):
        if len(seed) != count:
            raise DARError(f"{len(seed)} seeds were given for {count} images: give one an image, or a single number")
        return [_checked(one) for one in seed]
    first = _checked(seed)
    return [_checked(first + i) for i in range(count)]


def _checked(seed: object) -> int:
    number = whole_number("a seed", seed)
    if not 0 <= number < 2**63:
        raise DARError(f"a seed must lie between 0 and 2^63 - 1, not be {number}")
    return number


def draw_noise(seeds: Sequence[int], image_size: int) -> Tensor:
    """Draw standard normal noise, B x 3 x image_size x image_size, float32, on the CPU."""
    return draw_noise_and_uniforms(seeds, image_size, 0)[0]


def draw_noise_and_uniforms(seeds: Sequence[int], image_size: int, num_tokens: int) -> tuple[Tensor, Tensor]:
    """Draw all random numbers of a batch: B x 3 x H x W normal (float32) and B x N uniform in [0, 1) (float64)."""
    noises, uniforms = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        noises.append(torch.randn(3, image_size, image_size, generator=generator, dtype=torch.float32))
        uniforms.append(torch.rand(num_tokens, generator=generator, dtype=torch.float64))
    return torch.stack(noises), torch.stack(uniforms)


def derived_rng(seed: int, *purpose: object) -> random.Random:
    """Make Python's generator for one purpose, such as ``"view", 12``: a function of seed and purpose alone."""
    return random.Random(f"{seed}/{' '.join(map(str, purpose))}")


def derived_seed(seed: int, *purpose: object) -> int:
    """Derive a seed for one purpose, 0 to 2^63 - 1: a function of seed and purpose alone."""
    return derived_rng(seed, *purpose).getrandbits(63)


def step_generator(seed: int, step: int, device: torch.device, purpose: str = "losses") -> torch.Generator:
    """Make the generator of one training step for one purpose, the same in every process."""
    return torch.Generator(device).manual_seed(derived_seed(seed, "step", step, purpose))
