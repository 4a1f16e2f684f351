"""Summaries of data sets, printed before a job starts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dar.data.found import LeftOut, counted_as, some
from dar.data.rows import Rows
from dar.errors import listed, quoted

SHOWN_CLASSES = 3


@dataclass(frozen=True)
class DataSummary:
    """Summary of what was found.

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
        """Describe the data set on one line, for people.

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
        """Convert the summary to JSON values."""
        return asdict(self)

    def _images(self) -> str:
        if self.images is not None:
            return counted_as(self.images, "image")
        return f"images, not counted, in {counted_as(self.files, 'file')}," if self.files else "images, not counted,"

    def _classes(self) -> str:
        if self.class_names is None:
            return " with labels"
        if not self.class_names:
            return " without classes"
        shown = ", ".join(map(quoted, self.class_names[:SHOWN_CLASSES]))
        more = ", …" if len(self.class_names) > SHOWN_CLASSES else ""
        return f" of {counted_as(len(self.class_names), 'class', 'classes')} ({shown}{more})"


def summary_of(
    rows: Rows, class_names: tuple[str, ...] | None, unlabelled: int | None, unseen: Sequence[str] = ()
) -> DataSummary:
    """Summary of what was found.

    Args:
        rows: of the set.
        class_names: one name a label; None where they are not known.
        unlabelled: images without a class; None where that is not known.
        unseen: classes that have a name, but no image.
    """
    found, rivals = rows.found, rows.columns.rivals
    empty = f"no images of {len(unseen):,} of the classes ({some(unseen)})"
    beside = f"no column is known for the class (others: {listed(rows.columns.others)}): choose one with --label-column"
    unsure = f"its classes may be any of the columns {', '.join(rivals)}: choose with --label-column"
    return DataSummary(
        source=found.name,
        kind=_kind(rows),
        split=found.split,
        images=rows.count,
        class_names=class_names,
        unlabelled=unlabelled,
        captions=rows.columns.caption is not None,
        files=len(found.files),
        left_out=found.left_out,
        notes=found.notes
        + ((unsure,) if rivals else ())
        + ((beside,) if rows.columns.others else ())
        + ((empty,) if unseen else ()),
    )


def _kind(rows: Rows) -> str:
    if rows.found.kind == "images":
        return "image folder" if rows.found.classes is None else "class folders"
    return {"parquet": "Parquet", "webdataset": "WebDataset", "hub": "Hub"}[rows.found.kind]
