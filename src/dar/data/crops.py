"""Central crops of the images of a data set, decoded batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dar.data.dataset import ImageDataset
from dar.data.unreadable import BrokenImage
from dar.images import centre_crop


@dataclass(frozen=True)
class CroppedImages:
    """A part of a data set: M central squares, and messages about the images that cannot be read.

    Attributes:
        images: M x 3 x H x H, uint8.
        indices: M places in the data.
        labels: M class indices of the images, ``UNLABELLED`` for those without one.
        broken: a message about each of the others.
    """

    images: Tensor
    indices: list[int]
    labels: list[int]
    broken: list[str]

    @property
    def seen(self) -> int:
        """Number of images in this part, broken ones among them."""
        return len(self.indices) + len(self.broken)


@dataclass(frozen=True)
class CenterCropDecoder:
    """Decodes images at some indices into central squares; can run in worker processes.

    Attributes:
        data: the images.
        size: pixels a side, to which squares are scaled.
    """

    data: ImageDataset
    size: int

    def __call__(self, places: Sequence[int]) -> CroppedImages:
        """Decode the images at some indices.

        Raises:
            DARError: if an image is of a class that has no name.
        """
        found = CroppedImages(torch.empty(len(places), 3, self.size, self.size, dtype=torch.uint8), [], [], [])
        for index in places:
            try:
                image, label = self.data.example(index)
            except BrokenImage as error:
                found.broken.append(str(error))
            else:
                square = torch.from_numpy(np.array(centre_crop(image, self.size)))
                found.images[len(found.indices)] = square.permute(2, 0, 1)
                found.indices.append(index)
                found.labels.append(label)
        return replace(found, images=found.images[: len(found.indices)])
