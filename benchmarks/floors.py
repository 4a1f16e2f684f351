"""What generation cannot do without: bytes that must be read, operations that must be computed, in closed form.

Counted from the sizes alone, not from the code that is measured: a faster way to compute the same has the same floor.
Left out is what could be computed once and for all, such as the time embeddings of the schedule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.hardware import Hardware
from dar.flow import Clock
from dar.prior import PriorConfig
from dar.tokenizer import TokenizerConfig


@dataclass(frozen=True)
class Work:
    """Bytes to read from memory, and operations of matrix products, of one token or one denoising step."""

    bytes: float
    operations: float


def prior_weights(config: PriorConfig) -> int:
    """Weights that each token needs: all but the table of embeddings and the logits of class tokens."""
    width = config.width
    layer = 4 * width**2 + 3 * width * config.mlp_width + 2 * width
    return config.depth * layer + width + config.codebook_size * width


def token_works(config: PriorConfig, rows: int, bytes_each: int, first: int, stop: int) -> list[Work]:
    """Work of each of the tokens ``first`` to ``stop``: weights, and the keys and values of what came before.

    Args:
        config: of the prior.
        rows: of a forward pass: one an image, two with guidance.
        bytes_each: of a weight, and of a number in the cache.
        first: counted from 0.
        stop: the token after the last one.
    """
    weights, norms = prior_weights(config), (2 * config.depth + 1) * config.width
    works = []
    for position in range(first, stop):
        cached = 2 * rows * position * config.depth * config.width
        attention = 4 * rows * (position + 1) * config.depth * config.width
        works.append(Work(bytes_each * (weights + cached), 2 * rows * (weights - norms) + attention))
    return works


def step_works(config: TokenizerConfig, batch: int, bytes_each: int, steps: int) -> list[Work]:
    """Work of each of S denoising steps; the conditions of a group are computed once, in the first step on it."""
    width, known = config.decoder_width, 0
    works = []
    for group in step_groups(config, steps):
        arrived = (group + 1) * config.tokens_per_group
        new, known = arrived - known, arrived
        seen = arrived if config.decoder_context == "prefix" else config.tokens_per_group
        operations = _network_operations(config, seen) + _condition_operations(config, new, arrived)
        matrices = 24 * config.decoder_depth + (12 * config.latent_decoder_depth + 1 if new else 0)
        weights = matrices * width**2 + 2 * width * 3 * config.decoder_patch_size**2
        works.append(Work(bytes_each * weights, batch * operations))
    return works


def step_groups(config: TokenizerConfig, steps: int) -> list[int]:
    """The group that drives each step."""
    clock = Clock(config.num_groups, config.time_shift, config.final_steps)
    return [step.group for step in clock.schedule(steps)]


def _network_operations(config: TokenizerConfig, seen: int) -> int:
    """Of one image's patches in one step, where they look at so many conditions."""
    width = config.decoder_width
    patches = (config.image_size // config.decoder_patch_size) ** 2
    linear = 1 + 1 + 6 + 4 + 8  # D x D matrices: query and out of cross-attention, modulation, self-attention, MLP
    block = 2 * linear * patches * width**2 + 4 * patches * (patches + seen) * width
    ends = 2 * 2 * patches * 3 * config.decoder_patch_size**2 * width
    return config.decoder_depth * block + ends


def _condition_operations(config: TokenizerConfig, new: int, arrived: int) -> int:
    """Of one image's new tokens: the latent decoder, and what each block makes of its conditions."""
    width = config.decoder_width
    block = 2 * 12 * new * width**2 + 4 * new * arrived * width
    latent = 2 * new * config.codebook_dim * width + config.latent_decoder_depth * block
    return latent + 2 * new * width**2 * (1 + 4 * config.decoder_depth)


def floor(works: Sequence[Work], hardware: Hardware, dtype: str) -> Mapping[str, Any]:
    """Least seconds: for each token or step the longer one of reading and computing, which could overlap.

    Returns:
        ``bytes`` and ``operations`` of all, ``reading`` and ``computing`` seconds, ``seconds``, and which of both
        ``bound_by`` names.
    """
    reading = [work.bytes / hardware.bandwidth for work in works]
    computing = [work.operations / hardware.rates[dtype] for work in works]
    return {
        "bytes": sum(work.bytes for work in works),
        "operations": sum(work.operations for work in works),
        "reading": sum(reading),
        "computing": sum(computing),
        "seconds": sum(map(max, reading, computing)),
        "bound_by": "memory" if sum(reading) >= sum(computing) else "arithmetic",
    }
