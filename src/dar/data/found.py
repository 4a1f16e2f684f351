"""What was found at a path, and the sentence that says so."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from dar.errors import quoted

EXAMPLES = 3
SHOWN_CLASSES = 3

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
    """An account of files that are not read; empty where there are none."""
    if not paths:
        return ()
    examples = tuple("/".join(path) for path in sorted(paths)[:EXAMPLES])
    return (LeftOut(len(paths), singular if len(paths) == 1 else plural, examples),)


@dataclass(frozen=True)
class DataSummary:
    """What was found.

    Attributes:
        source: what the user calls the data.
        kind: "image folder", "class folders", "Parquet", "WebDataset" or "Hub".
        split: which split is read; None where the data have none.
        images: how many; None where that takes a pass through the data.
        class_names: one name a label; empty where there are no classes, None where these take a pass through the data.
        unlabelled: images without a class, in data that have classes; None where that takes a pass through the data.
        captions: whether there are captions.
        files: how many files are read; 0 for the Hub.
        left_out: what is not read.
        notes: what else the user should know.
    """

    source: str
    kind: str
    split: str | None
    images: int | None
    class_names: tuple[str, ...] | None
    unlabelled: int | None
    captions: bool
    files: int
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """All of it on one line, for people.

        >>> DataSummary("photos", "class folders", "train", 1200, ("cat", "dog"), 0, False, 1200).sentence()
        'photos: 1,200 images of 2 classes (cat, dog), split train'
        """
        known = [f"{self.source}: {self._images()}{self._classes()}"]
        known += [f"{self.unlabelled:,} of them without a class"] if self.unlabelled else []
        known += ["with captions"] if self.captions else []
        known += [f"split {self.split}"] if self.split else []
        skipped = ["left out: " + ", ".join(map(str, self.left_out))] if self.left_out else []
        return "; ".join([", ".join(known), *skipped, *self.notes])

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        return asdict(self)

    def _images(self) -> str:
        if self.images is not None:
            return "1 image" if self.images == 1 else f"{self.images:,} images"
        return f"images, uncounted, in {_counted(self.files, 'file')}" if self.files else "images, uncounted,"

    def _classes(self) -> str:
        if self.class_names is None:
            return " with labels"
        if not self.class_names:
            return " without classes"
        shown = ", ".join(map(quoted, self.class_names[:SHOWN_CLASSES]))
        more = ", …" if len(self.class_names) > SHOWN_CLASSES else ""
        return f" of {_counted(len(self.class_names), 'class', 'classes')} ({shown}{more})"


def _counted(count: int, singular: str, plural: str | None = None) -> str:
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def some(names: Iterable[str]) -> str:
    """The first few of some names."""
    ordered = sorted(names)
    return ", ".join(map(quoted, ordered[:EXAMPLES])) + (", …" if len(ordered) > EXAMPLES else "")
