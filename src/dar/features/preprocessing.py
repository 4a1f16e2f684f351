"""Preprocessing of images for a network, as a preprocessor_config.json says; in torch, on any device."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dar.errors import DARError, quoted

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's colours, for images in [0, 1]."""

MODES = {2: "bilinear", 3: "bicubic"}
"""Resampling filters by Pillow's number of them."""

MAX_SIDE = 4096
"""Largest side of a network's input, in pixels; a larger one came from a damaged or hostile file."""

MIN_WARPED_SIDE = 384
"""Side from which on images are not cropped by ``crop_pct``."""

SUPPORTED_SETTINGS = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "rescale_offset": False}
SUPPORTED_SETTINGS |= {"do_pad": False, "do_flip_channel_order": False}
"""The supported values of settings that would change images in ways not implemented here."""


@dataclass(frozen=True)
class Preprocessing:
    """Steps from 8-bit images to a network's input, in the order of the attributes.

    Attributes:
        resized: height and width that images are brought to, whatever their shape; or one number for their shorter
            side, whose shape is then kept.
        mode: "bilinear" or "bicubic", both averaging where images shrink. The result is rounded to 8-bit levels.
        crop: height and width of the part in the middle that is kept; None keeps all.
        mean: subtracted from red, green and blue in [0, 1].
        std: what then divides them.
    """

    resized: int | tuple[int, int]
    mode: str = "bicubic"
    crop: tuple[int, int] | None = None
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    def __post_init__(self) -> None:
        if self.crop is not None and any(c > r for c, r in zip(self.crop, self.scaled_size(1, 1), strict=True)):
            raise ValueError(f"a part of {self.crop} pixels does not fit into images of {self.resized}")

    def scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """Compute height and width of an image after resizing."""
        if isinstance(self.resized, tuple):
            return self.resized
        shorter = min(height, width)
        return int(self.resized * height / shorter), int(self.resized * width / shorter)

    def __call__(self, images_B3HW: Tensor) -> Tensor:
        """Prepare uint8 images for the network: B x 3 x h x w, float32."""
        size = self.scaled_size(*images_B3HW.shape[2:])
        x = F.interpolate(images_B3HW.float(), size=size, mode=self.mode, antialias=True).round().clamp(0, 255)
        if self.crop is not None:
            height, width = self.crop
            top, left = (size[0] - height) // 2, (size[1] - width) // 2
            x = x[..., top : top + height, left : left + width]
        mean, std = (torch.tensor(values, dtype=x.dtype, device=x.device) for values in (self.mean, self.std))
        return (x / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)


def read_preprocessing(settings: Mapping[str, Any], network_size: Any) -> Preprocessing:
    """Read a preprocessor_config.json.

    ``size`` may be one number: of the shorter side where a part is cropped, else of both. Given ``crop_pct``, as
    ConvNeXt and ResNet are, it counts what is left of the shorter side after cropping to that share, and from 384 on
    images are brought to a square instead. What is not given is bicubic, uncropped, and in ImageNet's colours.

    Args:
        settings: content of the file; empty where there is none.
        network_size: ``image_size`` of the network's configuration, where ``settings`` have no size; None is 224.

    Raises:
        DARError: if the settings ask for something else, or make no sense.
    """
    for name, expected in SUPPORTED_SETTINGS.items():
        if settings.get(name) not in (None, expected):
            raise DARError(
                f"preprocessor_config.json has {name} {quoted(settings[name])}: only {expected} is supported"
            )
    try:
        is_cropped = settings.get("do_center_crop") or False
        size = settings.get("size", network_size or 224)
        crop = _pair(settings.get("crop_size", size)) if is_cropped else None
        resized = _side(size["shortest_edge"]) if _keeps_shape(size) else _pair(size)
        if isinstance(size, int) and is_cropped:
            resized = _side(size)
        if "crop_pct" in settings:
            side = resized if isinstance(resized, int) else min(resized)
            resized, crop = (side, side), None
            if side < MIN_WARPED_SIDE:
                resized, crop = _side(int(side / settings["crop_pct"])), (side, side)
        is_normalised = settings.get("do_normalize", True)
        mean = _colours(settings.get("image_mean", MEAN)) if is_normalised else (0.0,) * 3
        std = _colours(settings.get("image_std", STD)) if is_normalised else (1.0,) * 3
        if min(std) <= 0:
            raise ValueError(f"image_std {quoted(std)} is not positive")
        if (resample := settings.get("resample", 3)) not in MODES:
            raise ValueError(f"resample {quoted(resample)} is neither bilinear, 2, nor bicubic, 3")
        return Preprocessing(resized, MODES[resample], crop, mean, std)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise DARError(f"preprocessor_config.json makes no sense ({quoted(error)}): correct or remove it") from error


def _keeps_shape(size: Any) -> bool:
    return isinstance(size, dict) and size.keys() == {"shortest_edge"}


def _pair(size: Any) -> tuple[int, int]:
    """Read height and width in all the ways in which they are written."""
    if isinstance(size, dict):
        if size.keys() != {"height", "width"}:
            raise ValueError(f"size {size} is no height and width")
        size = size["height"], size["width"]
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return _side(height), _side(width)


def _side(pixels: Any) -> int:
    if not isinstance(pixels, int) or not 1 <= pixels <= MAX_SIDE:
        raise ValueError(f"{pixels} is no number of pixels from 1 to {MAX_SIDE}")
    return pixels


def _colours(values: Any) -> tuple[float, ...]:
    found = tuple(float(value) for value in values)
    if len(found) != 3 or not all(map(math.isfinite, found)):
        raise ValueError(f"{list(found)} is no number for each of red, green and blue")
    return found
