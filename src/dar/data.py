"""Images with class labels: a folder per class, a Parquet file, or a data set of the Hub, all through ``datasets``."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dar.errors import DARError
from dar.images import FORMATS, centre_crop, read_image, resize, to_pixels

SPLITS = ("train", "validation", "test")


class BrokenImage(DARError):
    """An image of a data set that cannot be read; the message names it."""


class ImageDataset:
    """A finite, indexable set of labelled images.

    Args:
        source: a folder with a subfolder a class (or just images), a Parquet file or a folder of them, or a Hub id.
        split: which split of a Hub data set, or of a folder whose Parquet files bear the names of splits.

    Attributes:
        class_names: one name a label; empty where the images have no labels.

    Raises:
        DARError: if there is no such source, or it holds no images.
    """

    def __init__(self, source: str | Path, split: str = "train") -> None:
        self.source = str(source)
        self._rows = _load_rows(self.source, split)
        features = self._rows.features
        self._image = _image_column(self.source, features)
        self._label = next((name for name, kind in features.items() if type(kind).__name__ == "ClassLabel"), None)
        self.class_names: tuple[str, ...] = tuple(features[self._label].names) if self._label else ()

    def __len__(self) -> int:
        return len(self._rows)

    def example(self, index: int) -> tuple[Image.Image, int]:
        """Image ``index``, RGB, and its class index (0 where the images have no labels).

        Raises:
            BrokenImage: if it cannot be read.
            DARError: if the data has classes, but not for this image.
        """
        row = self._rows[index]
        stored, label = row[self._image], row[self._label] if self._label else 0
        name = stored["path"] or f"row {index} of {self.source}"
        if label < 0:
            raise DARError(f"{name} has no class: use a split that is labelled")
        try:
            return read_image(stored["bytes"] if stored["bytes"] is not None else stored["path"], name), label
        except DARError as error:
            raise BrokenImage(str(error)) from error

    @property
    def fingerprint(self) -> str:
        """Changes when the data changes."""
        return str(self._rows._fingerprint)


def _load_rows(source: str, split: str) -> Any:
    import datasets

    path = Path(source)
    datasets.disable_progress_bars()
    try:
        if path.suffix == ".parquet" and path.is_file():
            return _as_bytes(datasets.load_dataset("parquet", data_files=source, split="train"))
        if path.is_dir():
            if parquet := _parquet_files(path, split):
                return _as_bytes(datasets.load_dataset("parquet", data_files=parquet, split="train"))
            return _folder_rows(path)
        if path.exists():
            raise DARError(f"{source} is not a data set: give a folder of images, a Parquet file or a Hub id")
        return _as_bytes(datasets.load_dataset(source, split=split))
    except DARError:
        raise
    except Exception as error:  # datasets raises whatever its readers and the network raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DARError(f"{source} cannot be opened as a data set ({reason}): check the path or Hub id") from error


def _parquet_files(folder: Path, split: str) -> list[str]:
    """The folder's Parquet files; where names tell splits apart, those of ``split`` alone."""
    files = sorted(file for file in folder.rglob("*.parquet") if file.is_file())
    splits = {name: [str(file) for file in files if name in file.stem.lower()] for name in SPLITS}
    named = {name: found for name, found in splits.items() if found}
    if not named:
        return [str(file) for file in files]
    if split == "validation" and split not in named and "test" in named:
        split = "test"
    if split not in named:
        raise DARError(f"{folder} has Parquet files of {', '.join(named)}, none of {split}: name the file itself")
    return named[split]


def _folder_rows(folder: Path) -> Any:
    """Images of a folder; the names of its subfolders are the classes, whatever they are."""
    import datasets

    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in FORMATS and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not files:
        raise DARError(f"{folder} holds no images: give a folder with a subfolder of images for each class")
    loose = [file for file in files if file.parent == folder]
    if loose and len(loose) < len(files):
        raise DARError(f"{folder} mixes class folders with loose images such as {loose[0].name}: move these away")
    columns: dict[str, Any] = {"image": [{"path": str(file), "bytes": None} for file in files]}
    features: dict[str, Any] = {"image": datasets.Image(decode=False)}
    if not loose:
        labels = [file.relative_to(folder).parts[0] for file in files]
        columns["label"], features["label"] = labels, datasets.ClassLabel(names=sorted(set(labels)))
    rows = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    states = [(str(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
    rows._fingerprint = hashlib.sha256(repr(states).encode()).hexdigest()
    return rows


def _as_bytes(rows: Any) -> Any:
    """Let image columns give undecoded bytes, so that one broken image is met alone, and by us."""
    import datasets

    for name, kind in rows.features.items():
        if isinstance(kind, datasets.Image) or (isinstance(kind, dict) and "bytes" in kind):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows


def _image_column(source: str, features: Any) -> str:
    for name, kind in features.items():
        if type(kind).__name__ == "Image":
            return str(name)
    raise DARError(f"{source} has no column of images; its columns are {', '.join(features)}")


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
            generator = torch.Generator().manual_seed(random.Random(f"{self.seed}/{epoch}").getrandbits(63))
            self._epoch, self._order = epoch, torch.randperm(self.count, generator=generator)
        return int(self._order[place])


class AugmentedStream(Dataset[tuple[Image.Image, int, list[str]]]):
    """The endless stream of training images: what stands at a position depends on the seed and nothing else.

    Args:
        data: the images.
        augmentation: applied to each, with its own randomness.
        seed: chooses order and augmentation.
    """

    def __init__(self, data: ImageDataset, augmentation: Augmentation, seed: int) -> None:
        self.data, self.augmentation, self.seed = data, augmentation, seed
        self.order = EndlessOrder(len(data), seed)

    def __getitem__(self, position: int) -> tuple[Image.Image, int, list[str]]:
        image, label, broken = first_readable(self.data, self.order[position])
        return self.augmentation(image, random.Random(f"{self.seed}/{position}")), label, broken


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


def batches(
    stream: AugmentedStream, batch_size: int, first: int, last: int, workers: int, share: Share | None = None
) -> Iterator[Batch]:
    """One process's pieces of the batches ``first`` to ``last`` (excluded) of a stream, in order.

    Args:
        stream: where images come from.
        batch_size: images a batch, over all processes.
        first: number of the first batch; batch i holds positions i * batch_size and on.
        last: number of the batch to stop before.
        workers: processes that decode ahead; 0 decodes in this one.
        share: which part of each batch to give; the whole batch unless told.
    """
    positions = _Positions(batch_size, first, last, share or Share())
    return iter(DataLoader(stream, batch_sampler=positions, collate_fn=_collate, num_workers=workers))


@dataclass(frozen=True)
class _Positions:
    """The positions of each piece, in order."""

    batch_size: int
    first: int
    last: int
    share: Share

    def __iter__(self) -> Iterator[list[int]]:
        for i in range(self.first, self.last):
            yield from map(list, self.share.positions(self.batch_size, i))

    def __len__(self) -> int:
        return (self.last - self.first) * self.share.pieces


def _collate(examples: list[tuple[Image.Image, int, list[str]]]) -> Batch:
    images, labels, broken = zip(*examples, strict=True)
    return Batch(to_pixels(images), torch.tensor(labels), [message for messages in broken for message in messages])


def evenly_spread(data: ImageDataset, size: int, count: int) -> Tensor:
    """Images from all over the data, centre-cropped: count x 3 x H x W in [-1, 1], fewer where there are fewer."""
    count = min(count, len(data))
    images = [first_readable(data, i * len(data) // count)[0] for i in range(count)]
    return to_pixels([centre_crop(image, size) for image in images])
