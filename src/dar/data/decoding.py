"""Decoding of a data set's rows, and the files that a row may name."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from dar.data.found import Found
from dar.data.rows import Rows
from dar.data.unreadable import BrokenImage
from dar.errors import DARError, quoted
from dar.files import check_regular_file
from dar.images import read_image


def name_of(rows: Rows, row: dict[str, Any], place: str) -> str:
    """Name a row's image; ``place`` names it where the data do not."""
    stored = row[rows.columns.image]
    name = (stored and stored["path"]) or place
    return f"{name} in {Path(row[rows.columns.shard]).name}" if rows.columns.shard else name


def decode(rows: Rows, row: dict[str, Any], place: str) -> Image.Image:
    """Decode a row's image, RGB; ``place`` names it where the data do not.

    Raises:
        BrokenImage: if it cannot be read.
    """
    name = name_of(rows, row, place)
    with _broken_unless_read():
        return read_image(_content(rows.found, row[rows.columns.image], name), name)


@dataclass(frozen=True)
class StoredImage:
    """An image as it is stored, not decoded.

    Attributes:
        rows: of the set.
        row: the image's own.
        place: names the image where the data do not.
        class_name: its class; None where the data say none, or none certain.
    """

    rows: Rows
    row: dict[str, Any]
    place: str
    class_name: str | None

    @property
    def name(self) -> str:
        """Name of the image."""
        return name_of(self.rows, self.row, self.place)

    @property
    def caption(self) -> str | None:
        """Caption of the image; None where it has none."""
        column = self.rows.columns.caption
        return None if column is None else self.row[column] or None

    def encoded(self) -> bytes:
        """Content of its file.

        Raises:
            BrokenImage: if that cannot be had.
        """
        with _broken_unless_read():
            content = _content(self.rows.found, self.row[self.rows.columns.image], self.name)
            if isinstance(content, bytes):
                return content
            check_regular_file(Path(content))
            return Path(content).read_bytes()


@contextmanager
def _broken_unless_read() -> Iterator[None]:
    try:
        yield
    except (DARError, OSError) as error:
        raise BrokenImage(str(error)) from error


def _content(found: Found, stored: dict[str, Any] | None, name: str) -> bytes | str:
    """Get what ``read_image`` takes: bytes, or a path that the data may name.

    Raises:
        DARError: if there is nothing, or no bytes but a path that leads out of the data.
    """
    if not stored:
        raise DARError(f"{name} holds no image")
    if stored["bytes"] is not None:
        return stored["bytes"]
    path = str(stored["path"])
    if found.kind == "webdataset":
        raise DARError(f"{name} holds no image")
    if found.kind == "images":
        return path
    if found.kind == "hub" and _is_on_hub(path, found.name):
        import fsspec

        with fsspec.open(path) as file:
            return file.read()
    for folder in _own_folders(found):
        inside = (folder / path).resolve()
        if inside.is_relative_to(folder):
            return str(inside)
    raise DARError(f"{quoted(name)} has no bytes but a path that leads out of the data: store the image itself")


def _own_folders(found: Found) -> list[Path]:
    """List the folders whose files a row may name: the data's own, or what ``datasets`` downloaded."""
    if found.kind != "hub":
        return [found.root.resolve()]
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    return [Path(folder).resolve() for folder in (datasets.config.HF_DATASETS_CACHE, HF_HUB_CACHE)]


def _is_on_hub(path: str, name: str) -> bool:
    """Tell whether a URL, perhaps into an archive, leads into the data set's own repository."""
    repository = f"hf://datasets/{name}"
    return path.rpartition("::")[2].startswith((f"{repository}@", f"{repository}/"))
