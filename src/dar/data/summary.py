"""From opened rows to what is said of them before anything is spent."""

from collections.abc import Sequence

from dar.data.found import DataSummary, some
from dar.data.rows import Rows


def summary_of(
    rows: Rows, class_names: tuple[str, ...] | None, unlabelled: int | None, unseen: Sequence[str] = ()
) -> DataSummary:
    """What was found.

    Args:
        rows: of the set.
        class_names: one name a label; None where they are not known.
        unlabelled: images without a class; None where that is not known.
        unseen: classes that have a name, but no image.
    """
    found, rivals = rows.found, rows.columns.rivals
    empty = f"no images of {len(unseen):,} of the classes ({some(unseen)})"
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
        notes=found.notes + ((unsure,) if rivals else ()) + ((empty,) if unseen else ()),
    )


def _kind(rows: Rows) -> str:
    if rows.found.kind == "images":
        return "image folder" if rows.found.classes is None else "class folders"
    return {"parquet": "Parquet", "webdataset": "WebDataset", "hub": "Hub"}[rows.found.kind]
