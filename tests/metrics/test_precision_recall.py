import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dar.errors import DARError
from dar.metrics import precision_recall as module
from dar.metrics.confidence import jackknife_groups
from dar.metrics.precision_recall import mutual_coverage, neighbour_radii, precision_and_recall, recall_confidence


def line(*places: float) -> Tensor:
    return torch.tensor(places).float()[:, None]


def normal(count: int, width: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def whole(count: int, seed: int = 0) -> Tensor:
    """Rows whose norms, products and distances are exact in float16, with many ties."""
    return torch.randint(-4, 5, (count, 4), generator=torch.Generator().manual_seed(seed)).float()


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


class TestHalfPrecision:
    def test_is_used_where_it_suffices(self) -> None:
        """In float16: 100^2 = 10000, 101^2 = 10200, 100 x 101 = 10096, and 10000 - 2 x 10096 + 10200 = 8."""
        assert neighbour_radii(line(100, 101), neighbours=1).tolist() == [8, 8]

    def test_rounds_no_distance_below_zero(self) -> None:
        """In float16: 23^2 - 2 x 535 + 540.5 = -0.5."""
        assert neighbour_radii(line(23, 23.25), neighbours=1).tolist() == [0, 0]

    @pytest.mark.parametrize("place", [300, 200])
    def test_is_left_where_squares_or_products_overflow(self, place: int) -> None:
        assert neighbour_radii(line(place, place + 1, place + 3), neighbours=1).tolist() == [1, 1, 4]

    def test_is_left_by_the_block(self, monkeypatch: pytest.MonkeyPatch) -> None:
        places = line(100, 101, 300, 301)
        assert neighbour_radii(places, neighbours=1).tolist() == [1, 1, 1, 1]
        monkeypatch.setattr(module, "BLOCK", 2)
        assert neighbour_radii(places, neighbours=1).tolist() == [8, 8, 1, 1]

    def test_rounds_as_numpy_does(self) -> None:
        u, v = (3 * normal(40, 64, seed=seed).half().numpy() for seed in (0, 1))
        norms = [np.square(x).sum(1, dtype=np.float32).astype(np.float16) for x in (u, v)]
        products = (u.astype(np.float64) @ v.astype(np.float64).T).astype(np.float16)
        expected = np.maximum(norms[0][:, None] - np.float16(2) * products + norms[1], np.float16(0))
        assert expected.dtype == np.float16
        found = module._distances(torch.from_numpy(u).float(), torch.from_numpy(v).float())
        assert found.dtype == torch.float16
        differ = found.numpy() != expected  # float32 sums may fall to the other side of a rounding
        assert differ.mean() < 0.02
        np.testing.assert_allclose(found.float().numpy(), expected.astype(np.float32), rtol=4e-3)


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
        monkeypatch.setattr(module, "_TILE", tile)
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


class TestRecallConfidence:
    @pytest.mark.parametrize(("count", "references", "width"), [(200, 1000, 16), (300, 400, 4), (1000, 100, 8)])
    def test_covers_the_expected_recall(self, count: int, references: int, width: int) -> None:
        """Of samples drawn anew for one set of references; the spread of 100 draws is known to about 7 %."""
        given, generator = normal(references, width, seed=1000), torch.Generator().manual_seed(0)
        draws = [0.9 * normal(count, width, seed=seed) for seed in range(100)]
        recalls = [precision_and_recall(samples, given).recall for samples in draws]
        intervals = [recall_confidence(samples, given, generator) for samples in draws[:30]]
        half_widths = [(high - low) / 2 for low, high in intervals]
        assert 2.093 * np.std(recalls, ddof=1) == pytest.approx(np.sqrt(np.mean(np.square(half_widths))), rel=0.2)
        assert sum(low <= np.mean(recalls) <= high for low, high in intervals) / 30 >= 0.9

    def test_is_around_recall_and_repeatable(self) -> None:
        samples, references = normal(150), normal(80, seed=1)
        found = [recall_confidence(samples, references, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
        recall = precision_and_recall(samples, references).recall
        assert all(sum(interval) / 2 == pytest.approx(recall) for interval in found)
        assert found[0] == found[1]
        assert found[0] != found[2]

    @pytest.mark.parametrize(("block", "tile"), [(10_000, 1000), (33, 7), (81, 1000)])
    def test_halves_are_compared_as_sets_of_their_own(
        self, monkeypatch: pytest.MonkeyPatch, block: int, tile: int
    ) -> None:
        samples, references = whole(90, seed=1) + 1, whole(47)
        groups = jackknife_groups(90, torch.Generator().manual_seed(0))
        squares, alone = [], []
        for half in module._halves():
            parts = [torch.cat([groups[i] for i in chosen.nonzero().flatten()]) for chosen in (half, ~half)]
            first, second = (precision_and_recall(samples[rows], references) for rows in parts)
            squares.append((first.recall - second.recall) ** 2)
            alone.append((first.references_covered != second.references_covered).double().mean().item() / 47)
        expected = 2.093 * math.sqrt((np.mean(squares) + np.mean(alone)) / 4)
        recall = precision_and_recall(samples, references).recall
        monkeypatch.setattr(module, "BLOCK", block)
        monkeypatch.setattr(module, "_TILE", tile)
        found = recall_confidence(samples, references, torch.Generator().manual_seed(0))
        assert found == pytest.approx((recall - expected, min(recall + expected, 1)))

    def test_halves_are_balanced(self) -> None:
        """Every group is in a half with any other in 9 splits and apart from it in 10, ten groups to the half."""
        signs = 2 * module._halves().long() - 1
        assert signs.shape == (19, 20)
        assert torch.equal(signs @ signs.T, 20 * torch.eye(19, dtype=torch.int64))
        assert (signs.sum(1) == 0).all()
        assert torch.equal(signs.T @ signs, 20 * torch.eye(20, dtype=torch.int64) - 1)

    def test_ends_at_none_and_all(self) -> None:
        rows = normal(60)
        assert recall_confidence(rows + 50, rows, torch.Generator()) == (0, 0)
        low, high = recall_confidence(0.05 * normal(60, 2, seed=5), normal(60, 2, seed=1), torch.Generator())
        assert low == 0 < high < 1
        low, high = recall_confidence(normal(60, 2), 0.5 * normal(60, 2, seed=1), torch.Generator())
        assert 0 < low < high == 1

    def test_bad_input(self) -> None:
        with pytest.raises(DARError, match="39 rows are too few for a confidence interval: at least 40"):
            recall_confidence(normal(39), normal(10), torch.Generator())
        with pytest.raises(DARError, match="50 samples are too few: at least 52"):
            recall_confidence(normal(50), normal(20), torch.Generator(), neighbours=12)
        with pytest.raises(DARError, match="3 references are too few: at least 4"):
            recall_confidence(normal(50), normal(3), torch.Generator())
        with pytest.raises(DARError, match="at least one neighbour"):
            recall_confidence(normal(50), normal(10), torch.Generator(), neighbours=0)
        with pytest.raises(DARError, match=r"samples of shape \(50, 8\) and references of shape \(10, 4\)"):
            recall_confidence(normal(50), normal(10, 4), torch.Generator())
