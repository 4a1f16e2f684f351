import math
import statistics

import numpy as np
import pytest
import torch
from torch import Tensor

from dar.errors import DARError
from dar.metrics.frechet import Moments, frechet_confidence, frechet_distance, full_rank_count

D = 6


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments(rows_ND: Tensor) -> Moments:
    result = Moments(rows_ND.shape[1])
    result.update(rows_ND)
    return result


def gaussian(seed: int, rank: int = 50) -> tuple[Tensor, Tensor]:
    found = moments(normal(rank + 1, D, seed=seed) @ normal(D, D, seed=seed + 100) + seed)
    return found.mean, found.covariance


def rotation() -> Tensor:
    return torch.linalg.qr(normal(D, D, seed=7)).Q


class TestMoments:
    def test_agree_with_numpy(self) -> None:
        rows = normal(40, D)
        found = moments(rows)
        np.testing.assert_allclose(found.mean.numpy(), rows.numpy().mean(0), atol=1e-14)
        np.testing.assert_allclose(found.covariance.numpy(), np.cov(rows.numpy(), rowvar=False), atol=1e-14)

    @pytest.mark.parametrize("sizes", [[1] * 40, [39, 1], [7, 0, 13, 20]])
    def test_batches_make_no_difference(self, sizes: list[int]) -> None:
        rows, found = normal(40, D) + 3, Moments(D)
        for batch in rows.split(sizes):
            found.update(batch)
        whole = moments(rows)
        assert found.count == 40
        torch.testing.assert_close(found.mean, whole.mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(found.covariance, whole.covariance, rtol=0, atol=1e-12)

    def test_without(self) -> None:
        rows = normal(40, D) + torch.arange(40.0)[:, None]
        first, second, whole = moments(rows[:25]), moments(rows[25:]), moments(rows)
        rest = whole.without(second)
        assert rest.count == 25
        torch.testing.assert_close(rest.mean, first.mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(rest.covariance, first.covariance, rtol=0, atol=1e-12)

    def test_large_offsets_do_not_cancel(self) -> None:
        rows, found = normal(100, D), Moments(D)
        for batch in (rows + 2.0**30).split(8):
            found.update(batch)
        torch.testing.assert_close(found.covariance, moments(rows).covariance, rtol=1e-6, atol=1e-6)

    def test_float32_rows_are_accumulated_in_float64(self) -> None:
        rows = normal(50, D).float()
        assert torch.equal(moments(rows).covariance, moments(rows.double()).covariance)

    def test_too_few(self) -> None:
        with pytest.raises(DARError, match="1 rows of features have no covariance: at least 2"):
            moments(normal(1, D)).covariance  # noqa: B018

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_not_finite(self, bad: float) -> None:
        rows = normal(5, D)
        rows[3, 1] = rows[4, 0] = bad
        with pytest.raises(DARError, match="2 of 5 rows of features hold NaN or infinite numbers, first row 3"):
            moments(rows)

    def test_of_another_extractor(self) -> None:
        with pytest.raises(DARError, match="rows of 5 features cannot join rows of 6"):
            moments(normal(4, D)).update(normal(4, 5))
        with pytest.raises(DARError, match="one row each, not of shape"):
            Moments(D).update(normal(4, D, 2))
        with pytest.raises(ValueError, match="at least one column"):
            Moments(0)


class TestDistance:
    def test_diagonal(self) -> None:
        mean, other = normal(D, seed=1), normal(D, seed=2)
        a, b = normal(D, seed=3).abs(), normal(D, seed=4).abs()
        expected = (mean - other).square().sum() + (a - b).square().sum()
        assert frechet_distance(mean, (a * a).diag(), other, (b * b).diag()) == pytest.approx(expected.item())

    def test_commuting(self) -> None:
        a, b, axes = normal(D, seed=3).abs(), normal(D, seed=4).abs(), rotation()
        covariances = [axes @ (x * x).diag() @ axes.T for x in (a, b)]
        found = frechet_distance(torch.zeros(D), covariances[0], torch.ones(D), covariances[1])
        assert found == pytest.approx(D + (a - b).square().sum().item())

    def test_two_dimensions(self) -> None:
        """There tr (S1 S2)^(1/2) = (tr S1 S2 + 2 (det S1 det S2)^(1/2))^(1/2)."""
        one, other = torch.tensor([[2.0, 0.7], [0.7, 1.0]]), torch.tensor([[0.5, -0.3], [-0.3, 3.0]])
        root = ((one @ other).trace() + 2 * (one.det() * other.det()).sqrt()).sqrt()
        expected = 25 + one.trace() + other.trace() - 2 * root
        found = frechet_distance(torch.zeros(2), one, torch.tensor([3.0, 4.0]), other)
        assert found == pytest.approx(expected.item(), rel=1e-6)

    @pytest.mark.parametrize("rank", [50, 3])
    def test_of_itself_is_zero(self, rank: int) -> None:
        one = gaussian(1, rank)
        assert 0 <= frechet_distance(*one, *one) < 1e-5

    @pytest.mark.parametrize("ranks", [(50, 50), (50, 3), (2, 3)])
    def test_symmetric_and_invariant(self, ranks: tuple[int, int]) -> None:
        one, other = gaussian(1, ranks[0]), gaussian(2, ranks[1])
        distance, turn, shift = frechet_distance(*one, *other), rotation(), normal(D, seed=9)
        assert frechet_distance(*other, *one) == pytest.approx(distance, rel=1e-6)
        moved = [(turn @ mean + shift, turn @ covariance @ turn.T) for mean, covariance in (one, other)]
        assert frechet_distance(*moved[0], *moved[1]) == pytest.approx(distance, rel=1e-6)

    def test_singular(self) -> None:
        zero, point = torch.zeros(D), torch.zeros(D, D)
        one = gaussian(1)
        assert frechet_distance(zero, point, zero + 2, point) == 4 * D
        expected = one[0].square().sum().item() + one[1].trace().item()
        assert frechet_distance(*one, zero, point) == pytest.approx(expected)
        assert frechet_distance(zero, point, *one) == pytest.approx(expected)

    def test_rounding_below_zero_is_forgiven_and_more_is_not(self) -> None:
        mean, axes, good = torch.zeros(D), rotation(), torch.eye(D)
        values = torch.tensor([-1e-7, 1, 1, 1, 1, 1]).double()
        nearly = axes @ values.diag() @ axes.T
        assert frechet_distance(mean, good, mean, nearly) == pytest.approx(1, abs=1e-5)
        values[0] = -0.01
        none = axes @ values.diag() @ axes.T
        for pair in ((good, none), (none, good)):
            with pytest.raises(DARError, match=r"negative eigenvalue \(-0.01, the largest is 1\)"):
                frechet_distance(mean, pair[0], mean, pair[1])

    def test_bad_input(self) -> None:
        one = gaussian(1)
        with pytest.raises(DARError, match="features of 6 and of 4 dimensions"):
            frechet_distance(*one, torch.zeros(4), torch.eye(4))
        with pytest.raises(DARError, match=r"mean of shape \(5,\) and a covariance of shape \(6, 6\)"):
            frechet_distance(one[0][:5], one[1], *one)
        with pytest.raises(DARError, match="1 numbers of a mean are NaN"):
            frechet_distance(one[0].where(one[0] < one[0].max(), math.nan), one[1], *one)
        with pytest.raises(DARError, match="36 numbers of a covariance are NaN"):
            frechet_distance(*one, one[0], one[1] * math.inf)
        with pytest.raises(DARError, match="not symmetric"):
            frechet_distance(*one, one[0], one[1].tril())

    def test_full_rank_count(self) -> None:
        for count, full in ((full_rank_count(D), True), (full_rank_count(D) - 1, False)):
            assert (torch.linalg.matrix_rank(moments(normal(count, D)).covariance) == D) == full


class TestConfidence:
    def test_covers_the_true_distance(self) -> None:
        """Of the means' squared distance d^2, whose standard error is 2 d s / sqrt(N), 95 % of intervals hold it."""
        count, trials, distance, deviation = 1000, 150, 3.0, 2.0
        reference = torch.zeros(2), deviation**2 * torch.eye(2)
        generator = torch.Generator().manual_seed(0)
        held, half_widths = 0, []
        for trial in range(trials):
            rows = deviation * normal(count, 2, seed=trial) + torch.tensor([distance, 0.0])
            low, high = frechet_confidence(rows, *reference, generator)
            held += low <= distance**2 <= high
            half_widths.append((high - low) / 2)
        expected = 2.093 * 2 * distance * deviation / math.sqrt(count)
        assert np.mean(half_widths) == pytest.approx(expected, rel=0.1)
        assert 0.9 <= held / trials <= 0.99

    def test_is_around_the_distance_and_repeatable(self) -> None:
        rows, other = normal(100, D), gaussian(2)
        found = [frechet_confidence(rows, *other, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
        distance = frechet_distance(moments(rows).mean, moments(rows).covariance, *other)
        assert all(sum(interval) / 2 == pytest.approx(distance) for interval in found)
        assert found[0] == found[1]
        assert found[0] != found[2]

    def test_does_not_reach_below_zero(self) -> None:
        rows = normal(40, D)
        found = moments(rows)
        low, high = frechet_confidence(rows, found.mean, found.covariance, torch.Generator())
        assert low == 0 < high

    def test_of_rows_fewer_than_dimensions(self) -> None:
        low, high = frechet_confidence(normal(40, 50), torch.zeros(50), torch.eye(50), torch.Generator())
        assert math.isfinite(low)
        assert low < high

    def test_bad_input(self) -> None:
        with pytest.raises(DARError, match="39 rows are too few for a confidence interval: at least 40"):
            frechet_confidence(normal(39, D), *gaussian(1), torch.Generator())
        with pytest.raises(DARError, match="rows of 5 features cannot join rows of 6"):
            frechet_confidence(normal(50, 5), *gaussian(1), torch.Generator())


def test_interval_is_right_where_bias_dominates() -> None:
    """There a jackknife alone is 1.4 times too wide."""
    reference = torch.zeros(16, dtype=torch.float64), torch.eye(16, dtype=torch.float64)
    values, widths = [], []
    for seed in range(150):
        generator = torch.Generator().manual_seed(seed)
        found = Moments(16)
        rows = torch.randn(200, 16, generator=generator, dtype=torch.float64)
        found.update(rows)
        values.append(frechet_distance(found.mean, found.covariance, *reference))
        low, high = frechet_confidence(rows, *reference, generator)
        widths.append((low, high))
    mean = statistics.fmean(values)
    assert 0.91 <= sum(low <= mean <= high for low, high in widths) / 150 <= 0.99
    assert statistics.fmean(high - low for low, high in widths) < 1.3 * 2 * 1.96 * statistics.stdev(values)
