"""From an image to a square of pixels."""

import random
from dataclasses import dataclass

from PIL import Image

from dar.images import centre_crop, resize


@dataclass(frozen=True)
class Augmentation:
    """How an image becomes a square of pixels.

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
        if self.crop == "random":
            image = resize(image, self.size)
            left = rng.randint(0, image.width - self.size)
            top = rng.randint(0, image.height - self.size)
            image = image.crop((left, top, left + self.size, top + self.size))
        else:
            image = centre_crop(image, self.size)
        mirrored = self.flip and rng.random() < 0.5
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
