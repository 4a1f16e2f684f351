"""A tiny labelled image folder and recipe for trainings that take a second."""

from pathlib import Path

import numpy as np
from PIL import Image

from dar.train.recipe import Recipe, load_recipe

SMALL = Path(__file__).parent / "small.yaml"
CLASSES = ("bright", "dark")


def photo_folder(root: Path, per_class: int = 6) -> Path:
    rng = np.random.default_rng(0)
    for name, level in zip(CLASSES, (170, 20), strict=True):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = level + rng.integers(0, 60, (20, 24, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def small_recipe(*overrides: str) -> Recipe:
    return load_recipe(SMALL, overrides)
