"""The images that an evaluation looks at: central squares from all over a data set, read once, in batches."""

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dar.data import BrokenImages, ImageDataset, in_workers
from dar.data.crops import CenterCropDecoder, CroppedImages
from dar.errors import DARError
from dar.images import check_finite, to_uint8

LARGEST_DECIBELS = 100.0
"""What an image that equals its reference counts as, so that means stay finite."""

MAX_BROKEN_SHARE = 0.01
"""Share of unreadable images to put up with; they are left out, and listed in the report."""


class LabelledImages:
    """Central squares of a data set: the same ones each time, a smaller count being part of a larger one.

    They are drawn, since data are often sorted by class or take classes in turns: neither the first images nor those at
    equal distances would be of all kinds.

    Args:
        data: where they are from.
        size: H, side of the central squares that images are scaled and cropped to.
        count: how many, drawn without replacement; None means all.

    Attributes:
        indices: their places in the data, increasing.
        broken: the unreadable ones met so far.

    Raises:
        DARError: if there are not so many, or fewer than two are asked for.
    """

    def __init__(self, data: ImageDataset, size: int, count: int | None) -> None:
        available = len(data)
        count = available if count is None else count
        if count < 2:
            raise DARError(f"{count} images cannot tell how far an average is to be trusted: measure at least 2")
        if count > available:
            raise DARError(f"{data.source} holds {available} images, not {count}: ask for {available} or fewer")
        self.data, self.size = data, size
        self._drawn: list[int] = torch.randperm(available, generator=torch.Generator().manual_seed(0))[:count].tolist()
        self.indices = sorted(self._drawn)
        self.broken = BrokenImages(data.source, MAX_BROKEN_SHARE)
        self._hash = hashlib.sha256()

    def preview_indices(self, count: int) -> set[int]:
        """Choose up to ``count`` of the images to show: their indices."""
        return set(self._drawn[:count])

    def batches(self, batch_size: int, workers: int, bar: "tqdm[Any]") -> Iterator[CroppedImages]:
        """Read all of them in order; a few batches are in memory at a time.

        Args:
            batch_size: images to read at a time; where some are broken, batches are smaller.
            workers: processes that decode ahead; 0 decodes in this one.
            bar: moves on by every image whose batch was used.

        Raises:
            DARError: if an image lacks the class that others have, too many are broken, or a worker dies.
        """
        starts = range(0, len(self.indices), batch_size)
        pieces = (self.indices[start : start + batch_size] for start in starts)
        for batch in in_workers(CenterCropDecoder(self.data, self.size), pieces, workers):
            self.broken.add(batch.seen, batch.broken)
            self._hash.update(batch.images.numpy().tobytes())
            if batch.indices:
                yield batch
            bar.update(batch.seen)
        if self.broken.seen - len(self.broken) < 2:
            first = next(iter(self.broken.messages))
            raise DARError(
                f"fewer than 2 of {self.broken.seen} images of {self.data.source} can be read; first: {first}"
            )

    def protocol(self) -> dict[str, Any]:
        """Identify the images once all have been read: evaluations of other images cannot be compared."""
        readable = self.broken.seen - len(self.broken)
        return {"count": readable, "size": self.size, "crop": "centre", "sha256": self._hash.hexdigest()}

    def description(self) -> dict[str, Any]:
        """Describe where they are from, and which could not be read; JSON values."""
        found = {"fingerprint": self.data.fingerprint, "found": self.data.summary.as_dict()}
        return {"data": self.data.source, **found, "broken": list(self.broken.messages)}


def saved_uint8(pixels: Tensor) -> Tensor:
    """Round pixels to the nearest of 256 levels, as in a saved picture: [-1, 1] -> uint8.

    Raises:
        DARError: if a number is not finite.
    """
    check_finite(pixels)
    return to_uint8(pixels)
