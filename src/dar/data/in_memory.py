"""Small data sets held in memory: decoded once, and from then on as fast as memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dar.data.crops import CenterCropDecoder
from dar.data.dataset import ImageDataset
from dar.data.order import EndlessOrder, MicroBatches, micro_batch_positions
from dar.data.stream import Batch, position_rng
from dar.data.unreadable import BrokenImages
from dar.errors import DARError
from dar.images import from_uint8
from dar.progress import progress_bar

DECODED_BATCH = 250


@dataclass(frozen=True)
class DecodedImages:
    """Images in memory.

    Attributes:
        images: M x 3 x S x S, uint8.
        labels: M class indices, int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


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


class InMemoryStream:
    """The endless stream of images in memory: the batches that ``AugmentedStream`` gives of them, bit for bit.

    Images that cannot be read are not among them; where there are such, the order is another one.

    Args:
        data: the images, central squares.
        flip: whether to mirror half of them.
        seed: chooses order and which ones are mirrored.
    """

    def __init__(self, data: DecodedImages, flip: bool, seed: int) -> None:
        self.data, self.flip, self.seed = data, flip, seed
        self.order = EndlessOrder(len(data), seed)

    def batches(
        self, batch_size: int, first: int, last: int, workers: int, micro_batches: MicroBatches | None = None
    ) -> Iterator[Batch]:
        """See ``ImageStream``; there is nothing for workers to do."""
        return map(self._batch, micro_batch_positions(batch_size, first, last, micro_batches))

    def _batch(self, positions: Sequence[int]) -> Batch:
        images = self.data.images[[self.order[position] for position in positions]]
        mirrored = torch.tensor([self.flip and position_rng(self.seed, i).random() < 0.5 for i in positions])
        return Batch(from_uint8(torch.where(mirrored[:, None, None, None], images.flip(-1), images)), [])
