"""From a row of a data set to an image and its class."""

from pathlib import Path
from typing import Any

from PIL import Image

from dar.data.columns import Columns
from dar.data.unreadable import BrokenImage
from dar.errors import DARError
from dar.images import read_image


def read_row(columns: Columns, row: dict[str, Any], place: str) -> tuple[Image.Image, int]:
    """Decode a row; ``place`` names it where the data does not."""
    stored, label = row[columns.image], row[columns.label] if columns.label else 0
    name = (stored and stored["path"]) or place
    if columns.shard:
        name = f"{name} in {Path(row[columns.shard]).name}"
    if label is None or label < 0:
        raise DARError(f"{name} has no class: use a split that is labelled")
    if columns.label and columns.names is not None and label >= len(columns.names):
        raise DARError(f"{name} is of class {label}, but only {len(columns.names)} classes have names: add the others")
    if not stored:
        raise BrokenImage(f"{name} holds no image")
    try:
        return read_image(_content(stored), name), label
    except (DARError, OSError) as error:
        raise BrokenImage(str(error)) from error


def _content(stored: dict[str, Any]) -> bytes | str:
    """What ``read_image`` takes: bytes, or a path; files elsewhere than on the disk are fetched."""
    if stored["bytes"] is not None:
        return stored["bytes"]
    if "://" not in stored["path"]:
        return stored["path"]
    import fsspec

    with fsspec.open(stored["path"]) as file:
        return file.read()
