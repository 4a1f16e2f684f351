from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dar.data import ImageDataset
from dar.data.crops import CenterCropDecoder
from dar.images import from_uint8
from dar.metrics.similarity import psnr
from dar.pipeline import load_tokenizer
from dar.reconstruction import reconstructions
from dar.train.recipe import load_recipe
from dar.train.tokenizer import train_tokenizer


@pytest.mark.slow
def test_a_minute_shows_that_training_works(tmp_path: Path) -> None:
    rng, photos = np.random.default_rng(0), tmp_path / "photos"
    photos.mkdir()
    for i in range(20):
        corners = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        Image.fromarray(corners).resize((40, 32), Image.Resampling.BILINEAR).save(photos / f"{i}.png")
    recipe = load_recipe("debug", ["tokenizer_training.steps=700", "tokenizer_training.decay_steps=400"])
    train_tokenizer(recipe, photos, tmp_path / "run")
    decoder = CenterCropDecoder(ImageDataset(photos), recipe.tokenizer.image_size)
    pixels = from_uint8(decoder(range(20)).images)
    image = reconstructions(load_tokenizer(tmp_path / "run" / "model"), pixels)[-1]
    mean = pixels.mean(0, keepdim=True).expand_as(pixels)
    assert psnr(image, pixels).mean() > psnr(mean, pixels).mean() + 3
