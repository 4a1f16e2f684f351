"""Settings of generation, and the file that holds a model's own."""

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, TypedDict

from dar.checks import nearest
from dar.errors import DARError, quoted
from dar.files import read_json, write_json
from dar.prior.drawing import Sampling, option
from dar.prior.guidance import Guidance, GuidanceLike
from dar.solvers import DEFAULT_SOLVER, SOLVERS, check_steps, solver_named
from dar.tokenizer.config import TokenizerConfig

SAMPLING = "sampling.json"
"""The file of a model folder that holds its own settings."""

SEQUENTIAL, DRAFTS = "sequential", "drafts"
SAMPLERS = (SEQUENTIAL, DRAFTS)
"""The ways to get from the prior to tokens."""

_GUIDANCE = "guidance"
"""What the file calls ``guidance_scale``."""


class GivenSettings(TypedDict, total=False):
    """Some of the fields of ``GenerationSettings``, as callers give them."""

    guidance_scale: GuidanceLike
    temperature: float
    top_k: int | None
    top_p: float
    steps: int | None
    solver: str
    sampler: str


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(Sampling):
    """Settings of how tokens are drawn and denoised; the defaults hold where a model has none of its own.

    How a token is drawn from its logits, the fields of ``dar.prior.drawing.Sampling`` say: temperature and the like.

    Attributes:
        guidance_scale: ``dar.prior.guidance.Guidance``, or what it is made of: one number, (start, end) for a scale
            that is linear over the tokens, or a text such as "1:3@16-64"; 1 is unguided.
        steps: denoising steps; None for the tokenizer's own number.
        solver: "adams-bashforth-2" or "euler".
        sampler: "sequential" draws tokens one by one; "drafts" several a pass, other ones from the same distribution,
            faster for few images (``dar.prior.speculative``).

    Raises:
        DARError: at construction, for a value that cannot be.
    """

    guidance_scale: Guidance = field(
        default=Guidance(1.0, 3.0),
        metadata=option(
            "Guidance scale: one number, or START:END, linear over the tokens; @16-64 after it lets it act only on "
            "tokens 16 to 63, counted from 0",
            name="guidance",
        ),
    )
    steps: int | None = field(default=None, metadata=option("Denoising steps", minimum=1))
    solver: str = field(default=DEFAULT_SOLVER, metadata=option(" or ".join(sorted(SOLVERS))))
    sampler: str = field(
        default=SEQUENTIAL,
        metadata=option("sequential, or drafts, which draws several tokens a pass: faster for few images"),
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "guidance_scale", Guidance.of(self.guidance_scale))
        check_steps(self.steps)
        solver_named(self.solver)
        _check_sampler(self.sampler)
        super().__post_init__()

    def replaced(self, given: GivenSettings) -> Self:
        """Return a copy with the given fields replaced."""
        return replace(self, **given)  # type: ignore[arg-type]  # guidance becomes an object at construction

    def resolved(self, tokenizer: TokenizerConfig) -> Self:
        """Return a copy with the tokenizer's own number of steps in place of None.

        Raises:
            DARError: if guidance ends beyond the tokenizer's tokens.
        """
        self.guidance_scale.scales(tokenizer.num_tokens)
        return replace(self, steps=tokenizer.num_steps) if self.steps is None else self

    def sampling(self) -> Sampling:
        """Return those that say how a token is drawn, alone."""
        return Sampling(**{one.name: getattr(self, one.name) for one in fields(Sampling)})

    def values(self) -> dict[str, Any]:
        """Return the fields by name, as keywords and as records hold them."""
        values = {one.name: getattr(self, one.name) for one in setting_fields()}
        return values | {"guidance_scale": self.guidance_scale.values()}

    def __str__(self) -> str:
        """Format all settings that take effect, on one line."""
        parts = [
            f"{label(one)} {setting_text(one, getattr(self, one.name))}"
            for one in setting_fields()
            if one.name in _ALWAYS_TOLD or getattr(self, one.name) != one.default
            if one.name not in DENOISING
        ]
        steps = "the tokenizer's number of" if self.steps is None else self.steps
        return ", ".join([*parts, f"{steps} {'step' if steps == 1 else 'steps'} of {self.solver}"])


def _check_sampler(name: object) -> None:
    if name not in SAMPLERS:
        raise DARError(f"there is no sampler {quoted(repr(name))}: choose among {', '.join(SAMPLERS)}")


DENOISING = ("steps", "solver")
"""The settings that say how tokens are denoised; the others say how they are drawn."""

_ALWAYS_TOLD = ("guidance_scale", "temperature")


def setting_fields() -> list[Field[Any]]:
    """List the fields of ``GenerationSettings``, guidance first: in the order of records and of options."""
    return sorted(fields(GenerationSettings), key=lambda one: one.name != "guidance_scale")


def label(one: Field[Any]) -> str:
    """Return the name of a setting as an option and elsewhere."""
    return one.metadata["name"] or one.name.replace("_", "-")


def setting_text(one: Field[Any], value: Any) -> str:
    """Format a setting's value as people and the command line read it."""
    return one.metadata["unset"] if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def load_settings(folder: Path) -> GenerationSettings:
    """Load a model's own settings: those in its ``sampling.json``, and the defaults for what is missing.

    Raises:
        DARError: if the file is damaged, or holds a setting that is unknown or cannot be.
    """
    path = folder / SAMPLING
    if not path.exists():
        return GenerationSettings()
    content = read_json(path)
    known = {_file_name(one.name): one.name for one in setting_fields()}
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
    """Return what ``sampling.json`` holds: a constant guidance as one number."""
    guidance = settings.guidance_scale
    is_plain = guidance.is_constant and guidance.interval is None
    values = settings.values() | {"guidance_scale": guidance.start if is_plain else guidance.values()}
    return {_file_name(name): value for name, value in values.items()}


def _file_name(field: str) -> str:
    return _GUIDANCE if field == "guidance_scale" else field
