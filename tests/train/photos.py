"""A tiny labelled image folder and recipe for trainings that take a second."""

from pathlib import Path

import numpy as np
from PIL import Image

from dar.train.recipe import Recipe, load_recipe

CLASSES = ("bright", "dark")


def photo_folder(root: Path, per_class: int = 6) -> Path:
    chance = np.random.default_rng(0)
    for name, level in zip(CLASSES, (170, 20), strict=True):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            pixels = level + chance.integers(0, 60, (20, 24, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{i}.png")
    return root


def small_recipe(*overrides: str) -> Recipe:
    return load_recipe(
        "debug",
        [
            "tokenizer.image_size=16",
            "tokenizer.num_tokens=8",
            "tokenizer_training.steps=12",
            "tokenizer_training.batch_size=4",
            "tokenizer_training.continuous_steps=4",
            "tokenizer_training.warmup_steps=1",
            "tokenizer_training.decay_steps=1",
            "prior_training.warmup_steps=1",
            "prior_training.decay_steps=1",
            "tokenizer_training.reseed_steps=3",
            "tokenizer_training.precision=fp32",
            "prior_training.steps=12",
            "prior_training.batch_size=4",
            "prior_training.precision=fp32",
            *overrides,
        ],
    )
