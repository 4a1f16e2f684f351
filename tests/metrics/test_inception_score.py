import math
import statistics

import numpy as np
import pytest
import torch

from dar.errors import DARError
from dar.metrics.inception_score import inception_score, inception_score_confidence


def logits(count: int, classes: int = 10) -> torch.Tensor:
    return 2 * torch.randn(count, classes, generator=torch.Generator().manual_seed(0))


def certain(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Logits that leave exactly no probability to any other class."""
    return 1000 * torch.nn.functional.one_hot(labels, classes).float()


def test_of_uniform_predictions_is_one() -> None:
    assert inception_score(torch.zeros(20, 10)) == pytest.approx(1, abs=1e-6)


def test_of_equal_predictions_is_one() -> None:
    assert inception_score(logits(1).expand(30, -1)) == pytest.approx(1, abs=1e-6)


def test_of_certain_and_balanced_predictions_is_the_number_of_classes() -> None:
    assert inception_score(certain(torch.arange(1008), 1008)) == pytest.approx(1008)


def test_as_written_in_the_paper() -> None:
    found = logits(100).double().numpy()
    p = np.exp(found) / np.exp(found).sum(1, keepdims=True)
    expected = np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(1).mean())
    assert inception_score(torch.from_numpy(found)) == pytest.approx(expected, rel=1e-6)


def test_splits_are_consecutive_and_count_alike() -> None:
    found = logits(25)
    parts = [inception_score(part) for part in (found[:10], found[10:20], found[20:])]
    assert inception_score(found, split_size=10) == pytest.approx(sum(parts) / 3)
    assert inception_score(found, split_size=25) == inception_score(found)
    sorted_by_class = certain(torch.arange(20) // 10, 2)
    assert inception_score(sorted_by_class, split_size=10) == pytest.approx(1)


def test_splits_of_5000_unless_told() -> None:
    found = logits(5001)
    assert inception_score(found) == pytest.approx((inception_score(found[:5000]) + 1) / 2)


def test_no_bias_and_no_scale_of_a_row_matters() -> None:
    found = logits(50)
    assert inception_score(found + 5 * torch.arange(50)[:, None]) == pytest.approx(inception_score(found), rel=1e-4)


def test_bad_input() -> None:
    with pytest.raises(DARError, match="1 of 10 rows of logits hold NaN"):
        inception_score(logits(10).index_fill(0, torch.tensor([2]), math.nan))
    with pytest.raises(DARError, match="0 rows of logits are too few: at least 1"):
        inception_score(logits(0))
    with pytest.raises(DARError, match="a split must have at least one image"):
        inception_score(logits(10), split_size=0)


def test_interval_holds_the_mean_score_as_often_as_it_says() -> None:
    def drawn(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return 2 * torch.randn(500, 20, generator=generator) + torch.linspace(-1, 1, 20)

    draws = [drawn(seed) for seed in range(400)]
    mean = statistics.fmean(inception_score(found, 250) for found in draws)
    intervals = [inception_score_confidence(found, 250) for found in draws]
    assert 0.92 <= sum(low <= mean <= high for low, high in intervals) / 400 <= 0.98


def test_interval_of_splits_of_one_image() -> None:
    low, high = inception_score_confidence(logits(3), split_size=2)
    assert low < inception_score(logits(3), split_size=2) < high
    assert inception_score_confidence(logits(2), split_size=1) == pytest.approx((1, 1))
    with pytest.raises(DARError, match="1 rows of logits are too few: at least 2"):
        inception_score_confidence(logits(1))
