"""The worst and the best reconstructions, and some of all, as pictures."""

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from dar.images import from_uint8
from dar.reconstruction import reconstruction_sheet

GALLERY_ROWS = 8
"""Images on a sheet."""


@dataclass(frozen=True)
class _Row:
    """An image on a sheet: K + 1 times 3 x H x W uint8, the original first."""

    psnr: float
    index: int
    images: Tensor


class Gallery:
    """Keeps the images to show while batches come.

    Args:
        spread: indices of the images that are shown whatever they look like.
    """

    def __init__(self, spread: Collection[int]) -> None:
        self.spread = spread
        self.worst: list[_Row] = []
        self.best: list[_Row] = []
        self.others: list[_Row] = []

    def add(self, decibels: Sequence[float], indices: Sequence[int], images: Tensor) -> None:
        """Remember the worst and the best so far, and those that are in the spread.

        Args:
            decibels: PSNR of each of the B images.
            indices: of the images in the data.
            images: 1 + K times B x 3 x H x W, uint8: the originals, then what their first 1 to K groups decode to.
        """
        rows = [_Row(*numbers, images[:, i]) for i, numbers in enumerate(zip(decibels, indices, strict=True))]
        self.worst = _owned(heapq.nsmallest(GALLERY_ROWS, self.worst + rows, key=lambda row: (row.psnr, row.index)))
        self.best = _owned(heapq.nsmallest(GALLERY_ROWS, self.best + rows, key=lambda row: (-row.psnr, row.index)))
        self.others += _owned([row for row in rows if row.index in self.spread])

    def sheets(self) -> dict[str, Image.Image]:
        """Draw rows of the original and its decoded groups, by title."""
        titled = {
            "Worst reconstructions": self.worst,
            "Best reconstructions": self.best,
            "A spread of reconstructions": self.others,
        }
        return {title: _sheet(rows) for title, rows in titled.items() if rows}


def _owned(rows: list[_Row]) -> list[_Row]:
    """Copy the rows, so that the rest of their batches can be freed."""
    return [replace(row, images=row.images.clone()) for row in rows]


def _sheet(rows: list[_Row]) -> Image.Image:
    original, *stages = from_uint8(torch.stack([row.images for row in rows], dim=1))
    return reconstruction_sheet(original, stages, [f"image {row.index}" for row in rows])
