"""Decoded images kept in memory: as many as there is room for, or all of a set."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dar.data.augmentation import Augmentation
from dar.data.crops import CenterCropDecoder
from dar.data.dataset import ImageDataset, first_readable
from dar.data.unreadable import BrokenImages
from dar.errors import DARError
from dar.progress import progress_bar

MAX_KEPT_BYTES = 2**26
"""Memory that each process that decodes spends on images of ``KeptImages``."""

DECODED_BATCH = 250

Example = tuple[NDArray[np.uint8], list[str]]
"""An image, H x W x 3, and messages about the unreadable ones that it replaces."""


class KeptImages:
    """The scaled images of a data set, of which the first ``MAX_KEPT_BYTES`` are decoded once only.

    Args:
        data: the images.
        augmentation: scales them.
    """

    def __init__(self, data: ImageDataset, augmentation: Augmentation) -> None:
        self.data, self.augmentation = data, augmentation
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self._room = MAX_KEPT_BYTES

    def scaled(self, index: int, replacement_rng: Callable[[], random.Random]) -> Example:
        """Give image ``index``, scaled, or one that is drawn in its place if it cannot be read.

        Raises:
            DARError: if none of those that are tried can be read.
        """
        if index in self._kept:
            return self._kept[index], []
        image, broken = first_readable(self.data, index, replacement_rng())
        scaled = self.augmentation.scaled(image)
        if not broken and scaled.nbytes <= self._room:
            self._kept[index] = scaled
            self._room -= scaled.nbytes
        return scaled, broken


@dataclass(frozen=True)
class DecodedImages:
    """The central squares of a whole data set, in memory.

    Attributes:
        images: M x 3 x S x S, uint8.
        labels: M class indices, int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def scaled(self, index: int, replacement_rng: Callable[[], random.Random]) -> Example:
        """Give image ``index``; all can be read, so that none is ever drawn in its place."""
        return self.images[index].permute(1, 2, 0).numpy(), []


def decode_images(data: ImageDataset, size: int, max_broken_share: float) -> DecodedImages:
    """Decode all readable images of a data set: their central squares, scaled to ``size``.

    Raises:
        DARError: if too many cannot be read, or one is of a class that has no name.
    """
    broken, decoder, found = BrokenImages(data.source, max_broken_share), CenterCropDecoder(data, size), []
    with progress_bar(len(data), desc="decoding") as bar:
        for start in range(0, len(data), DECODED_BATCH):
            found.append(decoder(range(start, min(start + DECODED_BATCH, len(data)))))
            broken.add(found[-1].seen, found[-1].broken)
            bar.update(found[-1].seen)
    labels = [label for squares in found for label in squares.labels]
    if not labels:
        raise DARError(f"none of the images of {data.source} can be read: check the data")
    return DecodedImages(torch.cat([squares.images for squares in found]), torch.tensor(labels))
