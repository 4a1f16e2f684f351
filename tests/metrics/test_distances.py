import numpy as np
import pytest
import torch

from dar.metrics import distances as module
from dar.metrics.precision_recall import neighbour_radii
from tests.metrics.rows import line, normal


def test_half_precision_is_used_where_it_suffices() -> None:
    """In float16: 100^2 = 10000, 101^2 = 10200, 100 x 101 = 10096, and 10000 - 2 x 10096 + 10200 = 8."""
    assert neighbour_radii(line(100, 101), neighbours=1).tolist() == [8, 8]


def test_half_precision_rounds_no_distance_below_zero() -> None:
    """In float16: 23^2 - 2 x 535 + 540.5 = -0.5."""
    assert neighbour_radii(line(23, 23.25), neighbours=1).tolist() == [0, 0]


@pytest.mark.parametrize("place", [300, 200])
def test_half_precision_is_left_where_squares_or_products_overflow(place: int) -> None:
    assert neighbour_radii(line(place, place + 1, place + 3), neighbours=1).tolist() == [1, 1, 4]


def test_half_precision_is_left_by_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    places = line(100, 101, 300, 301)
    assert neighbour_radii(places, neighbours=1).tolist() == [1, 1, 1, 1]
    monkeypatch.setattr(module, "BLOCK", 2)
    assert neighbour_radii(places, neighbours=1).tolist() == [8, 8, 1, 1]


def test_half_precision_rounds_as_numpy_does() -> None:
    u, v = (3 * normal(40, 64, seed=seed).half().numpy() for seed in (0, 1))
    norms = [np.square(x).sum(1, dtype=np.float32).astype(np.float16) for x in (u, v)]
    products = (u.astype(np.float64) @ v.astype(np.float64).T).astype(np.float16)
    expected = np.maximum(norms[0][:, None] - np.float16(2) * products + norms[1], np.float16(0))
    assert expected.dtype == np.float16
    found = module.distances(torch.from_numpy(u).float(), torch.from_numpy(v).float())
    assert found.dtype == torch.float16
    differ = found.numpy() != expected  # float32 sums may fall to the other side of a rounding
    assert differ.mean() < 0.02
    np.testing.assert_allclose(found.float().numpy(), expected.astype(np.float32), rtol=4e-3)
