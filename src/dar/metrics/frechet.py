"""Fréchet distance between Gaussians fitted to features (Heusel et al. 2017, arXiv 1706.08500, equation 6)."""

import math

import torch
from torch import Tensor

from dar.errors import DARError
from dar.metrics.confidence import jackknife_confidence, jackknife_groups
from dar.metrics.rows import check_rows

_ROUNDING = 1e-5
"""How far, as a share of the largest number, a covariance kept in float32 may be off by rounding alone."""

_HALVINGS = 10
"""Halvings behind an interval; each costs as much as two groups of the jackknife, and half a pass over the rows."""

_CHUNK = 1000


class Moments:
    """Mean and covariance of rows that come in batches, in float64 and in O(D^2) memory however many there are.

    Batches are joined by the update of Chan et al. (1979), so that features far from zero do not cancel. The ADM
    evaluator has the covariance in float64 too, but the mean of float32 features in float32.

    Args:
        dimension: D, columns of the rows.
        device: where to accumulate; batches are brought there.

    Attributes:
        count: rows so far.
        mean: D, float64.
    """

    def __init__(self, dimension: int, device: torch.device | str = "cpu") -> None:
        if dimension < 1:
            raise ValueError(f"rows need at least one column, not {dimension}")
        self.count = 0
        self.mean = torch.zeros(dimension, dtype=torch.float64, device=device)
        self._scatter = torch.zeros(dimension, dimension, dtype=torch.float64, device=device)

    @property
    def covariance(self) -> Tensor:
        """D x D, float64, unbiased (division by count - 1, as ``numpy.cov``).

        Raises:
            DARError: if there are fewer than two rows.
        """
        if self.count < 2:
            raise DARError(f"{self.count} rows of features have no covariance: at least 2 are needed")
        return self._scatter / (self.count - 1)

    def update(self, rows_BD: Tensor) -> None:
        """Take in rows.

        Raises:
            DARError: if they are not of D columns, or hold NaN or infinite numbers.
        """
        check_rows(rows_BD, "rows of features", least=0)
        if rows_BD.shape[1] != len(self.mean):
            raise DARError(
                f"rows of {rows_BD.shape[1]} features cannot join rows of {len(self.mean)}: "
                "take both from one extractor"
            )
        if not len(rows_BD):
            return
        rows_BD = rows_BD.detach().to(self.mean)
        mean_D = rows_BD.mean(0)
        deviations = torch.cat([rows_BD - mean_D, self._between(len(rows_BD), mean_D)[None]])
        self._scatter.addmm_(deviations.T, deviations)
        self.count += len(rows_BD)
        self.mean += (mean_D - self.mean) * (len(rows_BD) / self.count)

    def without(self, part: "Moments") -> "Moments":
        """Subtract rows: the moments of all but those of ``part``, which must be among them and leave some over."""
        rest = Moments(len(self.mean), self.mean.device)
        rest.count = self.count - part.count
        rest.mean.copy_(self.mean + (self.mean - part.mean) * (part.count / rest.count))
        between_D = rest._between(part.count, part.mean)
        rest._scatter.copy_(self._scatter).sub_(part._scatter).addr_(between_D, between_D, alpha=-1)
        return rest

    def _between(self, count: int, mean_D: Tensor) -> Tensor:
        """Find the vector whose outer square is the scatter between the rows so far and ``count`` others."""
        return (mean_D - self.mean) * math.sqrt(self.count * count / (self.count + count))


def full_rank_count(dimension: int) -> int:
    """Count the rows that it takes for a covariance of D features to have full rank.

    With fewer, a Fréchet distance is defined and can be computed, but depends more on the count than on the images.
    """
    return dimension + 1


def frechet_distance(mean_D: Tensor, covariance_DD: Tensor, other_mean_D: Tensor, other_covariance_DD: Tensor) -> float:
    """Compute the squared Fréchet distance of two Gaussians, ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))``.

    The trace of the root is the sum of the roots of the eigenvalues of S1 S2, which are those of the symmetric
    F^T S1 F with S2 = F F^T. Singular covariances are like any others. The ADM evaluator takes SciPy's ``sqrtm`` of
    the product instead, and only if that is not finite starts again with 1e-6 added to both diagonals; where it does
    not, both agree up to rounding. All is done in float64, and the result is never negative.

    Args:
        mean_D: of one set of features.
        covariance_DD: of it; eigenvalues that are negative by rounding count as zero.
        other_mean_D: of the other.
        other_covariance_DD: of it.

    Raises:
        DARError: if dimensions differ, numbers are NaN or infinite, or a covariance is none: not symmetric, or with
            eigenvalues that are negative by more than rounding.
    """
    mean_D, covariance_DD = _gaussian(mean_D, covariance_DD)
    other_mean_D, other_covariance_DD = _gaussian(other_mean_D, other_covariance_DD)
    if len(mean_D) != len(other_mean_D):
        raise DARError(
            f"features of {len(mean_D)} and of {len(other_mean_D)} dimensions cannot be compared: "
            "take both from one extractor"
        )
    if torch.linalg.cholesky_ex(covariance_DD).info:
        _check_eigenvalues(torch.linalg.eigvalsh(covariance_DD))
    return _distance(mean_D, covariance_DD, other_mean_D, _factor(other_covariance_DD))


def frechet_confidence(
    rows_ND: Tensor, mean_D: Tensor, covariance_DD: Tensor, generator: torch.Generator
) -> tuple[float, float]:
    """Estimate the 95 % confidence interval of rows' Fréchet distance to a fixed reference, by a jackknife.

    Each of 20 random groups of rows is left out in turn. Rows are halved at random 10 times besides, to take off the
    variance of pairs of rows, which a jackknife counts twice. Memory stays at a few D x D matrices, and no set holds
    a row twice. A bootstrap would see every row in every replicate, and its repeated rows cost rank: the distance
    then grows with the resampling itself. Neither is it part of the interval that the reference is a sample too, nor
    that distances of few rows are too large on average.

    Args:
        rows_ND: features.
        mean_D: of the reference.
        covariance_DD: of the reference.
        generator: draws the groups; on the CPU.

    Returns:
        Lower and upper end, around the distance of all rows; the lower one is at least 0, as distances are.

    Raises:
        DARError: as for ``frechet_distance``, and if there are fewer than two rows a group.
    """
    groups = jackknife_groups(len(rows_ND), generator)
    mean_D, covariance_DD = _gaussian(mean_D, covariance_DD)
    factor_DD = _factor(covariance_DD)
    everything = Moments(len(mean_D), mean_D.device)
    for rows in groups:
        everything.update(rows_ND[rows])
    left_out = []
    for rows in groups:
        group = Moments(len(mean_D), mean_D.device)
        group.update(rows_ND[rows])
        rest = everything.without(group)
        left_out.append(_distance(rest.mean, rest.covariance, mean_D, factor_DD))
    halves = []
    for _ in range(_HALVINGS):
        half = _moments_of_half(rows_ND, generator)
        both = (half, everything.without(half))
        one, other = (_distance(part.mean, part.covariance, mean_D, factor_DD) for part in both)
        halves.append((one, other))
    distance = _distance(everything.mean, everything.covariance, mean_D, factor_DD)
    low, high = jackknife_confidence(distance, left_out, halves)
    return max(low, 0.0), high


def _moments_of_half(rows_ND: Tensor, generator: torch.Generator) -> Moments:
    """Find the moments of a random half of the rows, a few at a time: in float64 they take twice the memory."""
    half = Moments(rows_ND.shape[1], rows_ND.device)
    for rows in torch.randperm(len(rows_ND), generator=generator)[: len(rows_ND) // 2].split(_CHUNK):
        half.update(rows_ND[rows])
    return half


def _gaussian(mean_D: Tensor, covariance_DD: Tensor) -> tuple[Tensor, Tensor]:
    """Bring both to float64, and make sure that they fit and are finite."""
    if mean_D.ndim != 1 or covariance_DD.shape != (len(mean_D), len(mean_D)):
        raise DARError(
            f"a mean of shape {tuple(mean_D.shape)} and a covariance of shape {tuple(covariance_DD.shape)} do not "
            "belong together: they must be D and D x D"
        )
    for what, values in (("mean", mean_D), ("covariance", covariance_DD)):
        bad = int((~values.isfinite()).sum())
        if bad:
            raise DARError(f"{bad} numbers of a {what} are NaN or infinite: compute the statistics again")
    if (covariance_DD - covariance_DD.T).abs().max() > _ROUNDING * covariance_DD.abs().max():
        raise DARError("a covariance is not symmetric, so it is none: compute the statistics again")
    return mean_D.double(), covariance_DD.double()


def _factor(covariance_DD: Tensor) -> Tensor:
    """Find F with F F^T the covariance; by Cholesky, which is many times as fast, unless that finds it singular."""
    factor_DD, singular = torch.linalg.cholesky_ex(covariance_DD)
    if not singular:
        return factor_DD
    eigenvalues_D, vectors_DD = torch.linalg.eigh(covariance_DD)
    _check_eigenvalues(eigenvalues_D)
    return vectors_DD * eigenvalues_D.clamp(min=0).sqrt()


def _check_eigenvalues(ascending_D: Tensor) -> None:
    smallest, largest = ascending_D[0].item(), ascending_D[-1].item()
    if smallest < -_ROUNDING * max(largest, -smallest):
        raise DARError(
            f"a covariance has a negative eigenvalue ({smallest:.3g}, the largest is {largest:.3g}), so it is none: "
            "compute the statistics again"
        )


def _distance(mean_D: Tensor, covariance_DD: Tensor, other_mean_D: Tensor, other_factor_DD: Tensor) -> float:
    eigenvalues_D = torch.linalg.eigvalsh(other_factor_DD.T @ covariance_DD @ other_factor_DD)
    root_trace = eigenvalues_D.clamp(min=0).sqrt().sum()
    traces = covariance_DD.trace() + other_factor_DD.square().sum()
    distance = (mean_D - other_mean_D).square().sum() + traces - 2 * root_trace
    return max(distance.item(), 0.0)
