"""The flow between noise and image: its clock, its path, and which token group drives which time.

Source: arXiv 2505.23660; docs/architecture.md, step 4. ``u`` in [0, 1) is the uniform clock,
``t`` in [0, 1] the time of the path: t = 0 is noise, t = 1 is the image.
"""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Time = TypeVar("Time", float, Tensor)


def shifted_time(u: Time, shift: float) -> Time:
    """Compute the time at clock ``u``: u / (u + shift * (1 - u)). A shift above 1 stays longer near noise."""
    return u / (u + shift * (1 - u))


def interpolate(image: Tensor, noise: Tensor, t_B: Tensor) -> Tensor:
    """Interpolate linearly from noise to the (scaled) image at each image's own time."""
    t = t_B.view(-1, *[1] * (image.dim() - 1))
    return t * image + (1 - t) * noise


@dataclass(frozen=True)
class Step:
    """One denoising step: from time ``start`` to time ``end``, conditioned on token group ``group``."""

    start: float
    end: float
    group: int


@dataclass(frozen=True)
class Clock:
    """Maps the clock to time, and to the token group that drives it.

    Attributes:
        num_groups: K, the groups that an image's tokens form.
        time_shift: the factor beta of ``shifted_time``.
        final_steps: how many of K - 1 + ``final_steps`` equal parts of the clock the last group drives; each other
            group drives one. 1, as published, gives all groups the same part.
    """

    num_groups: int
    time_shift: float
    final_steps: int = 1

    def time(self, u: Time) -> Time:
        """Compute the time at clock ``u``."""
        return shifted_time(u, self.time_shift)

    def group(self, u: Tensor) -> Tensor:
        """Compute the group that drives clock ``u``: floor(parts * u + 1/2), at most K - 1. Same shape, int64."""
        parts = self.num_groups - 1 + self.final_steps
        return (u * parts + 0.5).floor().long().clamp(max=self.num_groups - 1)

    def schedule(self, num_steps: int) -> list[Step]:
        """List the S denoising steps, which begin at clock 0, 1/S, 2/S, ...

        Raises:
            ValueError: if there is no step to take.
        """
        if num_steps < 1:
            raise ValueError(f"at least 1 denoising step is needed, not {num_steps}")
        clock = torch.arange(num_steps, dtype=torch.float64) / num_steps
        groups = self.group(clock).tolist()
        times = [*self.time(clock).tolist(), 1.0]
        return [Step(times[i], times[i + 1], groups[i]) for i in range(num_steps)]
