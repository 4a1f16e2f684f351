"""Rows of ``datasets``, images undecoded, from found files: the one way that all data take."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from dar.data.captions import captions_of
from dar.data.classes import named_classes
from dar.data.columns import Columns, columns_of, image_columns, label_columns, meaning
from dar.data.failures import guarded
from dar.data.found import Found
from dar.data.layouts import locate
from dar.errors import DARError
from dar.locations import on_hub, unreachable

T = TypeVar("T")

FOLDER_SHARDS = 1024

TAR_BATCH = 100
"""Number of samples in memory while tars are prepared."""

CACHE_VERSION = 2
"""Version of the rows that are kept in the cache of ``datasets``; to be raised when they change."""


@dataclass(frozen=True)
class Rows:
    """Rows of a data set, and what is known of them.

    Attributes:
        found: where they are from.
        columns: which of their columns say what.
        table: a ``datasets.Dataset``, or an ``IterableDataset``.
        count: how many there are, or None where that takes a pass through the data.
    """

    found: Found
    columns: Columns
    table: Any
    count: int | None

    def guarded(self, action: Callable[[], T]) -> T:
        """Run an action; whatever ``datasets`` raises becomes a DARError."""
        return guarded(self.found.name, action)


def open_rows(
    source: str | Path, split: str = "train", *, streaming: bool, image_column: str = "", label_column: str = ""
) -> Rows:
    """Find a data set and open it.

    Args:
        source: see ``dar.data.open_images``.
        split: see ``dar.data.open_images``.
        streaming: whether rows are read as one goes, rather than prepared on the disk first.
        image_column: the column of images, or ending in tars; empty finds it.
        label_column: the column of labels, or ending in tars; empty finds it.

    Raises:
        DARError: if there is no such source, it holds no images, or there is more than one way to read it.
    """
    import datasets

    datasets.disable_progress_bars()
    footers = _Footers(image_column)
    found = locate(source, split, footers.holds_images)
    if found.kind == "images" and (image_column or label_column):
        raise DARError(
            f"{found.name} is a folder of images, without columns: leave --image-column and --label-column out"
        )
    if found.kind == "images":
        rows = _of_images(found, streaming)
    elif found.kind == "parquet":
        rows = _of_parquet(found, footers, streaming, image_column, label_column)
    elif found.kind == "webdataset":
        rows = _of_tars(found, streaming, image_column, label_column)
    else:
        rows = _of_hub(found, streaming, image_column, label_column)
    return replace(rows, table=_undecoded(rows.table, rows.columns))


def fingerprint(found: Found, *chosen: str) -> str:
    """Hash names, sizes and times of files, or the revision on the Hub, and the chosen columns."""
    if found.kind == "hub":
        import datasets

        with _hub_at_hand(found.name):
            state: Any = guarded(found.name, lambda: datasets.load_dataset_builder(found.name).hash)
    else:
        stats = [(file.relative_to(found.root).as_posix(), file.stat()) for file in found.files]
        state = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    columns = (chosen,) if any(chosen) else ()
    return hashlib.sha256(repr((found.kind, found.wanted, state, *columns)).encode()).hexdigest()


def _of_images(found: Found, streaming: bool) -> Rows:
    """Make rows of the files' paths; images are read when they are asked for."""
    import datasets

    columns: dict[str, Any] = {"image": [{"path": str(file), "bytes": None} for file in found.files]}
    features: dict[str, Any] = {"image": datasets.Image(decode=False)}
    names = None
    if found.classes is not None:
        names = tuple(sorted(set(found.classes)))
        columns["label"], features["label"] = found.classes, datasets.ClassLabel(names=list(names))
    captions, notes = captions_of(found.files, found.metadata)
    found = replace(found, notes=found.notes + notes)
    if captions is not None:
        columns["caption"], features["caption"] = captions, datasets.Value("string")
    table: Any = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    if streaming:
        table = table.to_iterable_dataset(min(len(table), FOLDER_SHARDS))
    caption, label = ("caption" if captions is not None else None), (None if names is None else "label")
    return Rows(found, Columns("image", label, names, caption=caption), table, len(found.files))


class _Footers:
    """The footers of Parquet files, each read once."""

    def __init__(self, image_column: str) -> None:
        self.image_column = image_column
        self.read: dict[Path, Any] = {}

    def of(self, path: Path) -> Any:
        from dar.data.parquet import read_footer

        if path not in self.read:
            self.read[path] = read_footer(path)
        return self.read[path]

    def holds_images(self, path: Path) -> bool:
        """Tell whether a file has a column of images."""
        features = self.of(path).features
        return self.image_column in features if self.image_column else bool(image_columns(features))


def _of_parquet(found: Found, footers: _Footers, streaming: bool, image_column: str, label_column: str) -> Rows:
    from dar.data.parquet import ParquetRows

    of_files = [footers.of(file) for file in found.files]
    first = of_files[0].features
    columns = columns_of(found.name, first, image_column, label_column)
    if not (count := sum(footer.rows for footer in of_files)):
        raise DARError(f"{found.name} holds no images, since its tables have no rows: check the path")
    for footer in of_files[1:]:
        for name in [*columns.wanted, *([] if columns.label else label_columns(footer.features))]:
            if meaning(footer.features.get(name)) != meaning(first.get(name)):
                raise DARError(
                    f"column {name!r} of {footer.path} is not as in {found.files[0]} (it is missing, of another type "
                    "or with other class names): give files of one kind"
                )
    import datasets

    features = datasets.Features({name: first[name] for name in columns.wanted})
    files, key = [str(file) for file in found.files], _cache_key(found, *columns.wanted)

    def load() -> Any:
        builder = ParquetRows(config_name="default", config_id=f"default-{key}", files=files, features=features)
        if streaming:
            return builder.as_streaming_dataset(split="train")
        builder.download_and_prepare()
        return builder.as_dataset(split="train")

    return Rows(found, columns, guarded(found.name, load), count)


def _of_tars(found: Found, streaming: bool, image_column: str, label_column: str) -> Rows:
    import datasets

    from dar.data.tars import first_rows, tar_rows

    first = first_rows(found.name, found.files, image_column, label_column)
    texts = {name: datasets.Value("string") for name in ("label", "caption", "shard")}
    features = datasets.Features({"image": datasets.Image(decode=False), **texts})
    files = [str(file) for file in found.files]
    arguments = {"files": files, "image_column": image_column, "label_column": label_column}

    def load() -> Any:
        if streaming:
            return datasets.IterableDataset.from_generator(tar_rows, features=features, gen_kwargs=arguments)
        key = _cache_key(found, image_column, label_column)
        return datasets.Dataset.from_generator(
            tar_rows, features=features, gen_kwargs=arguments, fingerprint=key, writer_batch_size=TAR_BATCH
        )

    table = guarded(found.name, load)
    count = None if streaming else len(table)
    said = {name: _says(first if streaming else table, name) for name in ("label", "caption")}
    label, caption = ("label" if said["label"] else None), ("caption" if said["caption"] else None)
    columns = Columns("image", label, named_classes(found), "either", caption=caption, shard="shard")
    return Rows(found, columns, table, count)


def _says(rows: Any, name: str) -> bool:
    """Tell whether some row has a value in a column."""
    if isinstance(rows, list):
        return any(row[name] is not None for row in rows)
    return any(value is not None for value in rows.unique(name))


def _of_hub(found: Found, streaming: bool, image_column: str, label_column: str) -> Rows:
    import datasets

    with_streaming = {"streaming": True} if streaming else {}

    def load() -> Any:
        table = datasets.load_dataset(found.name, split=found.split, **with_streaming)
        return table if table.features is not None else table._resolve_features()

    with _hub_at_hand(found.name):
        table = guarded(found.name, load)
    columns = columns_of(found.name, table.features, image_column, label_column)
    return Rows(found, columns, table, None if streaming else len(table))


@contextmanager
def _hub_at_hand(name: str) -> Iterator[None]:
    """Ask the Hub for a set; if it cannot be reached, let ``datasets`` look only at what it has kept of it.

    Left alone, it would ask many times, for half a minute.
    """
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or not on_hub(name, "dataset", "data set")
    try:
        yield
    except DARError as error:
        if datasets.config.HF_HUB_OFFLINE and isinstance(error.__cause__, ConnectionError | FileNotFoundError):
            raise unreachable(name, "data set") from error
        raise
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _cache_key(found: Found, *columns: str) -> str:
    """Name a cache entry by the data, their place, and what is taken of them."""
    content = (CACHE_VERSION, fingerprint(found), [str(file.resolve()) for file in found.files], columns)
    return hashlib.sha256(repr(content).encode()).hexdigest()[:32]


def _undecoded(table: Any, columns: Columns) -> Any:
    """Let the image column give undecoded bytes, so that one broken image does not fail its neighbours."""
    import datasets

    return table.select_columns(columns.wanted).cast_column(columns.image, datasets.Image(decode=False))
