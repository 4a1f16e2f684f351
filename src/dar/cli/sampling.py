"""From the words of a command line to what is sampled."""

from typing import TYPE_CHECKING, Any

import typer

from dar.errors import DARError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dar.generation.settings import GenerationSettings, GivenSettings
    from dar.pipeline import DARPipeline
    from dar.provenance import Provenance


def parse_guidance(text: str) -> tuple[float, float]:
    """Start and end scale from "3" or "1:3".

    Raises:
        DARError: if it is neither.
    """
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise DARError(f"a guidance scale is a number like 3, or START:END like 1:3, not {text!r}")
    return numbers[0], numbers[-1]


def given_settings(
    guidance: str | None,
    steps: int | None,
    solver: str | None,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
) -> "GivenSettings":
    """The settings that a command line gives; the others are the model's own.

    Raises:
        DARError: if the guidance is no number and no schedule.
    """
    given: GivenSettings = {}
    if guidance is not None:
        given["guidance_scale"] = parse_guidance(guidance)
    if steps is not None:
        given["steps"] = steps
    if solver is not None:
        given["solver"] = solver
    if temperature is not None:
        given["temperature"] = temperature
    if top_k is not None:
        given["top_k"] = top_k
    if top_p is not None:
        given["top_p"] = top_p
    return given


def tell_settings(pipe: "DARPipeline", given: "GivenSettings") -> None:
    """Say how the model is sampled, and what of that is not its own.

    Raises:
        DARError: if a setting cannot be.
    """
    told = ", ".join(name.removesuffix("_scale").replace("_", "-") for name in given)
    typer.echo(
        f"sampling with {pipe.resolved(given)} ({f'given: {told}; the rest is' if told else 'all'} the model's own)"
    )


def describe(model: str | None) -> dict[str, Any]:
    """What records and reports tell of a model beside its hash."""
    from dar.model_folder import RECIPE, model_folder

    recipe = model_folder(model) / RECIPE
    return {"model": model or "bundled", "recipe": recipe.read_text("utf-8") if recipe.is_file() else None}


def made_images(
    pipe: "DARPipeline", model: str | None, used: "GenerationSettings", classes: "Sequence[int]", seed: int
) -> "list[Provenance]":
    """How images are made, but for tokens of a layout.

    Args:
        pipe: the model.
        model: what the user called it.
        used: how it is sampled.
        classes: the class index of each image.
        seed: image i uses seed + i.
    """
    from dar.provenance import Provenance

    hashes, names = pipe.weights_hashes(), pipe.prior.config.class_names
    return [
        Provenance(
            model=model or "bundled",
            tokenizer=hashes["tokenizer"],
            prior=hashes["prior"],
            class_name=names[index],
            class_index=index,
            seed=seed + i,
            **used.values(),
        )
        for i, index in enumerate(classes)
    ]
