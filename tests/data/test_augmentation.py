import random

import numpy as np
from PIL import Image

from dar.data import (
    Augmentation,
)
from tests.data.making import SIZE, picture


def test_centre_augmentation_only_mirrors() -> None:
    image = picture(1)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    augment = Augmentation(SIZE, "centre", flip=True)
    results = {augment(image, random.Random(seed)).tobytes() for seed in range(50)}
    assert results == {image.tobytes(), mirrored.tobytes()}
    still = Augmentation(SIZE, "centre", flip=False)
    assert {still(image, random.Random(seed)).tobytes() for seed in range(50)} == {image.tobytes()}


def test_half_of_the_images_are_mirrored() -> None:
    image = picture(1)
    augment = Augmentation(SIZE)
    kept = sum(augment(image, random.Random(seed)).tobytes() == image.tobytes() for seed in range(400))
    assert 150 < kept < 250


def test_random_crop_reaches_every_place() -> None:
    image = Image.fromarray(np.tile(np.arange(12, dtype=np.uint8)[None, :, None], (SIZE, 1, 3)))
    augment = Augmentation(SIZE, "random", flip=False)
    crops = [augment(image, random.Random(seed)) for seed in range(100)]
    assert {crop.size for crop in crops} == {(SIZE, SIZE)}
    assert {crop.getpixel((0, 0))[0] for crop in crops} == set(range(5))
