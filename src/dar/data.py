"""Labelled images for training: indexable ones and streamed ones, augmented and in batches.

``open_images`` gives ``Images`` of either kind; their ``stream`` is the endless, seeded sequence of training images, in
which what stands at a position depends on the data and the seed alone: not on processes, workers or resuming.
"""

import itertools
import multiprocessing
import random
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from dar.errors import DARError
from dar.images import centre_crop, read_image, resize, to_pixels
from dar.sources import Columns, columns_of, locate

A = TypeVar("A")
B = TypeVar("B")

FEW_BROKEN = 10
"""So many broken images never stop a run, however few images there are."""

SPARE_ROWS = 16
"""A streamed image that is broken gives way to one of so many that follow it."""

SHUFFLE_BUFFER = 1000


class BrokenImage(DARError):
    """An image of a data set that cannot be read; the message names it."""


class BrokenImages:
    """Those met so far: each is named once, and too many stop the run.

    Args:
        source: what to call the data.
        max_share: the share of the images seen that may be broken; a handful may always be.
    """

    def __init__(self, source: str, max_share: float) -> None:
        self.source, self.max_share = source, max_share
        self.seen = 0
        self.messages: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.messages)

    def add(self, seen: int, messages: Iterable[str]) -> None:
        """Count ``seen`` further images, and what was said of the broken ones among them.

        Raises:
            DARError: if too large a share is broken.
        """
        self.seen += seen
        for message in messages:
            if message not in self.messages:
                self.messages[message] = None
                tqdm.write(f"skipped, {len(self)} so far: {message}")
        if len(self) > max(FEW_BROKEN, self.max_share * self.seen):
            raise DARError(
                f"{len(self)} of the first {self.seen} images of {self.source} cannot be read, more than a "
                f"max_broken_share of {self.max_share:g} allows: mend or remove them, or raise max_broken_share; "
                f"first: {next(iter(self.messages))}"
            )


class ImageStream(Protocol):
    """An endless sequence of augmented training images."""

    def batches(
        self, batch_size: int, first: int, last: int, workers: int, share: "Share | None" = None
    ) -> Iterator["Batch"]:
        """One process's pieces of the batches ``first`` to ``last`` (excluded), in order.

        Args:
            batch_size: images a batch, over all processes.
            first: number of the first batch; batch i holds positions i * batch_size and on.
            last: number of the batch to stop before.
            workers: processes that decode ahead; 0 decodes in this one.
            share: which part of each batch to give; the whole batch unless told.

        Raises:
            DARError: if the batch cannot be shared, or an image has no class, or a worker dies.
        """


class Images(Protocol):
    """Labelled images of either kind.

    Attributes:
        source: what the user calls them.
    """

    source: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a label; empty where the images have no labels."""

    @property
    def fingerprint(self) -> str:
        """Changes when the data changes."""

    def stream(self, augmentation: "Augmentation", seed: int) -> ImageStream:
        """The endless stream of training images; ``seed`` chooses order and augmentation."""

    def spread(self, count: int) -> list[Image.Image]:
        """Up to ``count`` readable images of all kinds, the same ones each time."""


def open_images(
    source: str | Path, split: str = "train", *, streaming: bool = False, shuffle_buffer: int = SHUFFLE_BUFFER
) -> Images:
    """Open a data set.

    Args:
        source: a folder with a subfolder a class (or just images), a Parquet file, a WebDataset shard (``.tar``), a
            folder of either, or a Hub id.
        split: which split of a Hub data set, or of a folder whose files bear the names of splits.
        streaming: whether to read it as it goes by rather than prepare it on the disk first.
        shuffle_buffer: of a streamed set, images to draw the next one from.

    Raises:
        DARError: if there is no such source, or it holds no images.
    """
    return StreamedImages(source, split, shuffle_buffer) if streaming else ImageDataset(source, split)


class ImageDataset:
    """A finite, indexable set of labelled images.

    Args:
        source: see ``open_images``.
        split: see ``open_images``.

    Raises:
        DARError: if there is no such source, or it holds no images.
    """

    def __init__(self, source: str | Path, split: str = "train") -> None:
        self.source, self._source = str(source), locate(source, split)
        rows = self._source.rows()
        self._columns = columns_of(self._source, rows.features)
        self._rows = rows.select_columns(self._columns.wanted)
        if not len(rows):
            raise DARError(f"{source} holds no images: check the path or Hub id")

    def __len__(self) -> int:
        return len(self._rows)

    def example(self, index: int) -> tuple[Image.Image, int]:
        """Image ``index``, RGB, and its class index (0 where the images have no labels).

        Raises:
            BrokenImage: if it cannot be read.
            DARError: if the data has classes, but not for this image.
        """
        return _read(self._columns, self._rows[index], f"row {index} of {self.source}")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """One name a label; empty where the images have no labels."""
        if self._columns.names is not None:
            return self._columns.names
        return _decimal(self._rows.with_format("arrow")[self._columns.label])

    @property
    def fingerprint(self) -> str:
        """Changes when the data changes."""
        return self._source.fingerprint

    def stream(self, augmentation: "Augmentation", seed: int) -> "AugmentedStream":
        """The endless stream of training images; ``seed`` chooses order and augmentation."""
        return AugmentedStream(self, augmentation, seed)

    def spread(self, count: int) -> list[Image.Image]:
        """Up to ``count`` readable images, drawn: data that take classes in turn would at equal distances give one."""
        order = EndlessOrder(len(self), seed=0)
        return [first_readable(self, i)[0] for i in sorted(order[k] for k in range(min(count, len(self))))]


class StreamedImages:
    """Labelled images read as they go by, for what does not fit the disk.

    Each epoch is a new shuffle by ``datasets``: of the shards, and of the images within a buffer.

    Args:
        source: see ``open_images``.
        split: see ``open_images``.
        shuffle_buffer: images to draw the next one from; they wait in memory, undecoded.

    Raises:
        DARError: if there is no such source, or it holds no images.
    """

    def __init__(self, source: str | Path, split: str = "train", shuffle_buffer: int = SHUFFLE_BUFFER) -> None:
        self.source, self._source, self._buffer = str(source), locate(source, split), shuffle_buffer
        rows = self._source.streamed_rows()
        self._columns = columns_of(self._source, rows.features)
        self._rows = rows.select_columns(self._columns.wanted)
        self._count: int | None = None

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """One name a label; empty where the images have no labels. Bare numbers take a pass through the data."""
        if self._columns.names is not None:
            return self._columns.names
        label = self._columns.label
        return self._source.told(lambda: _decimal(row[label] for row in self._rows.select_columns([label])))

    @property
    def fingerprint(self) -> str:
        """Changes when the data changes."""
        return self._source.fingerprint

    def stream(self, augmentation: "Augmentation", seed: int) -> "ShuffledStream":
        """The endless stream of training images; ``seed`` chooses order and augmentation."""
        return ShuffledStream(self, augmentation, seed)

    def spread(self, count: int) -> list[Image.Image]:
        """The first readable images of a shuffle."""
        found: list[Image.Image] = []
        for place, row in enumerate(self._epoch(0, 0)):
            try:
                found.append(self.read(row, place)[0])
            except BrokenImage:
                continue
            if len(found) == count:
                break
        return found

    def read(self, row: dict[str, Any], place: int) -> tuple[Image.Image, int]:
        """Decode a row of ``rows``; errors as of ``ImageDataset.example``."""
        return _read(self._columns, row, f"image {place} of the stream of {self.source}")

    def rows(self, seed: int, position: int) -> Iterator[dict[str, Any]]:
        """Undecoded rows of the endless stream from ``position`` on.

        What comes before is skipped undecoded; of whole epochs, one at most is read for it.

        Raises:
            DARError: if the data holds no images, or can no longer be read.
        """
        epoch = 0
        while True:
            if self._count is not None:
                skipped, position = divmod(position, self._count)
                epoch += skipped
            count = 0
            for row in self._epoch(seed, epoch):
                if count >= position:
                    yield row
                count += 1
            if not count:
                raise DARError(f"{self.source} holds no images: check the path or Hub id")
            self._count = count
            position, epoch = max(0, position - count), epoch + 1

    def _epoch(self, seed: int, epoch: int) -> Iterator[dict[str, Any]]:
        shuffled = self._rows.shuffle(seed=_epoch_seed(seed, epoch), buffer_size=self._buffer)
        rows = iter(shuffled)
        while (row := self._source.told(lambda: next(rows, None))) is not None:
            yield row


def _read(columns: Columns, row: dict[str, Any], place: str) -> tuple[Image.Image, int]:
    """Decode a row; ``place`` names it where the data does not."""
    stored, label = row[columns.image], row[columns.label] if columns.label else 0
    name = (stored and stored["path"]) or place
    if columns.shard:
        name = f"{name} in {Path(row[columns.shard]).name}"
    if label is None or label < 0:
        raise DARError(f"{name} has no class: use a split that is labelled")
    if columns.label and columns.names is not None and label >= len(columns.names):
        raise DARError(f"{name} is of class {label}, but only {len(columns.names)} classes have names: add the others")
    if not stored:
        raise BrokenImage(f"{name} holds no image")
    try:
        return read_image(_content(stored), name), label
    except (DARError, OSError) as error:
        raise BrokenImage(str(error)) from error


def _content(stored: dict[str, Any]) -> bytes | str:
    """What ``read_image`` takes: bytes, or a path; files elsewhere than on the disk are fetched."""
    if stored["bytes"] is not None:
        return stored["bytes"]
    if "://" not in stored["path"]:
        return stored["path"]
    import fsspec

    with fsspec.open(stored["path"]) as file:
        return file.read()


def _decimal(labels: Iterable[Any]) -> tuple[str, ...]:
    """Names of classes that are just numbers: "0", "1" and so on up to the largest label."""
    known = [int(label) for label in labels if label is not None]
    return tuple(str(i) for i in range(max(known, default=-1) + 1))


def _epoch_seed(seed: int, epoch: int) -> int:
    return random.Random(f"{seed}/{epoch}").getrandbits(63)


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

    def __call__(self, image: Image.Image, chance: random.Random) -> Image.Image:
        """Crop and perhaps mirror, as ``chance`` has it."""
        if self.crop == "random":
            image = resize(image, self.size)
            left = chance.randint(0, image.width - self.size)
            top = chance.randint(0, image.height - self.size)
            image = image.crop((left, top, left + self.size, top + self.size))
        else:
            image = centre_crop(image, self.size)
        mirrored = self.flip and chance.random() < 0.5
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image


@dataclass(frozen=True)
class Batch:
    """Images of one training step.

    Attributes:
        pixels: B x 3 x H x W in [-1, 1].
        labels: B class indices, int64.
        broken: what was said of images that could not be read; good ones took their places.
    """

    pixels: Tensor
    labels: Tensor
    broken: list[str]


class EndlessOrder:
    """One seeded shuffle of n items after another: position -> index, with no state to save.

    Args:
        count: n.
        seed: chooses the shuffles.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self._epoch, self._order = -1, torch.empty(0)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.count)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(_epoch_seed(self.seed, epoch))
            self._epoch, self._order = epoch, torch.randperm(self.count, generator=generator)
        return int(self._order[place])


@dataclass(frozen=True)
class Share:
    """The part of every batch that one process computes: consecutive positions, in consecutive pieces.

    Attributes:
        index: which process this is.
        processes: how many share a batch.
        pieces: how many forward and backward passes the process makes of its part (gradient accumulation).
    """

    index: int = 0
    processes: int = 1
    pieces: int = 1

    def positions(self, batch_size: int, batch: int) -> list[range]:
        """Positions in the stream of each piece of batch number ``batch``.

        Raises:
            DARError: if the batch cannot be divided evenly.
        """
        size, rest = divmod(batch_size, self.processes * self.pieces)
        if rest:
            raise DARError(
                f"a batch of {batch_size} cannot be shared by {self.processes} processes in {self.pieces} pieces each: "
                f"make batch_size a multiple of {self.processes * self.pieces}"
            )
        start = batch * batch_size + self.index * self.pieces * size
        return [range(start + i * size, start + (i + 1) * size) for i in range(self.pieces)]


def first_readable(data: ImageDataset, index: int) -> tuple[Image.Image, int, list[str]]:
    """The example at ``index``, or the next one that can be read; and what was said of those that cannot.

    Raises:
        DARError: if no image of the data can be read.
    """
    broken: list[str] = []
    for offset in range(len(data)):
        try:
            return *data.example((index + offset) % len(data)), broken
        except BrokenImage as error:
            broken.append(str(error))
    raise DARError(f"none of the {len(data)} images of {data.source} can be read; first: {broken[0]}")


Example = tuple[Image.Image, int, list[str]]
"""An augmented image, its class index, and what was said of those that it replaces."""


class AugmentedStream:
    """The endless stream of an indexable set: one seeded order of all images after another.

    Args:
        data: the images.
        augmentation: applied to each, with its own randomness.
        seed: chooses order and augmentation.
    """

    def __init__(self, data: ImageDataset, augmentation: Augmentation, seed: int) -> None:
        self.data, self.augmentation, self.seed = data, augmentation, seed
        self.order = EndlessOrder(len(data), seed)

    def __getitem__(self, position: int) -> Example:
        image, label, broken = first_readable(self.data, self.order[position])
        return self.augmentation(image, _chance(self.seed, position)), label, broken

    def batches(
        self, batch_size: int, first: int, last: int, workers: int, share: Share | None = None
    ) -> Iterator[Batch]:
        """See ``ImageStream``."""
        return in_workers(self._batch, slices(batch_size, first, last, share), workers)

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
        self, batch_size: int, first: int, last: int, workers: int, share: Share | None = None
    ) -> Iterator[Batch]:
        """See ``ImageStream``."""
        return in_workers(self._batch, self._windows(slices(batch_size, first, last, share)), workers)

    def _windows(self, pieces: Iterable[range]) -> Iterator[tuple[range, list[dict[str, Any]]]]:
        """Each piece with the rows at its positions, and SPARE_ROWS more."""
        waiting: deque[dict[str, Any]] = deque()
        rows: Iterator[dict[str, Any]] | None = None
        at = 0
        for piece in pieces:
            if rows is None:
                rows, at = self.data.rows(self.seed, piece.start), piece.start
            while at < piece.start:
                waiting.popleft() if waiting else next(rows)
                at += 1
            waiting.extend(itertools.islice(rows, max(0, len(piece) + SPARE_ROWS - len(waiting))))
            yield piece, list(itertools.islice(waiting, len(piece) + SPARE_ROWS))

    def _batch(self, window: tuple[range, list[dict[str, Any]]]) -> Batch:
        positions, rows = window
        return _batch([self._example(position, rows[i : i + SPARE_ROWS + 1]) for i, position in enumerate(positions)])

    def _example(self, position: int, rows: Sequence[dict[str, Any]]) -> Example:
        broken: list[str] = []
        for offset, row in enumerate(rows):
            try:
                image, label = self.data.read(row, position + offset)
            except BrokenImage as error:
                broken.append(str(error))
            else:
                return self.augmentation(image, _chance(self.seed, position)), label, broken
        raise DARError(f"{len(rows)} images of {self.data.source} in a row cannot be read; first: {broken[0]}")


def in_workers(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """``map(function, items)`` in order, computed ahead by worker processes; each item goes to one of them.

    Args:
        function: runs in the workers; with more than 0 of them it must be a module's function or a method.
        items: iterated over in this process.
        workers: 0 computes in this process.

    Raises:
        DARError: if the function does, or a worker dies.
    """
    if workers == 0:
        yield from map(function, items)
        return
    others = multiprocessing.active_children()
    results = _start_workers(
        DataLoader(
            _Applied(function),
            sampler=items,
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=workers,
            worker_init_fn=_leave_signals_to_the_parent,
            generator=torch.Generator(),  # leaves the global one alone
        )
    )
    # They leave signals alone: a program that ended meanwhile would wait for them for ever.
    weakref.finalize(results, _kill, [child for child in multiprocessing.active_children() if child not in others])
    while True:
        try:
            result = next(results, None)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DARError(
                "a worker process that decodes images died, probably for lack of memory: "
                "lower the number of workers, or free memory (in containers also /dev/shm)"
            ) from error
        if result is None:
            return
        if isinstance(result, DARError):
            raise result
        yield result


def _leave_signals_to_the_parent(worker: int) -> None:
    """Schedulers and terminals signal all processes at once; the parent still needs its data to stop in good order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _start_workers(loader: "DataLoader[Any]") -> Iterator[Any]:
    """Start a loader's workers; their death is then noticed where results are awaited.

    torch would rather raise it wherever the main thread happens to be, from a signal handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    results = iter(loader)
    signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return results


def _kill(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()


@dataclass(frozen=True)
class _Applied(Dataset[Any], Generic[A, B]):
    """What a worker computes; its DARErrors come back whole, without the worker's traceback in their text."""

    function: Callable[[A], B]

    def __getitem__(self, item: A) -> B | DARError:
        try:
            return self.function(item)
        except DARError as error:
            return DARError(str(error))


def _unchanged(result: B) -> B:
    return result


def slices(batch_size: int, first: int, last: int, share: Share | None) -> Iterator[range]:
    """Positions of each piece of the batches, in order."""
    for i in range(first, last):
        yield from (share or Share()).positions(batch_size, i)


def is_mirrored(seed: int, position: int) -> bool:
    """Whether a centre-cropped image at a position of a stream is mirrored, where half of them are."""
    return _chance(seed, position).random() < 0.5


def _chance(seed: int, position: int) -> random.Random:
    return random.Random(f"{seed}/{position}")


def _batch(examples: Sequence[Example]) -> Batch:
    images, labels, broken = zip(*examples, strict=True)
    return Batch(to_pixels(images), torch.tensor(labels), [message for messages in broken for message in messages])


def images_to_show(data: Images, size: int, count: int) -> Tensor:
    """Images from all over the data, centre-cropped: count x 3 x H x W in [-1, 1], fewer where there are fewer."""
    images = data.spread(count)
    if not images:
        raise DARError(f"none of the images of {data.source} can be read: check the data")
    return to_pixels([centre_crop(image, size) for image in images])
