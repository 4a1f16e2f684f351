"""The endless, seeded sequence of augmented training images, in batches.

What stands at a position depends on the data and the seed alone: not on processes, workers or resuming.
"""

import itertools
import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from dar.data.augmentation import Augmentation
from dar.data.dataset import ImageDataset
from dar.data.in_memory import DecodedImages, Example, KeptImages
from dar.data.opening import Images
from dar.data.order import EndlessOrder, MicroBatches, micro_batch_positions
from dar.data.streamed import StreamedImages
from dar.data.unreadable import BrokenImage
from dar.data.workers import in_workers
from dar.errors import DARError
from dar.images import from_uint8
from dar.randomness import derived_rng

SPARE_ROWS = 16
"""Number of following images of a stream that are tried in place of a broken one."""


@dataclass(frozen=True)
class Batch:
    """Images of one training step.

    Attributes:
        pixels: B x 3 x H x W in [-1, 1].
        broken: messages about images that could not be read; good ones took their places.
    """

    pixels: Tensor
    broken: list[str]


class ImageStream(Protocol):
    """An endless sequence of augmented training images."""

    def batches(
        self, batch_size: int, first: int, last: int, workers: int, micro_batches: MicroBatches | None = None
    ) -> Iterator[Batch]:
        """Give one process's micro-batches of the batches ``first`` to ``last`` (excluded), in order.

        Args:
            batch_size: images a batch, over all processes.
            first: number of the first batch; batch i holds positions i * batch_size and on.
            last: number of the batch to stop before.
            workers: processes that decode ahead; 0 decodes in this one.
            micro_batches: of each batch, that this process computes; None means the whole batch.

        Raises:
            DARError: if the batch cannot be divided, too many images in a row are broken, or a worker dies.
        """


def training_stream(images: Images | DecodedImages, augmentation: Augmentation, seed: int) -> ImageStream:
    """Open the endless stream of training images; ``seed`` chooses order and augmentation."""
    if isinstance(images, StreamedImages):
        return ShuffledStream(images, augmentation, seed)
    return AugmentedStream(images, augmentation, seed)


class AugmentedStream:
    """The endless stream of an indexable set: one seeded order of all images after another.

    Args:
        data: the images; of those that are not decoded yet, ``KeptImages`` keeps some.
        augmentation: applied to each, with its own randomness.
        seed: chooses order and augmentation.
    """

    def __init__(self, data: ImageDataset | DecodedImages, augmentation: Augmentation, seed: int) -> None:
        self.data, self.augmentation, self.seed = data, augmentation, seed
        self.order = EndlessOrder(len(data), seed)
        self._images = data if isinstance(data, DecodedImages) else KeptImages(data, augmentation)

    def __getitem__(self, position: int) -> Example:
        image, broken = self._images.scaled(
            self.order[position], lambda: derived_rng(self.seed, position, "in place of a broken image")
        )
        return self.augmentation.of_scaled(image, position_rng(self.seed, position)), broken

    def batches(
        self, batch_size: int, first: int, last: int, workers: int, micro_batches: MicroBatches | None = None
    ) -> Iterator[Batch]:
        """See ``ImageStream``; of decoded images there is nothing for workers to do."""
        workers = 0 if isinstance(self.data, DecodedImages) else workers
        return in_workers(self._batch, micro_batch_positions(batch_size, first, last, micro_batches), workers)

    def _batch(self, positions: range) -> Batch:
        return _batch([self[position] for position in positions])


@dataclass(frozen=True)
class ShuffledStream:
    """The endless stream of a streamed set.

    Each process reads all of it, undecoded, and hands its own positions, with what follows them, to its workers.

    Args:
        data: the images.
        augmentation: applied to each, with its own randomness.
        seed: chooses order and augmentation.
    """

    data: StreamedImages
    augmentation: Augmentation
    seed: int

    def batches(
        self, batch_size: int, first: int, last: int, workers: int, micro_batches: MicroBatches | None = None
    ) -> Iterator[Batch]:
        """See ``ImageStream``."""
        return in_workers(
            self._batch, self._windows(micro_batch_positions(batch_size, first, last, micro_batches)), workers
        )

    def _windows(self, micro_batches: Iterable[range]) -> Iterator[tuple[range, list[dict[str, Any]]]]:
        """Pair each micro-batch with the rows at its positions, and SPARE_ROWS more."""
        waiting: deque[dict[str, Any]] = deque()
        rows: Iterator[dict[str, Any]] | None = None
        at = 0
        for positions in micro_batches:
            if rows is None:
                rows, at = self.data.rows(self.seed, positions.start), positions.start
            while at < positions.start:
                waiting.popleft() if waiting else next(rows)
                at += 1
            waiting.extend(itertools.islice(rows, max(0, len(positions) + SPARE_ROWS - len(waiting))))
            yield positions, list(itertools.islice(waiting, len(positions) + SPARE_ROWS))

    def _batch(self, window: tuple[range, list[dict[str, Any]]]) -> Batch:
        positions, rows = window
        return _batch([self._example(position, rows[i : i + SPARE_ROWS + 1]) for i, position in enumerate(positions)])

    def _example(self, position: int, rows: Sequence[dict[str, Any]]) -> Example:
        broken: list[str] = []
        for offset, row in enumerate(rows):
            try:
                image = self.data.image(row, position + offset)
            except BrokenImage as error:
                broken.append(str(error))
            else:
                return np.asarray(self.augmentation(image, position_rng(self.seed, position))), broken
        raise DARError(f"{len(rows)} images of {self.data.source} in a row cannot be read; first: {broken[0]}")


def position_rng(seed: int, position: int) -> random.Random:
    """Make the generator of the augmentation at a position of a stream."""
    return derived_rng(seed, position)


def _batch(examples: Sequence[Example]) -> Batch:
    images, broken = zip(*examples, strict=True)
    images_B3HW = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return Batch(from_uint8(images_B3HW), [message for messages in broken for message in messages])
