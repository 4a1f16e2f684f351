import math
import statistics

import pytest
import torch

from dar.errors import DARError
from dar.metrics.confidence import jackknife_confidence, jackknife_groups, mean_confidence


def values(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_interval_of_a_mean() -> None:
    found = values(400) * 3 + 5
    low, high = mean_confidence(found)
    assert (low + high) / 2 == pytest.approx(found.mean().item())
    assert high - low == pytest.approx(2 * 1.96 * statistics.stdev(found.tolist()) / 20)


def test_interval_of_a_share() -> None:
    low, high = mean_confidence(torch.arange(1000) < 200)
    assert (low + high) / 2 == pytest.approx(0.2)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.2 * 0.8 / 999))


def test_interval_of_a_mean_holds_the_true_mean_as_often_as_it_says() -> None:
    intervals = [mean_confidence(values(50, seed) + 1) for seed in range(400)]
    assert 0.92 <= sum(low <= 1 <= high for low, high in intervals) / 400 <= 0.98


def test_jackknife_of_a_mean_agrees_with_the_closed_form() -> None:
    found, half_widths = values(2000), []
    for seed in range(50):
        left_out = []
        for rows in jackknife_groups(2000, torch.Generator().manual_seed(seed)):
            keep = torch.ones(2000, dtype=torch.bool)
            keep[rows] = False
            left_out.append(found[keep].mean().item())
        low, high = jackknife_confidence(found.mean().item(), left_out)
        half_widths.append((high - low) / 2)
    expected = 2.093 * found.std().item() / math.sqrt(2000)
    assert math.sqrt(statistics.fmean(width**2 for width in half_widths)) == pytest.approx(expected, rel=0.1)


def test_groups_hold_every_row_once() -> None:
    groups = jackknife_groups(47, torch.Generator().manual_seed(0))
    assert torch.cat(groups).sort().values.tolist() == list(range(47))
    assert {len(rows) for rows in groups} == {2, 3}
    assert torch.cat(groups).tolist() != list(range(47))


def test_too_few() -> None:
    with pytest.raises(DARError, match="1 rows are too few for a confidence interval: at least 2"):
        mean_confidence(torch.ones(1))
    with pytest.raises(DARError, match="0 rows are too few"):
        mean_confidence(torch.ones(0))
    with pytest.raises(DARError, match="39 rows are too few for a confidence interval: at least 40"):
        jackknife_groups(39, torch.Generator())
