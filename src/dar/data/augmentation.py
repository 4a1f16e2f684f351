"""Augmentation of images to squares of pixels."""

import random
from dataclasses import dataclass

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
        """Crop and perhaps mirror, as ``rng`` has it."""
        return self.of_scaled(self.scaled(image), rng)

    def scaled(self, image: Image.Image) -> Image.Image:
        """Scale an image to a shorter side of ``size``, the same at every visit."""
        return resize(image, self.size)

    def of_scaled(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """Crop and mirror an image from ``scaled``, as ``rng`` decides."""
        left, top = image.width - self.size, image.height - self.size
        if self.crop == "random":
            left, top = rng.randint(0, left), rng.randint(0, top)
        else:
            left, top = left // 2, top // 2
        image = image.crop((left, top, left + self.size, top + self.size))
        mirrored = self.flip and rng.random() < 0.5
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
