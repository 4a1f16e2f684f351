"""Small data sets held in memory: decoded once, then as fast as memory; the same batches, bit for bit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from dar.data import Augmentation, Batch, EndlessOrder, ImageStream, Share, is_mirrored, slices
from dar.images import from_levels


@dataclass(frozen=True)
class InMemoryImages:
    """Labelled images in memory; ``Images`` for trainings whose crop is the centre.

    Attributes:
        source: what the user calls them.
        images: M x 3 x S x S, uint8: central squares.
        labels: M class indices, int64.
        class_names: one name a label; empty where the images have no labels.
        fingerprint: changes when the data changes.
    """

    source: str
    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    def stream(self, augmentation: Augmentation, seed: int) -> ImageStream:
        """The endless stream of training images; ``seed`` chooses order and augmentation."""
        return InMemoryStream(self, augmentation, seed)

    def spread(self, count: int) -> list[Image.Image]:
        """Up to ``count`` images, drawn."""
        order = EndlessOrder(len(self), seed=0)
        chosen = sorted(order[k] for k in range(min(count, len(self))))
        return [Image.fromarray(self.images[i].permute(1, 2, 0).numpy()) for i in chosen]


class InMemoryStream:
    """The endless stream of images in memory.

    Args:
        data: the images.
        augmentation: of the images' own size, with the centre crop.
        seed: chooses order and augmentation.

    Raises:
        ValueError: for another augmentation.
    """

    def __init__(self, data: InMemoryImages, augmentation: Augmentation, seed: int) -> None:
        if augmentation.crop != "centre" or augmentation.size != data.images.shape[-1]:
            raise ValueError(
                f"images in memory are central squares of {data.images.shape[-1]} pixels, not {augmentation}"
            )
        self.data, self.flip, self.seed = data, augmentation.flip, seed
        self.order = EndlessOrder(len(data), seed)

    def batches(
        self, batch_size: int, first: int, last: int, workers: int, share: Share | None = None
    ) -> Iterator[Batch]:
        """See ``ImageStream``; there is nothing for workers to do."""
        for positions in slices(batch_size, first, last, share):
            yield self._batch(positions)

    def _batch(self, positions: Sequence[int]) -> Batch:
        chosen = torch.tensor([self.order[position] for position in positions])
        mirrored = torch.tensor([self.flip and is_mirrored(self.seed, position) for position in positions])
        images = self.data.images[chosen]
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        return Batch(from_levels(images), self.data.labels[chosen], [])
