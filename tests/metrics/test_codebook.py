import pytest
import torch

from dar.metrics.codebook import perplexity, usage


@pytest.mark.parametrize(
    ("counts", "used", "diversity"),
    [
        ([5, 5, 5, 5], 1.0, 4.0),
        ([7, 0, 0, 0], 0.25, 1.0),
        ([3, 3, 0, 0], 0.5, 2.0),
        ([2, 1, 1, 0], 0.75, 2**1.5),
    ],
)
def test_usage_and_perplexity(counts: list[int], used: float, diversity: float) -> None:
    assert usage(torch.tensor(counts)) == used
    assert perplexity(torch.tensor(counts)) == pytest.approx(diversity)


def test_statistics_of_large_counts_are_exact() -> None:
    counts = torch.full((16384,), 10**12)
    assert perplexity(counts) == pytest.approx(16384)
    assert usage(counts) == 1
