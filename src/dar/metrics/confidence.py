"""Confidence intervals of metrics that were computed from a limited number of images."""

import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from dar.errors import DARError

GROUPS = 20
"""Groups of a jackknife."""

_NORMAL = 1.96
"""97.5 % quantile of the normal distribution."""

STUDENT = 2.093
"""97.5 % quantile of Student's distribution with GROUPS - 1 degrees of freedom."""


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


def jackknife_confidence(
    value: float, left_out: Sequence[float], halves: Sequence[tuple[float, float]] = ()
) -> tuple[float, float]:
    """Estimate the 95 % confidence interval of any smooth metric, by the delete-a-group jackknife (Kott 2001).

    The jackknife counts twice what variance comes from pairs of rows, and not from rows one by one (Efron and Stein
    1981): its interval is 1.4 times too wide where a metric is nearly all bias. In the mean over two halves the share
    of single rows is that of all rows, so that it varies from halving to halving by the pairs' variance alone. That
    is taken off, but never more than half, which is all that pairs can have added.

    Args:
        value: the metric of all rows.
        left_out: the metric of all rows but those of each group of ``jackknife_groups``.
        halves: the metric of both halves of the rows, for several random halvings; with none, nothing is taken off.

    Returns:
        Lower and upper end.
    """
    variance = (GROUPS - 1) * statistics.pvariance(left_out)
    if halves:
        variance -= min(statistics.variance([(one + other) / 2 for one, other in halves]), variance / 2)
    return _around(value, STUDENT * math.sqrt(variance))


def _check_count(count: int, least: int) -> None:
    if count < least:
        raise DARError(f"{count} rows are too few for a confidence interval: at least {least} are needed")


def around(value: float, standard_error: float) -> tuple[float, float]:
    """Reach 1.96 standard errors to both sides of a value: its 95 % confidence interval where errors are normal."""
    return _around(value, _NORMAL * standard_error)


def _around(value: float, half_width: float) -> tuple[float, float]:
    return value - half_width, value + half_width
