"""Captions of the images of a folder, from ``metadata.jsonl`` or ``metadata.csv`` beside them."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dar.data.columns import CAPTION_NAMES
from dar.errors import DARError, quoted


def captions_of(files: Iterable[Path], metadata: Iterable[Path]) -> list[str | None] | None:
    """The caption of each image; None where no file tells any.

    A line of such a file has the image's path below the file's own folder as ``file_name``, and its caption as ``text``
    or ``caption``.

    Raises:
        DARError: if a file cannot be understood.
    """
    found = dict(pair for path in metadata for pair in _captions_in(path))
    captions = [found.get(str(file)) for file in files] if found else []
    return captions if any(caption is not None for caption in captions) else None


def _captions_in(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file) if path.suffix == ".csv" else _json_lines(path, file)
            for row in rows:
                caption = next((row[name] for name in CAPTION_NAMES if isinstance(row.get(name), str)), None)
                if caption is not None and isinstance(row.get("file_name"), str):
                    yield str(path.parent / row["file_name"]), caption
    except (OSError, ValueError, csv.Error) as error:
        raise DARError(f"{path} cannot be read ({quoted(error)}): write it again") from error


def _json_lines(path: Path, lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("it is no object")
        except ValueError as error:
            raise DARError(f"line {number} of {path} is not a JSON object ({error}): write it again") from error
        yield row
