"""Images of a data set as they are stored (stand-in until data gives them)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dar.data.dataset import ImageDataset
from dar.errors import DARError


@dataclass(frozen=True)
class StoredImage:
    name: str
    stored: Any
    label: int | None
    caption: str | None

    def content(self) -> bytes:
        if not self.stored:
            raise DARError(f"{self.name} holds no image")
        if self.stored["bytes"] is not None:
            return self.stored["bytes"]
        try:
            return Path(self.stored["path"]).read_bytes()
        except OSError as error:
            raise DARError(f"{self.name} cannot be read ({error})") from error


def stored_image(data, place, row=None):
    row = data._rows[place] if row is None else row
    c = data._columns
    stored = row[c.image]
    label = row[c.label] if c.label else None
    name = (stored and stored["path"]) or (
        f"row {place} of {data.source}"
        if isinstance(data, ImageDataset)
        else f"image {place} of the stream of {data.source}"
    )
    return StoredImage(name, stored, None if label is None or label < 0 else label, row.get("caption"))


def all_labels(data):
    c = data._columns
    if not c.label:
        return [None] * len(data)
    return [None if x is None or x < 0 else x for x in data._rows.with_format("arrow")[c.label].to_pylist()]
