"""Augmentation of images to squares of pixels."""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dar.images import resize


@dataclass(frozen=True)
class Augmentation:
    """Turns an image into a square of pixels.

    Attributes:
        size: side of the square.
        crop: "centre", or "random" for a random square of the image scaled to fit.
        flip: whether to mirror half of the images.
    """

    size: int
    crop: str = "centre"
    flip: bool = True

    def __call__(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Scale, crop and perhaps mirror, as ``rng`` has it."""
        return Image.fromarray(self.of_scaled(self.scaled(image), rng))

    def scaled(self, image: Image.Image) -> NDArray[np.uint8]:
        """Scale to a shorter side of ``size``, the part that is the same at every visit: H x W x 3."""
        return np.asarray(resize(image, self.size))

    def of_scaled(self, scaled: NDArray[np.uint8], rng: random.Random) -> NDArray[np.uint8]:
        """Crop and perhaps mirror what ``scaled`` gave, as ``rng`` has it: size x size x 3, a view."""
        top, left = scaled.shape[0] - self.size, scaled.shape[1] - self.size
        if self.crop == "random":
            left, top = rng.randint(0, left), rng.randint(0, top)
        else:
            left, top = left // 2, top // 2
        square = scaled[top : top + self.size, left : left + self.size]
        mirrored = self.flip and rng.random() < 0.5
        return square[:, ::-1] if mirrored else square
