"""The part that indexed and streamed images have in common: the opened source, its classes, its fingerprint."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from dar.data.classes import Classes, classes_of
from dar.data.rows import fingerprint, open_rows


class OpenedImages(ABC):
    """Labelled images of an opened source; arguments and errors are those of ``open_images``.

    Attributes:
        source: what the user calls it.
    """

    def __init__(
        self, source: str | Path, split: str, image_column: str, label_column: str, *, streaming: bool
    ) -> None:
        self.source, self._chosen = str(source), (image_column, label_column)
        self._rows = open_rows(source, split, streaming=streaming, image_column=image_column, label_column=label_column)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a label; empty where the images have no labels. Bare labels take a pass through streamed data.

        Raises:
            DARError: if it is not clear which column is the class.
        """
        return self._classes.names

    @property
    def fingerprint(self) -> str:
        """A digest that changes when the data changes."""
        return fingerprint(self._rows.found, *self._chosen)

    @cached_property
    def _classes(self) -> Classes:
        return classes_of(self.source, self._rows.columns, self._label_values)

    @abstractmethod
    def _label_values(self) -> Iterable[Any]:
        """List the values in the column of labels, each at least once."""
