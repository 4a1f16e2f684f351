"""Listing of a folder in one pass that asks as little of the disk as possible."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dar.data.found import LeftOut, Parts, left_out
from dar.errors import DARError
from dar.image_files import IMAGE_ENDINGS, OTHER_ENDINGS

KINDS = {".parquet": "parquet", ".tar": "webdataset"} | dict.fromkeys(IMAGE_ENDINGS, "images")
"""Kinds of data by the ending of a file, in small letters."""

METADATA = ("metadata.jsonl", "metadata.csv")
"""Files that may hold captions of the images beside them."""

CLASS_LISTS = ("classes.json", "classes.txt")
"""Files that may hold the names of WebDataset's classes, the first there is."""

IGNORED = ("__MACOSX",)
"""Folders that unpacking leaves behind; like hidden files and folders they are passed over without a word."""

_UNREAD = (
    "picture of a kind that is not read, to be converted to PNG or JPEG",
    "pictures of kinds that are not read, to be converted to PNG or JPEG",
)
_LOOP = ("link that leads in a circle", "links that lead in circles")
_NO_FILE = ("broken link, pipe or device", "broken links, pipes or devices")
_NO_TEXT = ("name that is not UTF-8", "names that are not UTF-8")
_OTHER = ("other file", "other files")


@dataclass(frozen=True)
class Listing:
    """Files in a folder and below it, without hidden ones.

    Attributes:
        root: the folder.
        files: by kind, "images", "parquet" or "webdataset": paths below the folder, sorted.
        metadata: files of ``METADATA``.
        folders: all folders below it.
        left_out: what is of no kind.
    """

    root: Path
    files: dict[str, list[Parts]]
    metadata: list[Parts]
    folders: list[Parts]
    left_out: tuple[LeftOut, ...]


@dataclass
class _Pass:
    """Collects what a pass finds."""

    files: dict[str, list[Parts]] = field(default_factory=dict)
    metadata: list[Parts] = field(default_factory=list)
    folders: list[Parts] = field(default_factory=list)
    skipped: dict[tuple[str, str], list[Parts]] = field(default_factory=dict)

    def add(self, path: Parts, entry: "os.DirEntry[str]") -> None:
        """Sort a file by its kind."""
        ending = Path(entry.name).suffix.lower()
        if not _is_file(entry):
            self.skip(_NO_FILE, path)
        elif not _is_text(entry.name):
            self.skip(_NO_TEXT, path)
        elif ending in KINDS:
            self.files.setdefault(KINDS[ending], []).append(path)
        elif entry.name in METADATA:
            self.metadata.append(path)
        elif entry.name not in CLASS_LISTS:
            self.skip(_UNREAD if ending in OTHER_ENDINGS else _OTHER, path)

    def skip(self, reason: tuple[str, str], path: Parts) -> None:
        self.skipped.setdefault(reason, []).append(tuple(map(_readable, path)))


def list_folder(root: Path) -> Listing:
    """List a folder and all below it. Links to folders are followed, but not in circles.

    Raises:
        DARError: if a folder cannot be opened.
    """
    found = _Pass()
    real = os.path.realpath(root)
    pending: list[tuple[Parts, str, tuple[str, ...]]] = [((), real, (real,))]
    while pending:
        folder, real, above = pending.pop()
        for entry in _entries(root.joinpath(*folder)):
            path = (*folder, entry.name)
            if not _is_folder(entry):
                found.add(path, entry)
            elif not _is_text(entry.name):
                found.skip(_NO_TEXT, path)
            else:
                inside = os.path.realpath(entry.path) if entry.is_symlink() else f"{real.rstrip('/')}/{entry.name}"
                if any(f"{one}/".startswith(f"{inside.rstrip('/')}/") for one in above):
                    found.skip(_LOOP, path)
                else:
                    found.folders.append(path)
                    pending.append((path, inside, (*above, inside)))
    skipped = sum((left_out(*reason, paths) for reason, paths in sorted(found.skipped.items())), ())
    files = {kind: sorted(paths) for kind, paths in found.files.items()}
    return Listing(root, files, sorted(found.metadata), sorted(found.folders), skipped)


def _entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from (one for one in entries if not one.name.startswith(".") and one.name not in IGNORED)
    except OSError as error:
        raise DARError(
            f"{_readable(str(folder))} cannot be opened ({error.strerror}): check its permissions"
        ) from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_text(name: str) -> bool:
    return name.isascii() or _readable(name) == name


def _readable(name: str) -> str:
    """Replace what is not UTF-8 in a name, so that it can be printed and stored."""
    return name.encode(errors="surrogateescape").decode(errors="replace")
