"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991) as the ADM evaluator computes them.

A set of features stands for the union of balls around them, each reaching to its centre's third nearest neighbour.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dar.errors import DARError
from dar.metrics.rows import check_rows

BLOCK = 10_000
"""Rows and columns of distances that share a precision."""

_TILE = 1000
"""Rows of a block that are computed at a time; a matter of memory alone."""


@dataclass(frozen=True)
class Coverage:
    """Which features lie within a ball of the other set.

    Attributes:
        samples_covered: N, bool.
        references_covered: M, bool.
    """

    samples_covered: Tensor
    references_covered: Tensor

    @property
    def precision(self) -> float:
        """Share of samples among the references, 0 to 1: fidelity."""
        return self.samples_covered.double().mean().item()

    @property
    def recall(self) -> float:
        """Share of references among the samples, 0 to 1: diversity."""
        return self.references_covered.double().mean().item()


def precision_and_recall(samples_ND: Tensor, references_MD: Tensor, neighbours: int = 3) -> Coverage:
    """Compare two sets of features on one device.

    Distances are float16 in every block of 10 000 x 10 000 where that holds them, else float32. The evaluator runs
    them on a GPU, where TensorFlow adds up the squares of a norm in float16 as well, in an order of its own; here
    such sums are float32 and rounded once, so that single distances may differ by a few float16 roundings.
    And where a product overflows, the evaluator takes the distance for zero; here the block is float32 then.

    Args:
        samples_ND: any number of rows; figures of different numbers cannot be compared.
        references_MD: ADM takes the 10 000 images of its reference file.
        neighbours: how many neighbours of its centre a ball holds.

    Raises:
        DARError: if a set has no more rows than ``neighbours``, rows of other length than the other, NaN, infinite
            or too large numbers.
    """
    if samples_ND.shape[1:] != references_MD.shape[1:]:
        raise DARError(
            f"samples of shape {tuple(samples_ND.shape)} and references of shape {tuple(references_MD.shape)} cannot "
            "be compared: take both from one extractor"
        )
    check_rows(samples_ND, "samples", least=neighbours + 1)
    check_rows(references_MD, "references", least=neighbours + 1)
    references_in_M, samples_in_N = mutual_coverage(
        references_MD,
        neighbour_radii(references_MD, neighbours),
        samples_ND,
        neighbour_radii(samples_ND, neighbours),
    )
    return Coverage(samples_in_N, references_in_M)


def neighbour_radii(features_ND: Tensor, neighbours: int = 3) -> Tensor:
    """Squared distance of each row to its nearest neighbour but ``neighbours`` - 1: N, float32.

    A row is not its own neighbour; one that occurs twice is.

    Raises:
        DARError: if there are no more rows than ``neighbours``, or NaN, infinite or too large numbers.
    """
    if neighbours < 1:
        raise DARError(f"at least one neighbour must be counted, not {neighbours}")
    check_rows(features_ND, "rows of features", least=neighbours + 1)
    nearest = neighbours + 1  # a row's distance to itself comes first
    radii = []
    for rows in features_ND.split(BLOCK):
        candidates = [_smallest(_distances(rows, columns), nearest) for columns in features_ND.split(BLOCK)]
        radii.append(_smallest(torch.cat(candidates, 1), nearest)[:, -1])
    return torch.cat(radii)


def mutual_coverage(
    references_MD: Tensor, reference_radii_M: Tensor, samples_ND: Tensor, sample_radii_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Which references lie in the ball of any sample (M, bool), and which samples in that of any reference (N, bool).

    Radii are squared, and a ball's surface belongs to it. A rounded distance is not the same in both directions; it
    is the one from reference to sample that counts for both.
    """
    references_in_M = torch.zeros_like(reference_radii_M, dtype=torch.bool)
    samples_in_N = torch.zeros_like(sample_radii_N, dtype=torch.bool)
    for own in _runs(len(references_MD)):
        for other in _runs(len(samples_ND)):
            rows, columns = _covered(
                _distances(references_MD[own], samples_ND[other]), reference_radii_M[own], sample_radii_N[other]
            )
            references_in_M[own] |= rows
            samples_in_N[other] |= columns
    return references_in_M, samples_in_N


def _runs(count: int) -> Iterator[slice]:
    return (slice(begin, begin + BLOCK) for begin in range(0, count, BLOCK))


def _smallest(distances_NM: Tensor, count: int) -> Tensor:
    """The ``count`` smallest of each row, or all if they are fewer: N x count, float32, ascending."""
    return distances_NM.topk(min(count, distances_NM.shape[1]), largest=False).values.float()


def _covered(distances_NM: Tensor, row_radii_N: Tensor, column_radii_M: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows lie in the ball of any column, and which columns in that of any row."""
    rows, columns = [], torch.zeros_like(column_radii_M, dtype=torch.bool)
    for tile, radii in zip(distances_NM.split(_TILE), row_radii_N.split(_TILE), strict=True):
        rows.append((tile <= column_radii_M).any(1))
        columns |= (tile <= radii[:, None]).any(0)
    return torch.cat(rows), columns


def _distances(u_ND: Tensor, v_MD: Tensor) -> Tensor:
    """Squared Euclidean distances of one block, N x M: float16 if that holds all of them, else float32."""
    for dtype in (torch.float16, torch.float32):
        distances_NM = _distances_in(dtype, u_ND, v_MD)
        if distances_NM is not None:
            return distances_NM
    raise DARError("the squares of some features are beyond float32: scale the features down")


def _distances_in(dtype: torch.dtype, u_ND: Tensor, v_MD: Tensor) -> Tensor | None:
    """|u|^2 - 2 u v + |v|^2, every step rounded to the type, none below zero; None if a step overflows."""
    u_ND, v_MD = u_ND.to(dtype), v_MD.to(dtype)
    u_norms_N, v_norms_M = (x.square().sum(1, dtype=torch.float32).to(dtype) for x in (u_ND, v_MD))
    v_DM = v_MD.float().T
    distances_NM = u_ND.new_empty(len(u_ND), len(v_MD))
    for rows, norms, tile in zip(u_ND.split(_TILE), u_norms_N.split(_TILE), distances_NM.split(_TILE), strict=True):
        products = (rows.float() @ v_DM).to(dtype)
        torch.sub(norms[:, None], 2 * products, out=tile)
        tile += v_norms_M
        if not tile.isfinite().all():
            return None
        tile.clamp_(min=0)
    return distances_NM
