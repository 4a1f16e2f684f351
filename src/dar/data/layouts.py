"""What is found at a path: a folder of images, Parquet files, or WebDataset shards; anything else is a Hub id.

WebDataset shards are tar files in which the members ``0001.jpg`` (or png, webp, jpeg) and ``0001.cls`` (a whole number)
are one example. Their classes are called "0", "1", ... unless ``classes.txt`` (one name a line) or ``classes.json`` (a
list of names) lies beside the shards.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from dar.errors import DARError
from dar.images import FORMATS

SPLITS = ("train", "validation", "test")
BUILDERS = {".parquet": "parquet", ".tar": "webdataset"}


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


def named_classes(source: Source) -> tuple[str, ...] | None:
    """Names from ``classes.txt`` or ``classes.json`` beside WebDataset shards, or None.

    Raises:
        DARError: if such a file cannot be understood.
    """
    if source.builder != "webdataset":
        return None
    listed, lines = source.root / "classes.json", source.root / "classes.txt"
    try:
        if listed.is_file():
            names = json.loads(listed.read_text(encoding="utf-8"))
        elif lines.is_file():
            names = lines.read_text(encoding="utf-8").splitlines()
        else:
            return None
    except (OSError, ValueError) as error:
        raise DARError(f"the class names beside {source.name} cannot be read ({error}): write them again") from error
    if not (isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)):
        raise DARError(f'{listed} is not a list of names: write one like ["cat", "dog"]')
    return tuple(names)


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
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in FORMATS and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not files:
        raise DARError(f"{folder} holds no images: give a folder with a subfolder of images for each class")
    loose = [file for file in files if file.parent == folder]
    if loose and len(loose) < len(files):
        raise DARError(f"{folder} mixes class folders with loose images such as {loose[0].name}: move these away")
    return tuple(files)
