"""Which columns of a data set hold images and labels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dar.data.layouts import Source, named_classes
from dar.errors import DARError

CLASS_KEY = "cls"


@dataclass(frozen=True)
class Columns:
    """Which columns of a source's rows say what.

    Attributes:
        image: the undecoded image.
        label: the class index, or None where there are no classes.
        shard: the file that a row came from, or None.
        names: the classes' names where they are known without reading the data.
    """

    image: str
    label: str | None
    shard: str | None
    names: tuple[str, ...] | None

    @property
    def wanted(self) -> list[str]:
        """All of the columns that are ever read."""
        return [name for name in (self.image, self.label, self.shard) if name is not None]


def columns_of(source: Source, features: Any) -> Columns:
    """Find the columns; the label is a ClassLabel, or WebDataset's ``cls``.

    Raises:
        DARError: if there is no column of images.
    """
    image = next((name for name, kind in features.items() if type(kind).__name__ == "Image"), None)
    if image is None:
        raise DARError(f"{source.name} has no column of images; its columns are {', '.join(features)}")
    shard = "__url__" if "__url__" in features else None
    label = next((name for name, kind in features.items() if type(kind).__name__ == "ClassLabel"), None)
    if label is not None:
        return Columns(image, label, shard, tuple(features[label].names))
    if "int" in str(getattr(features.get(CLASS_KEY), "dtype", "")):
        return Columns(image, CLASS_KEY, shard, named_classes(source))
    return Columns(image, None, shard, ())


def decimal_names(labels: Iterable[Any]) -> tuple[str, ...]:
    """Names of classes that are just numbers: "0", "1" and so on up to the largest label."""
    known = [int(label) for label in labels if label is not None]
    return tuple(str(i) for i in range(max(known, default=-1) + 1))
