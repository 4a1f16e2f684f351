"""The flow between noise and image: its clock, its path, and which token group drives which moment.

Source: arXiv 2505.23660; docs/architecture.md, step 4. ``u`` in [0, 1) is the uniform clock,
``t`` in [0, 1] the time of the path: t = 0 is noise, t = 1 is the image.
"""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Clock = TypeVar("Clock", float, Tensor)


def shifted_time(u: Clock, shift: float) -> Clock:
    """Time of the path at clock ``u``: u / (u + shift * (1 - u)). A shift above 1 stays longer near noise."""
    return u / (u + shift * (1 - u))


def group_at(u: Tensor, num_groups: int) -> Tensor:
    """Index of the token group that conditions clock ``u``: floor(u * K + 1/2), at most K - 1. Same shape, int64."""
    return (u * num_groups + 0.5).floor().long().clamp(max=num_groups - 1)


def interpolate(image: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
    """Point of the straight path from noise to the (scaled) image at each image's own time."""
    t = t_B.view(-1, *[1] * (image.dim() - 1))
    return t * image + (1 - t) * noise


@dataclass(frozen=True)
class Step:
    """One denoising step: from time ``start`` to time ``end``, conditioned on token group ``group``."""

    start: float
    end: float
    group: int


def schedule(num_steps: int, num_groups: int, time_shift: float) -> list[Step]:
    """The S denoising steps, whose clock ticks evenly.

    Args:
        num_steps: S, at least 1.
        num_groups: K, the groups that the image's tokens form.
        time_shift: the factor beta of ``shifted_time``.

    Raises:
        ValueError: if there is no step to take.
    """
    if num_steps < 1:
        raise ValueError(f"at least 1 denoising step is needed, not {num_steps}")
    clock = torch.arange(num_steps, dtype=torch.float64) / num_steps
    groups = group_at(clock, num_groups).tolist()
    times = [*shifted_time(clock, time_shift).tolist(), 1.0]
    return [Step(times[i], times[i + 1], groups[i]) for i in range(num_steps)]
