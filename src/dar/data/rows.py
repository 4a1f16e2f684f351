"""From a found source to rows of ``datasets``, with images undecoded."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dar.data.layouts import Source
from dar.errors import DARError

FOLDER_SHARDS = 1024


def indexed_rows(source: Source) -> Any:
    """All rows as a ``datasets.Dataset``.

    Raises:
        DARError: if they cannot be opened.
    """
    return _opened(source, streaming=False)


def streamed_rows(source: Source) -> Any:
    """All rows as a ``datasets.IterableDataset``, read as one goes.

    Raises:
        DARError: if they cannot be opened.
    """
    return _opened(source, streaming=True)


def _opened(source: Source, *, streaming: bool) -> Any:
    import datasets

    datasets.disable_progress_bars()
    with_streaming = {"streaming": True} if streaming else {}

    def load() -> Any:
        if source.builder == "images":
            rows = _folder_rows(source.root, source.files)
            return rows.to_iterable_dataset(min(len(rows), FOLDER_SHARDS)) if streaming else rows
        if source.builder == "hub":
            return datasets.load_dataset(source.name, split=source.split, **with_streaming)
        files = [str(file) for file in source.files]
        return datasets.load_dataset(source.builder, data_files=files, split="train", **with_streaming)

    return _as_bytes(told(source, load))


def told(source: Source, action: Callable[[], Any]) -> Any:
    """The action's result; whatever ``datasets`` raises becomes a DARError."""
    try:
        return action()
    except DARError:
        raise
    except Exception as error:  # datasets raises whatever its readers and the network raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DARError(f"{source.name} cannot be opened as a data set ({reason}): check the path or Hub id") from error


def fingerprint(source: Source) -> str:
    """Changes when the data changes: names, sizes and times of files, or the revision on the Hub."""
    if source.builder == "hub":
        import datasets

        state: Any = told(source, lambda: datasets.load_dataset_builder(source.name).hash)
    else:
        stats = [(file.relative_to(source.root).as_posix(), file.stat()) for file in source.files]
        state = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(repr((source.builder, source.split, state)).encode()).hexdigest()


def _folder_rows(folder: Path, files: tuple[Path, ...]) -> Any:
    """Images of a folder; the names of its subfolders are the classes, whatever they are."""
    import datasets

    columns: dict[str, Any] = {"image": [{"path": str(file), "bytes": None} for file in files]}
    features: dict[str, Any] = {"image": datasets.Image(decode=False)}
    if files[0].parent != folder:
        labels = [file.relative_to(folder).parts[0] for file in files]
        columns["label"], features["label"] = labels, datasets.ClassLabel(names=sorted(set(labels)))
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def _as_bytes(rows: Any) -> Any:
    """Let image columns give undecoded bytes, so that one broken image is met alone, and by us."""
    import datasets

    if rows.features is None:
        rows = rows._resolve_features()
    for name, kind in rows.features.items():
        if isinstance(kind, datasets.Image) or (isinstance(kind, dict) and "bytes" in kind):
            rows = rows.cast_column(name, datasets.Image(decode=False))
    return rows
