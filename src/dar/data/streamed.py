"""Labelled images that are read as they go by."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from dar.data.classes import name_in
from dar.data.decoding import StoredImage, decode
from dar.data.opened import OpenedImages
from dar.data.order import epoch_seed
from dar.data.summary import DataSummary, summary_of
from dar.data.unreadable import BrokenImage
from dar.errors import DARError

SHUFFLE_BUFFER = 1000


class StreamedImages(OpenedImages):
    """Labelled images read as they go by, for what does not fit the disk.

    Each epoch is a new shuffle by ``datasets``: of the shards, and of the images within a buffer, which wait in memory,
    undecoded. Arguments and errors are those of ``open_images``.
    """

    def __init__(
        self,
        source: str | Path,
        split: str = "train",
        shuffle_buffer: int = SHUFFLE_BUFFER,
        *,
        image_column: str = "",
        label_column: str = "",
    ) -> None:
        super().__init__(source, split, image_column, label_column, streaming=True)
        self._buffer = shuffle_buffer
        self._count: int | None = None

    @cached_property
    def summary(self) -> DataSummary:
        """Summary of what is known without reading the data."""
        columns = self._rows.columns
        names = columns.label_names if columns.label else ()
        return summary_of(self._rows, names, 0 if self._rows.found.kind == "images" or not columns.label else None)

    def preview_images(self, count: int) -> list[Image.Image]:
        """Take the first readable images of a shuffle."""
        found: list[Image.Image] = []
        for place, row in enumerate(self.epoch(0, 0)):
            try:
                found.append(self.image(row, place))
            except BrokenImage:
                continue
            if len(found) == count:
                break
        return found

    def image(self, row: dict[str, Any], place: int) -> Image.Image:
        """Decode the image of a row of ``rows``, RGB.

        Raises:
            BrokenImage: if it cannot be read.
        """
        return decode(self._rows, row, self._name(place))

    def label(self, row: dict[str, Any], place: int) -> int:
        """Find the class index of a row of ``rows``, ``UNLABELLED`` where it has none.

        Raises:
            DARError: if it is of a class that has no name, or it is not clear which column is the class.
        """
        column = self._rows.columns.label
        return self._classes.index(row[column] if column else None, self._name(place))

    def stored(self, row: dict[str, Any], place: int) -> StoredImage:
        """Get the image of a row as it is stored, not decoded; its class is named from its own row alone."""
        return StoredImage(self._rows, row, self._name(place), name_in(self._rows.columns, row))

    def rows(self, seed: int, position: int) -> Iterator[dict[str, Any]]:
        """Give undecoded rows of the endless stream from ``position`` on.

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
            for row in self.epoch(seed, epoch):
                if count >= position:
                    yield row
                count += 1
            if not count:
                raise DARError(f"{self.source} holds no images: check the path or Hub id")
            self._count = count
            position, epoch = max(0, position - count), epoch + 1

    def epoch(self, seed: int, epoch: int) -> Iterator[dict[str, Any]]:
        """Give undecoded rows of one epoch, in its order.

        Raises:
            DARError: if the data can no longer be read.
        """
        return self._guarded(self._rows.table.shuffle(seed=epoch_seed(seed, epoch), buffer_size=self._buffer))

    def _label_values(self) -> Iterator[Any]:
        label = str(self._rows.columns.label)
        return (row[label] for row in self._guarded(self._rows.table.select_columns([label])))

    def _guarded(self, table: Any) -> Iterator[dict[str, Any]]:
        rows = iter(table)
        while (row := self._rows.guarded(lambda: next(rows, None))) is not None:
            yield row

    def _name(self, place: int) -> str:
        return f"image {place} of the stream of {self.source}"
