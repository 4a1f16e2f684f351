"""A finite, indexable set of labelled images."""

import random
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dar.data.classes import UNLABELLED, Classes
from dar.data.decoding import StoredImage, decode, name_of
from dar.data.opened import OpenedImages
from dar.data.order import EndlessOrder
from dar.data.summary import DataSummary, summary_of
from dar.data.unreadable import BrokenImage
from dar.errors import DARError

MAX_REPLACEMENTS = 64
"""Number of images that are tried in place of one that is broken."""


class ImageDataset(OpenedImages):
    """A finite, indexable set of labelled images; arguments and errors are those of ``open_images``."""

    def __init__(
        self, source: str | Path, split: str = "train", *, image_column: str = "", label_column: str = ""
    ) -> None:
        super().__init__(source, split, image_column, label_column, streaming=False)

    def __len__(self) -> int:
        return len(self._rows.table)

    def image(self, index: int) -> Image.Image:
        """Read image ``index``, RGB.

        Raises:
            BrokenImage: if it cannot be read.
        """
        return decode(self._rows, self._rows.table[index], self._place(index))

    def example(self, index: int) -> tuple[Image.Image, int]:
        """Read image ``index``, RGB, and its class index; ``UNLABELLED`` where it has none, or none certain.

        Raises:
            BrokenImage: if it cannot be read.
            DARError: if it is of a class that has no name.
        """
        row = self._rows.table[index]
        return decode(self._rows, row, self._place(index)), self._label(row, index)

    def stored(self, index: int) -> StoredImage:
        """Get image ``index`` as it is stored, not decoded.

        Raises:
            DARError: if it is of a class that has no name.
        """
        row = self._rows.table[index]
        label = self._label(row, index)
        return StoredImage(self._rows, row, self._place(index), None if label < 0 else self.class_names[label])

    def caption(self, index: int) -> str | None:
        """Get the caption of image ``index``; None where it has none."""
        column = self._rows.columns.caption
        return None if column is None else self._rows.table.select_columns([column])[index][column] or None

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class index of each image, ``UNLABELLED`` where it has none.

        Raises:
            DARError: if an image is of a class that has no name, or it is not clear which column is the class.
        """
        column, classes = self._rows.columns.label, self._classes
        if column is None:
            return np.full(len(self), UNLABELLED)
        said = self._rows.table.select_columns([column]).with_format("arrow")[:].column(column)
        said = said.combine_chunks().dictionary_encode()
        distinct = [classes.index(value, f"an image of {self.source}") for value in said.dictionary.to_pylist()]
        places = said.indices.fill_null(len(distinct)).to_numpy()
        return np.array([*distinct, UNLABELLED], dtype=np.int64)[places]

    @cached_property
    def summary(self) -> DataSummary:
        """Summary of what was found."""
        if self._rows.columns.rivals:
            return summary_of(self._rows, (), None)
        if self._rows.found.kind == "images" or not self.class_names:
            return summary_of(self._rows, self.class_names, 0)
        seen = set(self.labels.tolist())
        unseen = [name for i, name in enumerate(self.class_names) if i not in seen]
        return summary_of(self._rows, self.class_names, int((self.labels < 0).sum()), unseen)

    def preview_images(self, count: int) -> list[Image.Image]:
        """Draw up to ``count`` readable images; equal distances could all hit one class where classes take turns."""
        order = EndlessOrder(len(self), seed=0)
        found: dict[int, Image.Image] = {}
        for k in range(min(count + MAX_REPLACEMENTS, len(self))):
            if len(found) < count and (image := self._readable(order[k])) is not None:
                found[order[k]] = image
        return [found[index] for index in sorted(found)]

    def _label_values(self) -> Iterable[Any]:
        values: list[Any] = self._rows.table.unique(self._rows.columns.label)
        return values

    @property
    def _known_classes(self) -> Classes:
        return Classes(()) if self._rows.columns.rivals else self._classes

    def _label(self, row: dict[str, Any], index: int) -> int:
        column = self._rows.columns.label
        name = name_of(self._rows, row, self._place(index))
        return self._known_classes.index(row[column] if column else None, name)

    def _place(self, index: int) -> str:
        return f"row {index} of {self.source}"

    def _readable(self, index: int) -> Image.Image | None:
        try:
            return self.image(index)
        except BrokenImage:
            return None


def first_readable(data: ImageDataset, index: int, rng: random.Random) -> tuple[Image.Image, list[str]]:
    """Read the image at ``index``, or one drawn in its place; also give messages about those that cannot be read.

    Raises:
        DARError: if none of those that were tried can be read.
    """
    broken: list[str] = []
    try:
        return data.image(index), broken
    except BrokenImage as error:
        broken.append(str(error))
    others = rng.sample(range(len(data)), min(MAX_REPLACEMENTS, len(data)))
    for other in others:
        try:
            return data.image(other), broken
        except BrokenImage as error:
            if other != index:
                broken.append(str(error))
    raise DARError(f"none of the {len(others)} images of {data.source} that were tried can be read; first: {broken[0]}")
