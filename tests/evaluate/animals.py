"""A tiny labelled image folder of the tiny prior's classes, and an extractor for it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dar.features.extractor import Features
from dar.tokenizer import SequentialDiffusionTokenizer
from tests import tiny

CLASSES = ("cat", "great dane", "sea lion")


def photo(i: int) -> Image.Image:
    """Coarse enough to have a layout, and 20 x 24 pixels large."""
    coarse = np.random.RandomState(i).randint(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((24, 20), Image.Resampling.BICUBIC)


def photo_folder(root: Path, per_class: int) -> Path:
    """Image i of the data is ``photo(i)``: file names sort as the classes do."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            photo(label * per_class + i).save(root / name / f"{i:03d}.png")
    return root


def white_folder(root: Path) -> Path:
    for i in range(5):
        Image.new("RGB", (16, 16), "white").save(root / f"{i}.png")
    return root


@torch.no_grad()
def white_tokenizer() -> SequentialDiffusionTokenizer:
    """Decodes everything to white."""
    tokenizer = tiny.tokenizer()
    tokenizer.diffusion_decoder.out.bias.fill_(1e3)
    return tokenizer


class Projection:
    """Random linear functions of pixels: 4 features, and a logit a class."""

    name, hash = "projection", "0" * 64

    def __init__(self, class_names: tuple[str, ...] = tiny.PRIOR.class_names) -> None:
        self.class_names = class_names
        size = 3 * tiny.TOKENIZER.image_size**2
        self.weight = torch.randn(size, 4 + len(class_names), generator=torch.Generator().manual_seed(0))

    def __call__(self, images_B3HW: Tensor) -> Features:
        assert images_B3HW.dtype == torch.uint8
        found = (images_B3HW.flatten(1).double() / 255 - 0.5) @ self.weight.double()
        return Features(found[:, :4].float(), logits=found[:, 4:].float() if self.class_names else None)
