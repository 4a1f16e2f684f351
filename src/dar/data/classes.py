"""Classes of a data set: from names or numbers to indices."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dar.checks import spelled_number
from dar.data.columns import Columns
from dar.data.found import Found
from dar.data.listing import CLASS_LISTS
from dar.errors import DARError, quoted
from dar.files import read_text
from dar.json_text import parse_json

UNLABELLED = -1
"""Stands for the class index of an image without a label."""

MAX_CLASSES = 100_000
"""Largest label of a column of classes; a column of larger numbers holds something else."""


@dataclass(frozen=True)
class Classes:
    """Classes of a data set.

    Attributes:
        names: one name an index; empty where there are no classes.
        by_name: whether the data say names rather than indices.
    """

    names: tuple[str, ...]
    by_name: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {name: i for i, name in enumerate(self.names)} if self.by_name else {})

    def index(self, value: Any, name: str) -> int:
        """Find the index of a class, ``UNLABELLED`` where there is none.

        Args:
            value: what the data say.
            name: of the image.

        Raises:
            DARError: if there is no such class.
        """
        if is_missing(value) or not self.names:
            return UNLABELLED
        if self.by_name and str(value) in self._places:  # type: ignore[attr-defined]
            return self._places[str(value)]  # type: ignore[attr-defined]
        if not self.by_name and is_whole(value) and int(value) < len(self.names):
            return int(value)
        raise DARError(
            f"{name} is of class {quoted(value)}, but only {len(self.names)} classes have names: add the others"
        )


def is_missing(value: Any) -> bool:
    """Tell whether a value means that an image has no class: it is empty, or below zero."""
    return value is None or value == "" or (is_whole(value) and int(value) < 0)


def is_whole(value: Any) -> bool:
    """Tell whether a value is a whole number, or the text of one."""
    return isinstance(value, int) or (isinstance(value, str) and spelled_number(value) is not None)


def classes_of(source: str, columns: Columns, distinct: Callable[[], Iterable[Any]]) -> Classes:
    """Find the classes of a data set.

    Args:
        source: what the user calls the data.
        columns: of the set.
        distinct: gives all values of the label's column; asked for only where names take reading them.

    Raises:
        DARError: if several columns may be the label, or a number is too large to be one.
    """
    if columns.rivals:
        raise DARError(
            f"{source} has several columns that may be the class, {', '.join(columns.rivals)}: "
            "choose one with --label-column"
        )
    if columns.label is None:
        return Classes(())
    if columns.label_names is not None and columns.labels_are == "indices":
        return Classes(columns.label_names)
    values = {value for value in distinct() if not (value is None or value == "")}
    as_indices = columns.labels_are == "indices" or (columns.labels_are == "either" and all(map(is_whole, values)))
    if columns.label_names is not None:
        return Classes(columns.label_names, by_name=not as_indices)
    if not as_indices:
        return Classes(tuple(sorted(map(str, values))), by_name=True)
    largest = max((int(value) for value in values), default=-1)
    if largest >= MAX_CLASSES:
        raise DARError(
            f"column {columns.label!r} of {source} has numbers up to {largest}, too large to count classes: "
            "choose another with --label-column"
        )
    return Classes(tuple(str(i) for i in range(largest + 1)))


def name_in(columns: Columns, row: Mapping[str, Any]) -> str | None:
    """Name an image's class from its own row alone; None where that has none."""
    value = None if columns.label is None else row[columns.label]
    names = columns.label_names or ()
    if value is None or is_missing(value):
        return None
    return names[int(value)] if value not in names and is_whole(value) and int(value) < len(names) else str(value)


def named_classes(found: Found) -> tuple[str, ...] | None:
    """Read names of classes from ``classes.json`` or ``classes.txt`` beside WebDataset shards, or None.

    Raises:
        DARError: if such a file cannot be understood.
    """
    if found.kind != "webdataset":
        return None
    folders = dict.fromkeys([*(file.parent for file in found.files), found.root])
    lists = (folder / name for folder in folders for name in CLASS_LISTS)
    beside = next((path for path in lists if path.is_file()), None)
    return None if beside is None else _read_names(beside)


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        text = read_text(path)
        names = parse_json(text) if path.suffix == ".json" else text.rstrip().splitlines()
    except DARError:
        raise
    except (OSError, ValueError) as error:
        raise DARError(f"the class names in {path} cannot be read ({error}): write them again") from error
    if not (isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)):
        raise DARError(f'{path} is not a list of names: write one like ["cat", "dog"]')
    if len(set(names)) < len(names):
        raise DARError(f"{path} names a class twice: give each class a name of its own")
    return tuple(names)
