"""Provenance of a generated picture, written into its PNG file and read from there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from PIL.PngImagePlugin import PngImageFile

from dar import __version__
from dar.dtypes import FLOAT32
from dar.errors import DARError, quoted
from dar.generation.settings import DENOISING, SEQUENTIAL, GenerationSettings, label, setting_fields, setting_text
from dar.image_files import opened_image
from dar.json_text import parse_json

KEYWORD = "dar"
"""Of the text in a PNG file that holds the record, as JSON."""

SHOWN_DIGITS = 12
"""Of a hash, where people read it."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """All that a picture depends on, but for rounding.

    Attributes:
        model: what the user called it.
        tokenizer: SHA-256 of the tokenizer's weights.
        prior: SHA-256 of the prior's weights.
        class_name: its name.
        class_index: its index.
        seed: the image's own.
        settings: how it was generated; the number of steps is known.
        dtype: of the weights that computed it; pictures of versions that knew only float32 do not tell it.
        kept_tokens: the first tokens, where they were taken from another picture for its layout.
        version: of the package.
    """

    model: str
    tokenizer: str
    prior: str
    class_name: str
    class_index: int
    seed: int
    settings: GenerationSettings
    dtype: str = FLOAT32
    kept_tokens: tuple[int, ...] = ()
    version: str = __version__

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Make it from what ``record`` gave; indices of tokens and classes are checked by whoever uses them.

        Raises:
            ValueError: if something is missing, is not known, or is of another kind.
        """
        record = {"dtype": FLOAT32, "sampler": SEQUENTIAL, **record}
        sampling = {one.name for one in setting_fields()}
        known = {field.name for field in fields(cls)} - {"settings"} | sampling
        if record.keys() != known:
            raise ValueError(f"it has {', '.join(sorted(record.keys() ^ known))} too many or too few")
        for name, value in record.items():
            if not _is_one(name, value):
                raise ValueError(f"its {name} is {quoted(value)}")
        own = {name: value for name, value in record.items() if name not in sampling}
        settings = GenerationSettings(**{name: record[name] for name in sampling})
        return cls(**{**own, "settings": settings, "kept_tokens": tuple(record["kept_tokens"])})

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON values by name."""
        record: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            record |= value.values() if field.name == "settings" else {field.name: value}
        return record

    def texts(self) -> dict[str, str]:
        """Return the text entries of a PNG file, by keyword."""
        return {
            "Title": f"{self.class_name}, seed {self.seed}",
            "Software": f"dar {self.version}",
            KEYWORD: json.dumps(self.record()),
        }

    def lines(self) -> list[str]:
        """Describe it for people, a line each."""
        drawn = [one for one in setting_fields() if one.name not in DENOISING]
        facts = {
            "class": f"{self.class_name} ({self.class_index})",
            "seed": self.seed,
            "model": self.model,
            "tokenizer": self.tokenizer[:SHOWN_DIGITS],
            "prior": self.prior[:SHOWN_DIGITS],
            **{label(one): setting_text(one, getattr(self.settings, one.name)) for one in drawn},
            "steps": f"{self.settings.steps}, {self.settings.solver}",
            "dtype": self.dtype,
            "layout": f"{len(self.kept_tokens)} tokens kept" if self.kept_tokens else "its own",
            "version": self.version,
        }
        return [f"{name:<12}{quoted(value)}" for name, value in facts.items()]


_KINDS = {
    **dict.fromkeys(("model", "tokenizer", "prior", "class_name", "dtype", "version"), str),
    **dict.fromkeys(("class_index", "seed", "steps"), int),
}
"""Of entries that are of one kind; other settings are checked where they are made."""


def _is_one(name: str, value: Any) -> bool:
    """Tell whether a value is of its entry's kind."""
    if name == "kept_tokens":
        return isinstance(value, list) and all(type(token) is int for token in value)
    if name == "guidance_scale":
        return isinstance(value, list) and len(value) in (2, 3)
    return name not in _KINDS or type(value) is _KINDS[name]


def read_provenance(path: Path) -> Provenance:
    """Read how the picture in a PNG file was made.

    Raises:
        DARError: if the file is no image, or holds no provenance, or a wrong one.
    """
    with opened_image(path, str(path)) as image:
        text = image.text.get(KEYWORD) if isinstance(image, PngImageFile) else None
    if text is None:
        raise DARError(
            f"{path} does not tell how it was made: pictures of `dar generate` and PNG files of `dar sample --png` do, "
            "if no other program changed them and they were not written with --no-metadata"
        )
    try:
        return Provenance.from_record(parse_json(text))
    except (ValueError, TypeError, AttributeError) as error:
        raise DARError(
            f"{path} tells wrongly how it was made ({quoted(error)}): it was changed, or made by another version"
        ) from error
