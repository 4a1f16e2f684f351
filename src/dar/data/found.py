"""Files found at a path: those to read, and a summary of the others."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from dar.errors import quoted

MAX_EXAMPLES = 3

Parts = tuple[str, ...]
"""A path below a folder, name by name."""


@dataclass(frozen=True)
class LeftOut:
    """Files of one kind that are not read.

    Attributes:
        count: how many.
        what: what they are, in words that fit the count.
        examples: paths of the first few, below the folder given.
    """

    count: int
    what: str
    examples: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        return f"{self.count:,} {self.what} ({', '.join(map(quoted, self.examples))}{more})"


def left_out(singular: str, plural: str, paths: Collection[Parts]) -> tuple[LeftOut, ...]:
    """Describe files that are not read; empty where there are none."""
    if not paths:
        return ()
    examples = tuple("/".join(path) for path in sorted(paths)[:MAX_EXAMPLES])
    return (LeftOut(len(paths), singular if len(paths) == 1 else plural, examples),)


def counted_as(count: int, singular: str, plural: str | None = None) -> str:
    """Write a count of things in words.

    >>> counted_as(1, "image"), counted_as(1200, "class", "classes")
    ('1 image', '1,200 classes')
    """
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def some(names: Iterable[str]) -> str:
    """List the first few of some names."""
    ordered = sorted(names)
    return ", ".join(map(quoted, ordered[:MAX_EXAMPLES])) + (", …" if len(ordered) > MAX_EXAMPLES else "")


@dataclass(frozen=True)
class Found:
    """Files to read.

    Attributes:
        name: what the user calls it: a path, or a Hub id.
        wanted: the split asked for.
        split: the split that was found; None where nothing names splits.
        kind: "images" for a folder of pictures, "parquet", "webdataset", or "hub".
        root: the folder that the files are in.
        files: the files, in order; none for the Hub.
        classes: the class of each image file; None where folders are no classes.
        metadata: files that may hold captions of image files.
        left_out: what is not read.
        notes: what else the user should know.
    """

    name: str
    wanted: str
    split: str | None
    kind: str
    root: Path
    files: tuple[Path, ...] = ()
    classes: tuple[str, ...] | None = None
    metadata: tuple[Path, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
