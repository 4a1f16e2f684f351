"""Where labelled images come from: a folder, Parquet files, WebDataset shards or the Hub, all through ``datasets``.

WebDataset shards are tar files in which the members ``0001.jpg`` (or png, webp, jpeg) and ``0001.cls`` (a whole number)
are one example. Their classes are called "0", "1", ... unless ``classes.txt`` (one name a line) or ``classes.json`` (a
list of names) lies beside the shards.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dar.errors import DARError
from dar.image_files import image_files

SPLITS = ("train", "validation", "test")
BUILDERS = {".parquet": "parquet", ".tar": "webdataset"}
FOLDER_SHARDS = 1024
CLASS_KEY = "cls"


@dataclass(frozen=True)
class Source:
    """A place where images are.

    Attributes:
        name: as the user gave it: a path, or a Hub id.
        split: which split.
        builder: "images" for a folder of pictures, "parquet", "webdataset", or "hub".
        root: the folder that the files are in.
        files: the files, in order; none for the Hub.
    """

    name: str
    split: str
    builder: str
    root: Path
    files: tuple[Path, ...] = ()

    def rows(self) -> Any:
        """All rows as a ``datasets.Dataset``; images are left undecoded.

        Raises:
            DARError: if they cannot be opened.
        """
        return self._opened(streaming=False)

    def streamed_rows(self) -> Any:
        """All rows as a ``datasets.IterableDataset``, read as one goes; images are left undecoded.

        Raises:
            DARError: if they cannot be opened.
        """
        return self._opened(streaming=True)

    def _opened(self, *, streaming: bool) -> Any:
        import datasets

        datasets.disable_progress_bars()
        with_streaming = {"streaming": True} if streaming else {}

        def load() -> Any:
            if self.builder == "images":
                rows = _folder_rows(self.root, self.files)
                return rows.to_iterable_dataset(min(len(rows), FOLDER_SHARDS)) if streaming else rows
            if self.builder == "hub":
                return datasets.load_dataset(self.name, split=self.split, **with_streaming)
            files = [str(file) for file in self.files]
            return datasets.load_dataset(self.builder, data_files=files, split="train", **with_streaming)

        return _as_bytes(self.told(load))

    def told(self, action: Callable[[], Any]) -> Any:
        """The action's result; whatever ``datasets`` raises becomes a DARError."""
        try:
            return action()
        except DARError:
            raise
        except Exception as error:  # datasets raises whatever its readers and the network raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DARError(
                f"{self.name} cannot be opened as a data set ({reason}): check the path or Hub id"
            ) from error

    @property
    def fingerprint(self) -> str:
        """Changes when the data changes: names, sizes and times of files, or the revision on the Hub."""
        if self.builder == "hub":
            import datasets

            state: Any = self.told(lambda: datasets.load_dataset_builder(self.name).hash)
        else:
            stats = [(file.relative_to(self.root).as_posix(), file.stat()) for file in self.files]
            state = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        return hashlib.sha256(repr((self.builder, self.split, state)).encode()).hexdigest()

    def named_classes(self) -> tuple[str, ...] | None:
        """Names from ``classes.txt`` or ``classes.json`` beside WebDataset shards, or None.

        Raises:
            DARError: if such a file cannot be understood.
        """
        if self.builder != "webdataset":
            return None
        listed, lines = self.root / "classes.json", self.root / "classes.txt"
        try:
            if listed.is_file():
                names = json.loads(listed.read_text(encoding="utf-8"))
            elif lines.is_file():
                names = lines.read_text(encoding="utf-8").splitlines()
            else:
                return None
        except (OSError, ValueError) as error:
            raise DARError(f"the class names beside {self.name} cannot be read ({error}): write them again") from error
        if not (isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)):
            raise DARError(f'{listed} is not a list of names: write one like ["cat", "dog"]')
        return tuple(names)


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
        return Columns(image, CLASS_KEY, shard, source.named_classes())
    return Columns(image, None, shard, ())


def locate(source: str | Path, split: str = "train") -> Source:
    """Find out what kind of source a path or Hub id is.

    Raises:
        DARError: if it is none, or has nothing of the split.
    """
    name, path = str(source), Path(source)
    if path.is_file() and path.suffix in BUILDERS:
        return Source(name, split, BUILDERS[path.suffix], path.parent, (path,))
    if path.is_dir():
        for ending, builder in BUILDERS.items():
            if files := _files_of_split(path, ending, split):
                return Source(name, split, builder, path, files)
        return Source(name, split, "images", path, _pictures(path))
    if path.exists():
        raise DARError(
            f"{name} is not a data set: give a folder of images, a Parquet file, WebDataset shards (.tar) or a Hub id"
        )
    return Source(name, split, "hub", path)


def _files_of_split(folder: Path, ending: str, split: str) -> tuple[Path, ...]:
    """The folder's files of one kind; where names tell splits apart, those of ``split`` alone."""
    files = sorted(file for file in folder.rglob(f"*{ending}") if file.is_file())
    splits = {name: tuple(file for file in files if name in file.stem.lower()) for name in SPLITS}
    named = {name: found for name, found in splits.items() if found}
    if not named:
        return tuple(files)
    if split == "validation" and split not in named and "test" in named:
        split = "test"
    if split not in named:
        raise DARError(f"{folder} has {ending} files of {', '.join(named)}, none of {split}: name the file itself")
    return named[split]


def _pictures(folder: Path) -> tuple[Path, ...]:
    files = image_files(folder)
    if not files:
        raise DARError(f"{folder} holds no images: give a folder with a subfolder of images for each class")
    loose = [file for file in files if file.parent == folder]
    if loose and len(loose) < len(files):
        raise DARError(f"{folder} mixes class folders with loose images such as {loose[0].name}: move these away")
    return tuple(files)


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
