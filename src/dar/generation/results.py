"""Results of generation: previews from coarse to fine, and finished batches."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image
from torch import Tensor

from dar.class_sheet import class_sheet
from dar.generation.settings import GenerationSettings
from dar.images import to_images

MOST_SHOWN = 64
"""Images on the sheet that a notebook shows."""


@dataclass(frozen=True, repr=False)
class Preview:
    """A batch after a denoising step.

    Attributes:
        step: how many steps are done, from 1.
        pixels: B x 3 x H x W in [-1, 1].
        tokens: B x n, int64: the tokens known so far.
        is_final: whether this is the finished batch, and ``tokens`` therefore B x N.
        num_steps: how many steps there are in all.
        class_names: of the B images.
        seeds: of the B images.
    """

    step: int
    pixels: Tensor
    tokens: Tensor
    is_final: bool
    num_steps: int
    class_names: Sequence[str]
    seeds: Sequence[int]

    @cached_property
    def images(self) -> list[Image.Image]:
        """The batch as pictures."""
        return to_images(self.pixels)

    def sheet(self) -> Image.Image:
        """The first images with their classes, beside the step."""
        return _sheet(self.images, self.class_names, self.seeds, f"step {self.step} of {self.num_steps}")

    def __repr__(self) -> str:
        known = f"{self.tokens.shape[1]} tokens known"
        return f"Preview after step {self.step} of {self.num_steps}: {_images(self.images)}, {known}"

    def _repr_png_(self) -> bytes:
        return _png(self.sheet())


@dataclass(frozen=True, repr=False)
class Generation:
    """A finished batch.

    Attributes:
        pixels: B x 3 x H x W in [-1, 1], on the CPU.
        tokens: B x N, int64.
        class_names: of the B images.
        seeds: of the B images.
        settings: how they were made, whatever was given and whatever was the model's own.
    """

    pixels: Tensor
    tokens: Tensor
    class_names: Sequence[str]
    seeds: Sequence[int]
    settings: GenerationSettings

    @cached_property
    def images(self) -> list[Image.Image]:
        """The batch as pictures."""
        return to_images(self.pixels)

    def sheet(self) -> Image.Image:
        """The first images with their classes and seeds."""
        return _sheet(self.images, self.class_names, self.seeds)

    def __repr__(self) -> str:
        return f"Generation of {_images(self.images)}, {self.tokens.shape[1]} tokens each: {self.settings}"

    def _repr_png_(self) -> bytes:
        return _png(self.sheet())


def _sheet(
    images: Sequence[Image.Image], class_names: Sequence[str], seeds: Sequence[int], title: str = ""
) -> Image.Image:
    captions = [f"seed {seed}" for seed in seeds[:MOST_SHOWN]]
    return class_sheet(images[:MOST_SHOWN], class_names[:MOST_SHOWN], captions, heading=title)


def _images(images: Sequence[Image.Image]) -> str:
    width, height = images[0].size
    return f"{len(images)} {'image' if len(images) == 1 else 'images'} of {width} x {height} pixels"


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
