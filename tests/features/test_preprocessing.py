from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import BitImageProcessorPil, ConvNextImageProcessorPil, ViTImageProcessorPil

from dar.errors import DARError
from dar.features.preprocessing import MEAN, STD, Preprocessing, read_preprocessing

DINOV2 = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True}
DINOV2 |= {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 0.00392156862745098}
DINOV2 |= {"resample": 3, "image_mean": list(MEAN), "image_std": list(STD), "do_convert_rgb": True}
VIT = {"size": {"height": 224, "width": 224}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def images(height: int, width: int) -> Tensor:
    """Smooth with a little noise."""
    chance = np.random.RandomState(0)
    smooth = 128 + 100 * np.sin(np.arange(width) / 9) * np.cos(np.arange(height) / 7)[:, None]
    images_uint8 = smooth + chance.uniform(-20, 20, (2, 3, height, width))
    return torch.from_numpy(images_uint8.clip(0, 255)).to(torch.uint8)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (DINOV2, Preprocessing(256, "bicubic", (224, 224))),
        (VIT, Preprocessing((224, 224), "bilinear", None, (0.5,) * 3, (0.5,) * 3)),
        ({"size": 224, "resample": 2}, Preprocessing((224, 224), "bilinear")),
        ({"size": 240, "do_center_crop": True, "crop_size": 224}, Preprocessing(240, crop=(224, 224))),
        ({"size": 224, "crop_pct": 0.875}, Preprocessing(256, crop=(224, 224))),
        ({"size": {"shortest_edge": 384}, "crop_pct": 1.0}, Preprocessing((384, 384))),
        ({"size": 384, "crop_pct": None}, Preprocessing((384, 384))),
        ({"size": {"shortest_edge": 32}, "do_center_crop": None}, Preprocessing(32)),
        ({"do_normalize": False, "image_mean": [9, 9, 9]}, Preprocessing((99, 99), mean=(0,) * 3, std=(1,) * 3)),
        ({}, Preprocessing((99, 99))),
    ],
)
def test_all_ways_to_write_it_are_understood(settings: dict[str, Any], expected: Preprocessing) -> None:
    assert read_preprocessing(settings, 99) == expected


@pytest.mark.parametrize(("of_network", "size"), [(None, (224, 224)), (32, (32, 32)), ([16, 24], (16, 24))])
def test_without_a_file_the_network_tells_the_size(of_network: Any, size: tuple[int, int]) -> None:
    assert read_preprocessing({}, of_network) == Preprocessing(size, "bicubic", None, MEAN, STD)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(100, 70), (20, 31)])
def test_resizing_is_pillow_s_to_a_level_or_two(mode: str, height: int, width: int) -> None:
    """Pillow rounds after each of its two passes."""
    prepare = Preprocessing((32, 48), mode, None, (0,) * 3, (1,) * 3)
    found = 255 * prepare(images(height, width))[0].permute(1, 2, 0)
    picture = Image.fromarray(images(height, width)[0].permute(1, 2, 0).numpy())
    expected = np.asarray(picture.resize((48, 32), getattr(Image.Resampling, mode.upper())), dtype=np.float32)
    assert np.abs(found.numpy() - expected).max() <= 2
    assert np.abs(found.numpy() - expected).mean() <= 0.3
    torch.testing.assert_close(found, found.round(), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "processor",
    [
        BitImageProcessorPil(size={"shortest_edge": 64}, crop_size=56, image_mean=MEAN, image_std=STD),  # DINOv2's
        ViTImageProcessorPil(size={"height": 56, "width": 48}),
        ConvNextImageProcessorPil(size={"shortest_edge": 56}),
        ConvNextImageProcessorPil(size={"shortest_edge": 384}, crop_pct=None),
    ],
    ids=["bit", "vit", "convnext", "convnext-warped"],
)
@pytest.mark.parametrize(("height", "width"), [(90, 121), (64, 64), (61, 40)])
def test_images_are_prepared_as_by_transformers(processor: Any, height: int, width: int) -> None:
    """To a level of 8 bits, from the file that its own processors write."""
    pictures = [Image.fromarray(array) for array in images(height, width).permute(0, 2, 3, 1).numpy()]
    expected = torch.from_numpy(np.array(processor(pictures)["pixel_values"]))
    found = read_preprocessing(processor.to_dict(), None)(images(height, width))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() * 255 * min(processor.image_std) <= 1.01


def test_the_shorter_side_is_scaled_and_the_middle_kept() -> None:
    prepare = Preprocessing(8, crop=(6, 4), mean=(0,) * 3, std=(1,) * 3)
    assert prepare.scaled_size(8, 16) == (8, 16)
    assert prepare.scaled_size(45, 30) == (12, 8)
    picture = images(8, 16)
    torch.testing.assert_close(255 * prepare(picture), picture[..., 1:7, 6:10].float())


def test_colours_are_shifted_and_scaled() -> None:
    picture = torch.tensor([0, 51, 255]).view(1, 3, 1, 1).to(torch.uint8)
    found = Preprocessing((1, 1), mean=(0.5, 0.1, 0.0), std=(0.5, 0.2, 2.0))(picture)
    torch.testing.assert_close(found.flatten(), torch.tensor([-1.0, 0.5, 0.5]))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"do_flip_channel_order": True}, "has do_flip_channel_order True: only False is supported"),
        ({"rescale_factor": 1.0}, r"has rescale_factor 1\.0"),
        ({"do_resize": False}, "has do_resize False"),
        ({"resample": 1}, "resample 1 is neither"),
        ({"size": {"shortest_edge": 8, "longest_edge": 9}}, "is no height and width"),
        ({"size": 0}, "0 is no number of pixels"),
        ({"size": 10**9}, "is no number of pixels"),
        ({"size": "big"}, "is no number of pixels"),
        ({"size": 8, "do_center_crop": True, "crop_size": 9}, "does not fit into images"),
        ({"size": 8, "crop_pct": 0}, "division by zero"),
        ({"size": 8, "crop_pct": None}, "makes no sense"),
        ({"size": 8, "crop_pct": 2.0}, "does not fit into images"),
        ({"image_mean": [0.5]}, "is no number for each"),
        ({"image_mean": [float("nan")] * 3}, "is no number for each"),
        ({"image_std": [1, 0, 1]}, "is not positive"),
        ({"image_std": None}, "makes no sense"),
    ],
)
def test_what_cannot_be_done_is_told(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(DARError, match=told):
        read_preprocessing(settings, 32)
