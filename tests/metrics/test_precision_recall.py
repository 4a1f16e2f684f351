import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dar.errors import DARError
from dar.metrics import distances as module
from dar.metrics.precision_recall import mutual_coverage, neighbour_radii, precision_and_recall
from tests.metrics.rows import line, normal, whole


def brute_force(samples: Tensor, references: Tensor, neighbours: int = 3) -> tuple[list[bool], list[bool]]:
    def distances(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return ((u[:, None] - v[None]) ** 2).sum(2)

    def radii(x: np.ndarray) -> np.ndarray:
        return np.array([np.sort(np.delete(row, i))[neighbours - 1] for i, row in enumerate(distances(x, x))])

    x, y = samples.double().numpy(), references.double().numpy()
    between = distances(x, y)
    return (between <= radii(y)).any(1).tolist(), (between <= radii(x)[:, None]).any(0).tolist()


class TestRadii:
    def test_on_a_line(self) -> None:
        places = line(0, 1, 3, 7)
        assert neighbour_radii(places, neighbours=1).tolist() == [1, 1, 4, 16]
        assert neighbour_radii(places, neighbours=2).tolist() == [9, 4, 9, 36]
        assert neighbour_radii(places).tolist() == [49, 36, 16, 49]

    def test_a_second_copy_is_a_neighbour_and_a_row_itself_is_not(self) -> None:
        assert neighbour_radii(line(5, 0, 5), neighbours=1).tolist() == [0, 25, 0]
        assert neighbour_radii(line(2, 2, 2, 2)).tolist() == [0, 0, 0, 0]

    def test_too_few(self) -> None:
        with pytest.raises(DARError, match="3 rows of features are too few: at least 4 are needed"):
            neighbour_radii(line(1, 2, 3))
        with pytest.raises(DARError, match="at least one neighbour"):
            neighbour_radii(line(1, 2, 3), neighbours=0)


class TestPrecisionAndRecall:
    def test_on_a_line(self) -> None:
        """With one neighbour, references cover [-1, 5] and [3, 11], samples [-5, 1], [9, 13] and [20, 40]."""
        references, samples = line(0, 1, 3, 7), line(-2, 1, 11, 11.5, 12, 30, 21)
        found = precision_and_recall(samples, references, neighbours=1)
        assert neighbour_radii(samples, neighbours=1).tolist() == [9, 9, 0.25, 0.25, 0.25, 81, 81]
        assert found.samples_covered.tolist() == [False, True, True, False, False, False, False]
        assert found.references_covered.tolist() == [True, True, True, False]
        assert found.precision == pytest.approx(2 / 7)
        assert found.recall == 0.75

    @pytest.mark.parametrize("neighbours", [1, 3, 5])
    def test_with_ties_by_brute_force(self, neighbours: int) -> None:
        samples, references = whole(70, seed=1) + 2, whole(50)
        found = precision_and_recall(samples, references, neighbours)
        expected = brute_force(samples, references, neighbours)
        assert 0 < found.precision < 1
        assert (found.samples_covered.tolist(), found.references_covered.tolist()) == expected

    @pytest.mark.parametrize(("block", "tile"), [(10_000, 7), (33, 1000), (10, 3), (23, 23)])
    def test_blocks_and_tiles_make_no_difference(self, monkeypatch: pytest.MonkeyPatch, block: int, tile: int) -> None:
        samples, references = whole(70, seed=1) + 1, whole(47)
        expected = precision_and_recall(samples, references)
        monkeypatch.setattr(module, "BLOCK", block)
        monkeypatch.setattr(module, "TILE", tile)
        found = precision_and_recall(samples, references)
        assert torch.equal(found.samples_covered, expected.samples_covered)
        assert torch.equal(found.references_covered, expected.references_covered)

    def test_of_equal_and_of_distant_sets(self) -> None:
        rows = normal(60)
        assert precision_and_recall(rows, rows).precision == precision_and_recall(rows, rows).recall == 1
        apart = precision_and_recall(rows + 50, rows)
        assert apart.precision == apart.recall == 0

    def test_tells_fidelity_from_diversity(self) -> None:
        references = normal(400)
        narrow, wide = (precision_and_recall(scale * normal(400, seed=1), references) for scale in (0.3, 2))
        assert narrow.precision > 0.95
        assert narrow.recall < 0.3
        assert wide.precision < 0.3
        assert wide.recall > narrow.recall

    def test_surfaces_belong_to_balls(self) -> None:
        one, other = torch.tensor([4.0, 1.0]), torch.tensor([1.0, 3.9])
        references_in, samples_in = mutual_coverage(line(0, 10), one, line(2, 12), other)
        assert samples_in.tolist() == [True, False]
        assert references_in.tolist() == [False, False]

    def test_bad_input(self) -> None:
        with pytest.raises(DARError, match="3 samples are too few: at least 4"):
            precision_and_recall(normal(3), normal(10))
        with pytest.raises(DARError, match="2 references are too few: at least 4"):
            precision_and_recall(normal(10), normal(2))
        with pytest.raises(DARError, match=r"samples of shape \(10, 8\) and references of shape \(10, 4\)"):
            precision_and_recall(normal(10), normal(10, 4))
        with pytest.raises(DARError, match="10 of 10 references hold NaN or infinite"):
            precision_and_recall(normal(10), normal(10) * math.nan)
        with pytest.raises(DARError, match="beyond float32"):
            precision_and_recall(normal(10) * 1e30, normal(10))
