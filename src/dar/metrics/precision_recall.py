"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991) as the ADM evaluator computes them.

A set of features stands for the union of balls around them, each reaching to its centre's third nearest neighbour.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dar.errors import DARError
from dar.metrics.distances import blocks, distances, runs, smallest, tiles
from dar.metrics.rows import check_rows, check_sets


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
        samples_ND: any number of rows; metrics of different numbers cannot be compared.
        references_MD: ADM takes the 10 000 images of its reference file.
        neighbours: how many neighbours of its centre a ball holds.

    Raises:
        DARError: if a set has no more rows than ``neighbours``, rows of other length than the other, NaN, infinite
            or too large numbers.
    """
    check_sets(samples_ND, references_MD, neighbours, least=neighbours + 1)
    references_in_M, samples_in_N = mutual_coverage(
        references_MD,
        neighbour_radii(references_MD, neighbours),
        samples_ND,
        neighbour_radii(samples_ND, neighbours),
    )
    return Coverage(samples_in_N, references_in_M)


def neighbour_radii(features_ND: Tensor, neighbours: int = 3) -> Tensor:
    """Compute the squared distance of each row to its nearest neighbour but ``neighbours`` - 1: N, float32.

    A row is not its own neighbour; one that occurs twice is.

    Raises:
        DARError: if there are no more rows than ``neighbours``, or NaN, infinite or too large numbers.
    """
    if neighbours < 1:
        raise DARError(f"at least one neighbour must be counted, not {neighbours}")
    check_rows(features_ND, "rows of features", least=neighbours + 1)
    nearest = neighbours + 1  # a row's distance to itself comes first
    radii = []
    for rows in blocks(features_ND):
        candidates = [smallest(distances(rows, columns), nearest) for columns in blocks(features_ND)]
        radii.append(smallest(torch.cat(candidates, 1), nearest)[:, -1])
    return torch.cat(radii)


def mutual_coverage(
    references_MD: Tensor, reference_radii_M: Tensor, samples_ND: Tensor, sample_radii_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Find the references in the ball of any sample (M, bool), and the samples in that of any reference (N, bool).

    Radii are squared, and a ball's surface belongs to it. A rounded distance is not the same in both directions; it
    is the one from reference to sample that counts for both.
    """
    references_in_M = torch.zeros_like(reference_radii_M, dtype=torch.bool)
    samples_in_N = torch.zeros_like(sample_radii_N, dtype=torch.bool)
    for own in runs(len(references_MD)):
        for other in runs(len(samples_ND)):
            rows, columns = _covered(
                distances(references_MD[own], samples_ND[other]), reference_radii_M[own], sample_radii_N[other]
            )
            references_in_M[own] |= rows
            samples_in_N[other] |= columns
    return references_in_M, samples_in_N


def _covered(distances_NM: Tensor, row_radii_N: Tensor, column_radii_M: Tensor) -> tuple[Tensor, Tensor]:
    """Find the rows that lie in the ball of any column, and the columns that lie in that of any row."""
    rows, columns = [], torch.zeros_like(column_radii_M, dtype=torch.bool)
    for tile, radii in zip(tiles(distances_NM), tiles(row_radii_N), strict=True):
        rows.append((tile <= column_radii_M).any(1))
        columns |= (tile <= radii[:, None]).any(0)
    return torch.cat(rows), columns
