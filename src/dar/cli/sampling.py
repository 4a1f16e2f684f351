"""Settings of sampling as options of commands."""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

import typer

from dar.cli import options
from dar.generation.settings import DENOISING, GenerationSettings, GivenSettings, label, setting_fields, setting_text
from dar.prior.drawing import Sampling
from dar.prior.guidance import Guidance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dar.generation.provenance import Provenance
    from dar.pipeline import DARPipeline

_FIELDS = sorted(setting_fields(), key=lambda one: one.name in Sampling.__dataclass_fields__)
"""The fields of the settings in the order of options: how tokens are drawn from their logits comes last."""

ALL = tuple(one.name for one in _FIELDS)
DRAWING = tuple(name for name in ALL if name not in DENOISING)
"""The settings that say how tokens are drawn."""

Command = Callable[..., None]


def setting_options(names: Collection[str] = ALL) -> Callable[[Command], Command]:
    """Give a command options for fields of ``GenerationSettings``, in place of its parameter ``given``.

    The command gets there those that are given, a ``GivenSettings``; they are checked first.

    Args:
        names: of the fields.
    """

    def decorate(command: Command) -> Command:
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            of_given = [_parameter(one) for one in _FIELDS if one.name in names]
            parameters += of_given if parameter.name == "given" else [parameter]
        named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]

        @wraps(command)
        def with_options(**arguments: Any) -> None:
            words = {name: arguments.pop(name) for name in ALL if name in names}
            command(**arguments, given=_checked({name: word for name, word in words.items() if word is not None}))

        vars(with_options)["__signature__"] = inspect.Signature(named)
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in named}
        return with_options

    return decorate


def _parameter(one: "Field[Any]") -> inspect.Parameter:
    """Make the parameter of which typer makes a field's option."""
    kind: Any = get_type_hints(GenerationSettings)[one.name]
    help_ = f"{one.metadata['about']}; by default the model's own."
    word: Any = (str if kind is Guidance else kind) | None
    annotation: Any = Annotated[word, typer.Option(flag(one.name), help=help_, min=one.metadata["minimum"])]
    return inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _checked(given: Mapping[str, Any]) -> GivenSettings:
    """Convert options to what the fields hold.

    Raises:
        DARError: if a setting cannot be.
    """
    settings = GenerationSettings().replaced(cast(GivenSettings, given))
    return cast(GivenSettings, {name: getattr(settings, name) for name in given})


def flag(name: str) -> str:
    """Name the option of a field, or of another parameter."""
    labels = {one.name: label(one) for one in _FIELDS}
    return "--" + labels.get(name, name.strip("_").replace("_", "-"))


def as_options(given: GivenSettings) -> list[str]:
    """Write the command-line options that give the same settings."""
    texts = {one.name: setting_text(one, given[one.name]) for one in _FIELDS if one.name in given}  # type: ignore[literal-required]
    return [word for name, value in texts.items() for word in (flag(name), value)]


def print_settings(pipe: "DARPipeline", given: GivenSettings) -> None:
    """Print how the model is sampled, and which settings are not its own.

    Raises:
        DARError: if a setting cannot be.
    """
    names = ", ".join(flag(name).removeprefix("--") for name in given)
    options.say(
        f"sampling with {pipe.resolved(given)} ({f'given: {names}; the rest is' if names else 'all'} the model's own)"
    )


def describe(model: str | None) -> dict[str, Any]:
    """Describe a model for records and reports, beside its hash."""
    from dar.model_folder import model_folder, recipe_text

    return {"model": model or "bundled", "recipe": recipe_text(model_folder(model))}


def made_images(
    pipe: "DARPipeline", model: str | None, used: GenerationSettings, classes: "Sequence[int]", seed: int
) -> "list[Provenance]":
    """Describe how images are made, but for tokens of a layout.

    Args:
        pipe: the model.
        model: what the user called it.
        used: how it is sampled.
        classes: the class index of each image.
        seed: image i uses seed + i.
    """
    from dar.dtypes import plain_name
    from dar.generation.provenance import Provenance

    hashes, names = pipe.weights_hashes(), pipe.prior.config.class_names
    return [
        Provenance(
            model=model or "bundled",
            tokenizer=hashes["tokenizer"],
            prior=hashes["prior"],
            class_name=names[index],
            class_index=index,
            seed=seed + i,
            settings=used,
            dtype=plain_name(pipe.dtype),
        )
        for i, index in enumerate(classes)
    ]
