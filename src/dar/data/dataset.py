"""A finite, indexable set of labelled images."""

from functools import cached_property
from pathlib import Path

from PIL import Image

from dar.data.columns import columns_of, decimal_names
from dar.data.decoding import read_row
from dar.data.layouts import locate
from dar.data.order import EndlessOrder
from dar.data.rows import fingerprint, indexed_rows
from dar.data.unreadable import BrokenImage
from dar.errors import DARError


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
        rows = indexed_rows(self._source)
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
        return read_row(self._columns, self._rows[index], f"row {index} of {self.source}")

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """One name a label; empty where the images have no labels."""
        if self._columns.names is not None:
            return self._columns.names
        return decimal_names(self._rows.with_format("arrow")[self._columns.label])

    @property
    def fingerprint(self) -> str:
        """Changes when the data changes."""
        return fingerprint(self._source)

    def preview_images(self, count: int) -> list[Image.Image]:
        """Up to ``count`` readable images, drawn: data that take classes in turn would at equal distances give one."""
        order = EndlessOrder(len(self), seed=0)
        return [first_readable(self, i)[0] for i in sorted(order[k] for k in range(min(count, len(self))))]


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
