import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dar.errors import DARError
from dar.metrics.similarity import layout_similarity, low_pass, psnr, ssim


def pictures(count: int = 2, height: int = 16, width: int = 24, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def ssim_of_window(x: np.ndarray, y: np.ndarray) -> float:
    """Of 11 x 11 pixels in [-1, 1], with the formula's sums spelled out."""
    x, y = (x + 1) / 2, (y + 1) / 2
    places = np.arange(11) - 5
    weights = np.exp(-(places[:, None] ** 2 + places[None] ** 2) / 4.5)
    weights /= weights.sum()
    x_mean, y_mean = (weights * x).sum(), (weights * y).sum()
    x_variance, y_variance = (weights * (x - x_mean) ** 2).sum(), (weights * (y - y_mean) ** 2).sum()
    covariance = (weights * (x - x_mean) * (y - y_mean)).sum()
    c1, c2 = 0.0001, 0.0009
    numerator = (2 * x_mean * y_mean + c1) * (2 * covariance + c2)
    return numerator / ((x_mean**2 + y_mean**2 + c1) * (x_variance + y_variance + c2))


class TestPSNR:
    def test_of_a_constant_error(self) -> None:
        images = pictures() * 0.5
        errors = torch.tensor([0.2, 0.02]).view(2, 1, 1, 1)
        assert psnr(images + errors, images).tolist() == pytest.approx([20, 40], abs=1e-3)

    def test_of_equal_images_is_infinite(self) -> None:
        assert psnr(pictures(), pictures()).tolist() == [math.inf, math.inf]

    def test_of_other_shapes_is_refused(self) -> None:
        for references in (pictures(1), pictures(width=16), pictures()[:, :1], pictures()[0]):
            with pytest.raises(DARError, match="cannot be compared with references"):
                psnr(pictures(), references)


class TestSSIM:
    def test_window_by_window(self) -> None:
        x, y = pictures(1, 13, 12), pictures(1, 13, 12, seed=1)
        expected = np.mean(
            [
                ssim_of_window(x[0, c, i : i + 11, j : j + 11].numpy(), y[0, c, i : i + 11, j : j + 11].numpy())
                for c in range(3)
                for i in range(3)
                for j in range(2)
            ]
        )
        assert ssim(x, y).item() == pytest.approx(expected, abs=1e-6)

    def test_of_equal_images_is_one(self) -> None:
        assert ssim(pictures(), pictures()).tolist() == [1, 1]

    def test_of_constant_images(self) -> None:
        a, b = torch.tensor([0.5, 0.1, 0.0]), torch.tensor([0.2, 1.0, 0.0])
        expected = ((2 * a * b + 0.0001) / (a * a + b * b + 0.0001)).mean().item()
        shown = [(2 * x - 1).view(1, 3, 1, 1).expand(1, 3, 11, 15) for x in (a, b)]
        assert ssim(shown[0], shown[1]).item() == pytest.approx(expected, abs=1e-6)

    def test_symmetric_and_invariant(self) -> None:
        x, y = pictures(), pictures(seed=1) * 0.3 + pictures() * 0.7
        found = ssim(x, y)
        assert found.min() > 0.2
        assert found.max() < 1
        torch.testing.assert_close(ssim(y, x), found)
        for change in (lambda z: z.flip(3), lambda z: z.flip(2), lambda z: z.mT, lambda z: z[:, [2, 0, 1]]):
            torch.testing.assert_close(ssim(change(x), change(y)), found)
        torch.testing.assert_close(ssim(x[1:], y[1:]), found[1:])

    def test_falls_with_noise_and_tells_the_sign(self) -> None:
        x, noise = pictures(), pictures(seed=1)
        found = torch.stack([ssim(x + scale * noise, x) for scale in (0.1, 0.3, 1)])
        assert (found.diff(dim=0) < 0).all()
        assert (ssim(-x, x) < 0).all()

    def test_bad_input(self) -> None:
        with pytest.raises(DARError, match="at least 11 x 11 pixels, not 10 x 24"):
            ssim(pictures(height=10), pictures(height=10))
        with pytest.raises(DARError, match="cannot be compared with references"):
            ssim(pictures(), pictures(width=16))


class TestLayout:
    def test_cells_are_means(self) -> None:
        found = low_pass(pictures(), 4)
        assert found.shape == (2, 3, 4, 4)
        torch.testing.assert_close(found[1, 2, 3, 1], pictures()[1, 2, 12:16, 6:12].mean())

    def test_detail_does_not_matter_and_layout_does(self) -> None:
        images = pictures(height=32, width=32)
        cells = images.unflatten(2, (8, 4)).unflatten(4, (8, 4))
        within = cells.flip(3, 5).flatten(4, 5).flatten(2, 3)
        between = cells.flip(2, 4).flatten(4, 5).flatten(2, 3)
        assert psnr(within, images).max() < 10
        assert layout_similarity(within, images).min() > 100
        assert layout_similarity(between, images).max() < 30

    def test_of_a_shift_in_brightness(self) -> None:
        images = pictures() * 0.5
        assert layout_similarity(images + 0.2, images).tolist() == pytest.approx([20, 20], abs=1e-3)
        assert layout_similarity(images, images).tolist() == [math.inf, math.inf]

    def test_bad_input(self) -> None:
        with pytest.raises(DARError, match="images of 16 x 20 pixels cannot be cut into 8 x 8"):
            layout_similarity(pictures(width=20), pictures(width=20))
        with pytest.raises(DARError, match="cannot be compared with references"):
            layout_similarity(pictures(), pictures(count=3))
