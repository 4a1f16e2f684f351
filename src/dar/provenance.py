"""How a generated picture was made: told in its PNG file, and read from there."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from PIL.PngImagePlugin import PngImageFile

from dar import __version__
from dar.errors import DARError, quoted
from dar.image_files import opened_image

KEYWORD = "dar"
"""Of the text in a PNG file that holds the record, as JSON."""

SHOWN_DIGITS = 12
"""Of a hash, where it is told to people."""


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
        guidance_scale: at the first and the last token.
        temperature: see ``DARPipeline.stream``, as for what follows.
        top_k: None lets all tokens be drawn.
        top_p: 1 lets all tokens be drawn.
        steps: of denoising.
        solver: of denoising.
        kept_tokens: the first tokens, where they were taken from another picture for its layout.
        version: of the package.
    """

    model: str
    tokenizer: str
    prior: str
    class_name: str
    class_index: int
    seed: int
    guidance_scale: tuple[float, float]
    temperature: float
    top_k: int | None
    top_p: float
    steps: int
    solver: str
    kept_tokens: tuple[int, ...] = ()
    version: str = __version__

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Take what JSON gives; numbers out of range are left to whoever uses them.

        Raises:
            ValueError: if something is missing, is not known, or is of another kind.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        if record.keys() != fields:
            raise ValueError(f"it has {', '.join(sorted(record.keys() ^ fields))} too many or too few")
        for name, value in record.items():
            if not _is_one(name, value):
                raise ValueError(f"its {name} is {quoted(value)}")
        sequences = {name: tuple(record[name]) for name in ("guidance_scale", "kept_tokens")}
        return cls(**{**record, **sequences})

    def texts(self) -> dict[str, str]:
        """What a PNG file is to hold as text, by keyword."""
        return {
            "Title": f"{self.class_name}, seed {self.seed}",
            "Software": f"dar {self.version}",
            KEYWORD: json.dumps(dataclasses.asdict(self)),
        }

    def lines(self) -> list[str]:
        """What people are told, a line each."""
        start, end = self.guidance_scale
        told = {
            "class": f"{self.class_name} ({self.class_index})",
            "seed": self.seed,
            "model": self.model,
            "tokenizer": self.tokenizer[:SHOWN_DIGITS],
            "prior": self.prior[:SHOWN_DIGITS],
            "guidance": f"{start:g}" if start == end else f"{start:g}:{end:g}",
            "temperature": f"{self.temperature:g}",
            "top-k": "all tokens" if self.top_k is None else self.top_k,
            "top-p": f"{self.top_p:g}",
            "steps": f"{self.steps}, {self.solver}",
            "layout": f"{len(self.kept_tokens)} tokens kept" if self.kept_tokens else "its own",
            "version": self.version,
        }
        return [f"{name:<12}{quoted(value)}" for name, value in told.items()]


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("model", "tokenizer", "prior", "class_name", "solver", "version"), (str,)),
    **dict.fromkeys(("class_index", "seed", "steps"), (int,)),
    **dict.fromkeys(("temperature", "top_p"), (int, float)),
    "top_k": (int, type(None)),
}


def _is_one(name: str, value: Any) -> bool:
    """Whether a value is of its field's kind."""
    if name == "guidance_scale":
        return isinstance(value, list) and len(value) == 2 and all(type(scale) in (int, float) for scale in value)
    if name == "kept_tokens":
        return isinstance(value, list) and all(type(token) is int for token in value)
    return type(value) in _KINDS[name]


def read_provenance(path: Path) -> Provenance:
    """How the picture in a PNG file was made.

    Raises:
        DARError: if the file is no image, or tells nothing of it, or something else than it should.
    """
    with opened_image(path, str(path)) as image:
        text = image.text.get(KEYWORD) if isinstance(image, PngImageFile) else None
    if text is None:
        raise DARError(
            f"{path} does not tell how it was made: pictures of `dar generate` and PNG files of `dar sample --png` do, "
            "if no other program changed them and they were not written with --no-metadata"
        )
    try:
        return Provenance.from_record(json.loads(text))
    except (ValueError, AttributeError, RecursionError) as error:
        raise DARError(
            f"{path} tells wrongly how it was made ({quoted(error)}): it was changed, or made by another version"
        ) from error
