"""Labelled images that are read as they go by."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from dar.data.columns import columns_of, decimal_names
from dar.data.decoding import read_row
from dar.data.layouts import locate
from dar.data.order import epoch_seed
from dar.data.rows import fingerprint, streamed_rows, told
from dar.data.unreadable import BrokenImage
from dar.errors import DARError

SHUFFLE_BUFFER = 1000


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
        rows = streamed_rows(self._source)
        self._columns = columns_of(self._source, rows.features)
        self._rows = rows.select_columns(self._columns.wanted)
        self._count: int | None = None

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """One name a label; empty where the images have no labels. Bare numbers take a pass through the data."""
        if self._columns.names is not None:
            return self._columns.names
        label = self._columns.label
        return told(self._source, lambda: decimal_names(row[label] for row in self._rows.select_columns([label])))

    @property
    def fingerprint(self) -> str:
        """Changes when the data changes."""
        return fingerprint(self._source)

    def preview_images(self, count: int) -> list[Image.Image]:
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
        return read_row(self._columns, row, f"image {place} of the stream of {self.source}")

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
        shuffled = self._rows.shuffle(seed=epoch_seed(seed, epoch), buffer_size=self._buffer)
        rows = iter(shuffled)
        while (row := told(self._source, lambda: next(rows, None))) is not None:
            yield row
