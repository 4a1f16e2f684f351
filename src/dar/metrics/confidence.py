"""Confidence intervals of metrics that were computed from a limited number of images."""

import math
import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dar.errors import DARError

GROUPS = 20
"""Groups of a jackknife."""

_NORMAL = 1.96
"""97.5 % quantile of the normal distribution."""

STUDENT = 2.093
"""97.5 % quantile of Student's distribution with GROUPS - 1 degrees of freedom."""


def confidence(
    statistic: Callable[[Tensor], float], count: int, generator: torch.Generator, resamples: int = 100
) -> tuple[float, float]:
    """Estimate the 95 % confidence interval of any metric, by the bootstrap (Efron 1979).

    Rows are resampled with replacement, and the interval is the metric of all rows, plus and minus 1.96 standard
    deviations of the metrics of the resamples. Percentiles of these would lie off centre: a resample holds only about
    63 % of the rows, and metrics of diversity depend on how many different ones there are. Their spread hardly does.

    Args:
        statistic: computes the metric of some rows from their indices (int64, on the CPU).
        count: rows in all.
        generator: draws the rows; on the CPU.
        resamples: how many; the interval's width is known to about a share of 1 / sqrt(2 resamples).

    Returns:
        Lower and upper end.

    Raises:
        DARError: if there are fewer than two rows, or two resamples.
    """
    _check_count(count, 2)
    if resamples < 2:
        raise DARError(f"{resamples} draws have no spread: at least 2 are needed")
    resampled = [statistic(torch.randint(count, (count,), generator=generator)) for _ in range(resamples)]
    return _around(statistic(torch.arange(count)), _NORMAL * statistics.stdev(resampled))


def mean_confidence(values_N: Tensor) -> tuple[float, float]:
    """Compute the 95 % confidence interval of the mean of one value a row: plus and minus 1.96 standard errors.

    Values may be boolean, as memberships are. If all are equal the interval has no width, which says only that the
    rows are too few to tell.

    Returns:
        Lower and upper end.

    Raises:
        DARError: if there are fewer than two values.
    """
    _check_count(len(values_N), 2)
    values_N = values_N.double()
    return _around(values_N.mean().item(), _NORMAL * values_N.std().item() / math.sqrt(len(values_N)))


def jackknife_groups(count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Split the indices of rows into 20 random groups of equal size, but for one row.

    Raises:
        DARError: if there are fewer than two rows a group.
    """
    _check_count(count, 2 * GROUPS)
    return torch.randperm(count, generator=generator).tensor_split(GROUPS)


def jackknife_confidence(value: float, left_out: Sequence[float]) -> tuple[float, float]:
    """Estimate the 95 % confidence interval of any smooth metric, by the delete-a-group jackknife (Kott 2001).

    Args:
        value: the metric of all rows.
        left_out: the metric of all rows but those of each group of ``jackknife_groups``.

    Returns:
        Lower and upper end.
    """
    standard_error = math.sqrt((GROUPS - 1) * statistics.pvariance(left_out))
    return _around(value, STUDENT * standard_error)


def _check_count(count: int, least: int) -> None:
    if count < least:
        raise DARError(f"{count} rows are too few for a confidence interval: at least {least} are needed")


def _around(value: float, half_width: float) -> tuple[float, float]:
    return value - half_width, value + half_width
