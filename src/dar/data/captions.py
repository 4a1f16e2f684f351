"""Captions of the images of a folder, from ``metadata.jsonl`` or ``metadata.csv`` beside them."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dar.data.columns import CAPTION_NAMES
from dar.data.found import counted_as, some
from dar.errors import DARError, quoted
from dar.files import is_there
from dar.json_text import parse_json, storable


def captions_of(files: Sequence[Path], metadata: Iterable[Path]) -> tuple[list[str | None] | None, tuple[str, ...]]:
    """Read the caption of each image, None where there is none; and messages about captions that fit no image.

    A line of such a file has the image's path below the file's own folder as ``file_name``, and its caption as ``text``
    or ``caption``. An empty text is no caption.

    Raises:
        DARError: if a file cannot be understood.
    """
    metadata = list(metadata)
    found = dict(pair for path in metadata for pair in _captions_in(path))
    captions = [found.get(str(file)) for file in files]
    astray = [name for name in set(found).difference(map(str, files)) if not is_there(Path(name))]
    notes = []
    if astray:
        notes.append(
            f"{counted_as(len(astray), 'caption is', 'captions are')} of no image that is there ({some(astray)})"
        )
    if metadata and not found:
        notes.append(f"no captions in {some(map(str, metadata))}: lines have file_name, and text or caption")
    return (captions if any(captions) else None), tuple(notes)


def _captions_in(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file) if path.suffix == ".csv" else _json_lines(path, file)
            for row in rows:
                texts = [row[name].strip() for name in CAPTION_NAMES if isinstance(row.get(name), str)]
                if any(texts) and isinstance(row.get("file_name"), str):
                    yield str(path.parent / row["file_name"]), storable(next(filter(None, texts)))
    except DARError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise DARError(f"{path} cannot be read ({quoted(error)}): write it again") from error


def _json_lines(path: Path, lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            if not isinstance(row, dict):
                raise ValueError("it is no object")
        except ValueError as error:
            raise DARError(f"line {number} of {path} is not a JSON object ({error}): write it again") from error
        yield row
