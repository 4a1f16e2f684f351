"""Layouts of data sets: which files of a path to read, of which split, and each image's class by its folder.

docs/data.md has the table of all layouts. Nothing is decided by the place of a file among others: where several
readings are possible, the data are refused with a sentence that names them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dar.data.class_folders import class_of_each, notes_on, split_folders, wrapper_of
from dar.data.found import Found, LeftOut, Parts, counted_as, left_out, some
from dar.data.listing import KINDS, Listing, list_folder
from dar.data.splits import choose_split, split_called, splits_in
from dar.errors import DARError
from dar.locations import here

KIND_NAMES = {"images": "image", "parquet": "Parquet file", "webdataset": "tar file"}
"""Name of a file of each kind, in messages."""

PART_OF = re.compile(r"(\d+)-of-(\d+)")
"""Matches names of files that are parts of a whole, as ``train-00000-of-00002.parquet``."""


def locate(source: str | Path, split: str, holds_images: Callable[[Path], bool]) -> Found:
    """Find what to read at a path; anything else is a Hub id (see ``dar.locations``).

    Args:
        source: a path, or a Hub id.
        split: the split wanted, where there are several.
        holds_images: whether a Parquet file has a column of images.

    Raises:
        DARError: if there is nothing to read, or more than one way to read it.
    """
    name, path = str(source), here(source, "data set")
    if path is None:
        return Found(name, split, split, "hub", Path(name))
    if path.is_dir():
        return _in_folder(name, list_folder(path), split, holds_images)
    kind = KINDS.get(path.suffix.lower())
    if path.is_file() and kind in ("parquet", "webdataset"):
        return Found(name, split, None, kind, path.parent, (path,))
    raise DARError(
        f"{name} is not a data set: give a folder of images, a Parquet file, WebDataset shards (.tar) or a Hub id"
    )


def _in_folder(name: str, listing: Listing, split: str, holds_images: Callable[[Path], bool]) -> Found:
    listing = _without_tables_beside(listing, holds_images)
    kinds = [kind for kind in KIND_NAMES if listing.files.get(kind)]
    if len(kinds) > 1:
        of_kinds = {kind: listing.files[kind] for kind in kinds}
        counted = [f"{counted_as(len(files), KIND_NAMES[kind])} ({_some(files)})" for kind, files in of_kinds.items()]
        raise DARError(f"{name} holds both {' and '.join(counted)}: name what is meant, or move the others away")
    if not kinds:
        also = f", only {', '.join(map(str, listing.left_out))}" if listing.left_out else ""
        raise DARError(f"{name} holds no images{also}: give a folder with a subfolder of images for each class")
    return _image_folder(name, listing, split) if kinds == ["images"] else _shards(name, listing, kinds[0], split)


def _some(files: Sequence[Parts]) -> str:
    return some("/".join(file) for file in files)


def _without_tables_beside(listing: Listing, holds_images: Callable[[Path], bool]) -> Listing:
    """Leave out Parquet files without images where there are others: they are tables about these."""
    tables = listing.files.get("parquet", [])
    bare = {table for table in tables if not holds_images(listing.root.joinpath(*table))}
    if not bare or (len(bare) == len(tables) and len(listing.files) == 1):
        return listing
    files = listing.files | {"parquet": [table for table in tables if table not in bare]}
    skipped = left_out("table without images", "tables without images", bare)
    return replace(listing, files=files, left_out=listing.left_out + skipped)


@dataclass
class _Narrowed:
    """Image files of a folder, while it is narrowed down to the one that the classes are in."""

    folder: Parts
    files: list[Parts]
    split: str | None = None
    skipped: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def below(self) -> list[Parts]:
        """List the files' paths below the folder."""
        return [file[len(self.folder) :] for file in self.files]

    def enter(self, name: str) -> None:
        self.folder = (*self.folder, name)
        self.files = [file for file in self.files if file[: len(self.folder)] == self.folder]


def _image_folder(name: str, listing: Listing, split: str) -> Found:
    """Find loose images or class folders, perhaps within folders of splits and folders that hold nothing else."""
    found = _Narrowed((), listing.files["images"])
    _enter_wrappers(found)
    _enter_split(found, name, split)
    _enter_wrappers(found)
    classes = class_of_each(name, found.below)
    notes = found.notes + (() if classes is None else notes_on(found.below, classes))
    return Found(
        name,
        split,
        found.split,
        "images",
        listing.root.joinpath(*found.folder),
        tuple(listing.root.joinpath(*file) for file in found.files),
        None if classes is None else tuple(classes),
        tuple(listing.root.joinpath(*file) for file in listing.metadata),
        listing.left_out + found.skipped,
        notes + _empty_folders(found, listing.folders),
    )


def _enter_wrappers(found: _Narrowed) -> None:
    while (wrapper := wrapper_of(found.below)) is not None:
        found.enter(wrapper)


def _enter_split(found: _Narrowed, name: str, split: str) -> None:
    there = split_folders(name, found.below)
    if there is None:
        return
    found.split, found.notes = choose_split(name, split, there)
    before = found.files
    found.enter(there[found.split])
    others = set(before) - set(found.files)
    found.skipped = left_out("image of another split", "images of other splits", others)


def _empty_folders(found: _Narrowed, folders: Sequence[Parts]) -> tuple[str, ...]:
    """Note folders beside the class folders that hold no images."""
    depth = len(found.folder) + 1
    used = {file[:depth] for file in found.files if len(file) > depth}
    empty = [one[-1] for one in folders if len(one) == depth and one[:-1] == found.folder and one not in used]
    return (f"no images in the folder{'s' if len(empty) > 1 else ''} {some(empty)}",) if empty and used else ()


def _shards(name: str, listing: Listing, kind: str, split: str) -> Found:
    """Find Parquet files or tars; where words of their paths name splits, those of one split."""
    of_splits: dict[str, list[Parts]] = {}
    unnamed: list[Parts] = []
    for file in listing.files[kind]:
        named = _split_of(name, file)
        (unnamed if named is None else of_splits.setdefault(named, [])).append(file)
    if not of_splits:
        paths = tuple(listing.root.joinpath(*file) for file in unnamed)
        notes = _missing_parts(unnamed)
        return Found(name, split, None, kind, listing.root, paths, left_out=listing.left_out, notes=notes)
    there = f"{name} (of which {_some(unnamed)} names no split)" if unnamed else name
    chosen, notes = choose_split(there, split, of_splits)
    others = [file for other, files in of_splits.items() if other != chosen for file in files]
    skipped = left_out("file of another split", "files of other splits", others)
    skipped += left_out("file that names no split", "files that name no split", unnamed)
    _refuse_configurations(name, of_splits[chosen])
    notes += _missing_parts(of_splits[chosen])
    paths = tuple(listing.root.joinpath(*file) for file in of_splits[chosen])
    return Found(name, split, chosen, kind, listing.root, paths, left_out=listing.left_out + skipped, notes=notes)


def _split_of(name: str, file: Parts) -> str | None:
    named = {split for part in file for split in splits_in(part)}
    if len(named) > 1:
        raise DARError(
            f"{'/'.join(file)} in {name} bears the names of several splits, {' and '.join(sorted(named))}: "
            "name the files or the folder that is meant, or rename it"
        )
    return next(iter(named), None)


def _refuse_configurations(name: str, files: Sequence[Parts]) -> None:
    """Refuse splits in several folders: they are several configurations, as on the Hub, and not one data set.

    They are recognised by folders of splits, or by the same part of a whole in several folders.
    """
    above = {file[:i] for file in files for i, part in enumerate(file[:-1]) if split_called(part)}
    places: dict[str, set[Parts]] = {}
    for file in files:
        if PART_OF.search(file[-1]):
            places.setdefault(file[-1], set()).add(file[:-1])
    several = next((folders for folders in (above, *places.values()) if len(folders) > 1), None)
    if several is not None:
        folders = ["/".join(folder) or "." for folder in several]
        raise DARError(f"{name} holds several sets of splits, in {some(folders)}: name the one that is meant")


def _missing_parts(files: Sequence[Parts]) -> tuple[str, ...]:
    """Note files that are missing, as names of others such as ``train-00000-of-00002`` show."""
    there: dict[tuple[str, int], set[int]] = {}
    for file in files:
        if part := PART_OF.search(file[-1]):
            there.setdefault((file[-1][: part.start()], int(part[2])), set()).add(int(part[1]))
    missing = sum(max(0, count - len(parts)) for (_, count), parts in there.items())
    return (
        (f"{counted_as(missing, 'file is', 'files are')} missing of those that their names count",) if missing else ()
    )
