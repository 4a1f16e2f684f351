import math

import numpy as np
import pytest
import torch

from dar.errors import DARError
from dar.metrics import distances, half_samples
from dar.metrics.confidence import jackknife_groups
from dar.metrics.half_samples import recall_confidence
from dar.metrics.precision_recall import precision_and_recall
from tests.metrics.rows import normal, whole


@pytest.mark.parametrize(("count", "references", "width"), [(200, 1000, 16), (300, 400, 4), (1000, 100, 8)])
def test_covers_the_expected_recall(count: int, references: int, width: int) -> None:
    """Of samples drawn anew for one set of references; the spread of 100 draws is known to about 7 %."""
    given, generator = normal(references, width, seed=1000), torch.Generator().manual_seed(0)
    draws = [0.9 * normal(count, width, seed=seed) for seed in range(100)]
    recalls = [precision_and_recall(samples, given).recall for samples in draws]
    intervals = [recall_confidence(samples, given, generator) for samples in draws[:30]]
    half_widths = [(high - low) / 2 for low, high in intervals]
    assert 2.093 * np.std(recalls, ddof=1) == pytest.approx(np.sqrt(np.mean(np.square(half_widths))), rel=0.2)
    assert sum(low <= np.mean(recalls) <= high for low, high in intervals) / 30 >= 0.9


def test_is_around_recall_and_repeatable() -> None:
    samples, references = normal(150), normal(80, seed=1)
    found = [recall_confidence(samples, references, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    recall = precision_and_recall(samples, references).recall
    assert all(sum(interval) / 2 == pytest.approx(recall) for interval in found)
    assert found[0] == found[1]
    assert found[0] != found[2]


@pytest.mark.parametrize(("block", "tile"), [(10_000, 1000), (33, 7), (81, 1000)])
def test_halves_are_compared_as_sets_of_their_own(monkeypatch: pytest.MonkeyPatch, block: int, tile: int) -> None:
    samples, references = whole(90, seed=1) + 1, whole(47)
    groups = jackknife_groups(90, torch.Generator().manual_seed(0))
    squares, alone = [], []
    for half in half_samples._halves():
        parts = [torch.cat([groups[i] for i in chosen.nonzero().flatten()]) for chosen in (half, ~half)]
        first, second = (precision_and_recall(samples[rows], references) for rows in parts)
        squares.append((first.recall - second.recall) ** 2)
        alone.append((first.references_covered != second.references_covered).double().mean().item() / 47)
    expected = 2.093 * math.sqrt((np.mean(squares) + np.mean(alone)) / 4)
    recall = precision_and_recall(samples, references).recall
    monkeypatch.setattr(distances, "BLOCK", block)
    monkeypatch.setattr(distances, "TILE", tile)
    found = recall_confidence(samples, references, torch.Generator().manual_seed(0))
    assert found == pytest.approx((recall - expected, min(recall + expected, 1)))


def test_halves_are_balanced() -> None:
    """Every group is in a half with any other in 9 splits and apart from it in 10, ten groups to the half."""
    signs = 2 * half_samples._halves().long() - 1
    assert signs.shape == (19, 20)
    assert torch.equal(signs @ signs.T, 20 * torch.eye(19, dtype=torch.int64))
    assert (signs.sum(1) == 0).all()
    assert torch.equal(signs.T @ signs, 20 * torch.eye(20, dtype=torch.int64) - 1)


def test_ends_at_none_and_all() -> None:
    rows = normal(60)
    assert recall_confidence(rows + 50, rows, torch.Generator()) == (0, 0)
    low, high = recall_confidence(0.05 * normal(60, 2, seed=5), normal(60, 2, seed=1), torch.Generator())
    assert low == 0 < high < 1
    low, high = recall_confidence(normal(60, 2), 0.5 * normal(60, 2, seed=1), torch.Generator())
    assert 0 < low < high == 1


def test_bad_input() -> None:
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
