"""How to sample a model, and the file in which a model says so itself."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self, TypedDict

from dar.checks import nearest
from dar.errors import DARError
from dar.files import read_json, write_json
from dar.prior.sampling import Guidance, Sampling, guidance_ends, guidance_text
from dar.tokenizer.config import TokenizerConfig
from dar.tokenizer.model import DEFAULT_SOLVER, check_steps, solver_named

SAMPLING = "sampling.json"
"""The file of a model folder that holds its own settings."""

_GUIDANCE = "guidance"
"""What the file calls ``guidance_scale``."""


class GivenSettings(TypedDict, total=False):
    """Some of the fields of ``GenerationSettings``, as callers give them."""

    guidance_scale: Guidance
    temperature: float
    top_k: int | None
    top_p: float
    steps: int | None
    solver: str


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """How tokens are drawn and denoised. These defaults, the only ones, hold where a model says nothing itself.

    Attributes:
        guidance_scale: at the first and at the last token, linear in between; one number stands for both. 1 is
            unguided.
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: draw among the k likeliest tokens only; None among all.
        top_p: draw among the fewest likeliest tokens whose probabilities reach p; 1 among all.
        steps: denoising steps; None for the tokenizer's own number.
        solver: "adams-bashforth-2" or "euler".

    Raises:
        DARError: at construction, for a value that cannot be.
    """

    guidance_scale: tuple[float, float] = (1.0, 3.0)
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    steps: int | None = None
    solver: str = DEFAULT_SOLVER

    def __post_init__(self) -> None:
        object.__setattr__(self, "guidance_scale", guidance_ends(self.guidance_scale))
        check_steps(self.steps)
        solver_named(self.solver)
        _ = self.drawing

    @property
    def drawing(self) -> Sampling:
        """The part that says how a token is drawn from its logits."""
        return Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)

    def replaced(self, given: GivenSettings) -> Self:
        """The same but for what is given."""
        return replace(self, **given)  # type: ignore[arg-type]  # a constant guidance becomes a pair at construction

    def resolved(self, tokenizer: TokenizerConfig) -> Self:
        """The same with the tokenizer's own number of steps in place of None."""
        return replace(self, steps=tokenizer.num_steps) if self.steps is None else self

    def values(self) -> dict[str, Any]:
        """The fields by name, as keywords and as records hold them."""
        return {field.name: getattr(self, field.name) for field in fields(GenerationSettings)}

    def __str__(self) -> str:
        """All settings that take effect, on one line."""
        parts = [f"guidance {guidance_text(self.guidance_scale)}", f"temperature {self.temperature:g}"]
        parts += [] if self.top_k is None else [f"top-k {self.top_k}"]
        parts += [] if self.top_p == 1 else [f"top-p {self.top_p:g}"]
        steps = "the tokenizer's number of" if self.steps is None else self.steps
        return ", ".join([*parts, f"{steps} {'step' if steps == 1 else 'steps'} of {self.solver}"])


def load_settings(folder: Path) -> GenerationSettings:
    """A model's own settings: those in its ``sampling.json``, and the defaults for what is missing.

    Raises:
        DARError: if the file is damaged, or holds a setting that is unknown or cannot be.
    """
    path = folder / SAMPLING
    if not path.exists():
        return GenerationSettings()
    content = read_json(path)
    known = {_file_name(field.name): field.name for field in fields(GenerationSettings)}
    for name in content:
        if name not in known:
            raise DARError(f"{path} holds the unknown setting {name!r}: {nearest(name, known)}")
    try:
        return GenerationSettings(**{known[name]: value for name, value in content.items()})
    except DARError as error:
        raise DARError(f"{path} holds a setting that cannot be: {error}") from error


def save_settings(folder: Path, settings: GenerationSettings) -> None:
    """Write a model's own settings, whole or not at all."""
    write_json(folder / SAMPLING, file_content(settings))


def file_content(settings: GenerationSettings) -> Mapping[str, Any]:
    """What ``sampling.json`` holds: a constant guidance as one number."""
    start, end = settings.guidance_scale
    values = asdict(settings) | {"guidance_scale": start if start == end else [start, end]}
    return {_file_name(name): value for name, value in values.items()}


def _file_name(field: str) -> str:
    return _GUIDANCE if field == "guidance_scale" else field
