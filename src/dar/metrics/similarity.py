"""Similarity of images to others, pixel by pixel, by structure and by layout."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dar.errors import DARError

_WINDOW = 11
_SIGMA = 1.5
_LUMINANCE = 0.01**2
_CONTRAST = 0.03**2


def psnr(images_B3HW: Tensor, references_B3HW: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio of each image, both in [-1, 1]: B, in dB.

    The peak is 2, the whole range of values. An image that equals its reference has infinitely many dB.

    Raises:
        DARError: if the shapes differ.
    """
    _check_shapes(images_B3HW, references_B3HW)
    return 10 * (4 / (images_B3HW - references_B3HW).square().mean((1, 2, 3))).log10()


def ssim(images_B3HW: Tensor, references_B3HW: Tensor) -> Tensor:
    """Compute the structural similarity of each image, both in [-1, 1]: B, float64, at most 1, which means equal.

    After Wang et al. 2004 (doi 10.1109/TIP.2003.819861, equation 13): a Gaussian window of 11 x 11 pixels with a
    standard deviation of 1.5, whose weights also weigh the (co)variances; K1 = 0.01, K2 = 0.03; windows that lie
    within the image whole; the mean over places and over the colour channels, each taken alone. Values are brought to
    [0, 1] first, since the formula compares luminances by their ratio and is made for black at zero.

    Raises:
        DARError: if the shapes differ, or a side is shorter than 11 pixels.
    """
    _check_shapes(images_B3HW, references_B3HW)
    if min(images_B3HW.shape[2:]) < _WINDOW:
        height, width = images_B3HW.shape[2:]
        raise DARError(f"SSIM needs images of at least {_WINDOW} x {_WINDOW} pixels, not {height} x {width}")
    x, y = ((images.double() + 1) / 2 for images in (images_B3HW, references_B3HW))
    x_mean, y_mean = _windowed(x), _windowed(y)
    x_variance = _windowed(x * x) - x_mean * x_mean
    y_variance = _windowed(y * y) - y_mean * y_mean
    covariance = _windowed(x * y) - x_mean * y_mean
    luminance = (2 * x_mean * y_mean + _LUMINANCE) / (x_mean * x_mean + y_mean * y_mean + _LUMINANCE)
    structure = (2 * covariance + _CONTRAST) / (x_variance + y_variance + _CONTRAST)
    return (luminance * structure).mean((1, 2, 3))


def low_pass(images_BCHW: Tensor, size: int = 8) -> Tensor:
    """Average each image's colours in a grid of ``size`` x ``size`` equal cells: B x C x size x size.

    Raises:
        DARError: if a side of the images is no multiple of ``size``.
    """
    height, width = images_BCHW.shape[2:]
    if size < 1 or height % size or width % size:
        raise DARError(f"images of {height} x {width} pixels cannot be cut into {size} x {size} equal cells")
    return F.avg_pool2d(images_BCHW, (height // size, width // size))


def layout_similarity(images_B3HW: Tensor, references_B3HW: Tensor) -> Tensor:
    """Compute how alike images are in layout, both in [-1, 1] with sides that are multiples of 8: B, in dB.

    It is the PSNR of what is left of them in a grid of 8 x 8 cells of mean colour: where large things are, and how
    they are coloured, but no contour or texture. It is infinite for equal layouts.

    Raises:
        DARError: if the shapes differ, or a side is no multiple of 8.
    """
    _check_shapes(images_B3HW, references_B3HW)
    return psnr(low_pass(images_B3HW), low_pass(references_B3HW))


def _windowed(x_BCHW: Tensor) -> Tensor:
    """Compute weighted means over all whole windows: B x C x (H - 10) x (W - 10)."""
    offsets = torch.arange(_WINDOW, dtype=x_BCHW.dtype, device=x_BCHW.device) - _WINDOW // 2
    weights = (-offsets.square() / (2 * _SIGMA**2)).exp()
    weights /= weights.sum()
    planes = x_BCHW.flatten(0, 1)[:, None]
    means = F.conv2d(F.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return means[:, 0].unflatten(0, x_BCHW.shape[:2])


def _check_shapes(images: Tensor, references: Tensor) -> None:
    if images.shape != references.shape:
        raise DARError(
            f"images of shape {tuple(images.shape)} cannot be compared with references of {tuple(references.shape)}"
        )
