"""From the words of a command line to what is sampled."""

from typing import TYPE_CHECKING, Any

from dar.errors import DARError

if TYPE_CHECKING:
    from dar.evaluate.sampling import SampleSettings
    from dar.pipeline import DARPipeline


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


def sample_settings(
    pipe: "DARPipeline",
    classes: list[str] | None,
    guidance_scale: tuple[float, float],
    *,
    steps: int | None,
    **settings: Any,
) -> "SampleSettings":
    """What to sample, from the command line's words.

    Args:
        pipe: the model.
        classes: names or indices of those to sample; None for all.
        guidance_scale: at the first and the last token.
        steps: denoising steps; None for the model's own number.
        **settings: other fields of ``SampleSettings``.

    Raises:
        DARError: if there is no such class, or a setting cannot be.
    """
    from dar.evaluate.sampling import SampleSettings

    config = pipe.prior.config
    indices = {config.class_index(wanted) for wanted in classes} if classes else range(config.num_classes)
    return SampleSettings(
        classes=tuple(sorted(indices)),
        guidance_scale=guidance_scale,
        steps=steps or pipe.tokenizer.config.num_steps,
        **settings,
    )


def describe(model: str | None) -> dict[str, Any]:
    """What records and reports tell of a model beside its hash."""
    from dar.model_folder import RECIPE, model_folder

    recipe = model_folder(model) / RECIPE
    return {"model": model or "bundled", "recipe": recipe.read_text("utf-8") if recipe.is_file() else None}
