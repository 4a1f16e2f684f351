"""``dar info``."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dar.cli import options
from dar.errors import DARError, shortened

if TYPE_CHECKING:
    from torch import nn

    from dar.prior import Prior
    from dar.tokenizer import SequentialDiffusionTokenizer
    from dar.train.recipe import TrainingRecipe

SHOWN_CLASSES = 12
SHOWN_METRICS = 4
TRAINING = "training.json"
"""File that records what a training took."""

Line = tuple[str, str]
"""A subject, empty where the line goes on with the one before; and a text about it."""


def info(
    model: Annotated[
        str | None, typer.Argument(help="Folder, Hub id, or a picture; the bundled model by default.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also show hashes, all metrics and the recipe.")] = False,
) -> None:
    """Show a model, or a tokenizer alone: images, classes, sizes, how it was trained, how good it is.

    For a picture that `dar generate` or `dar sample` made, show its model, class, seed and settings.

    Example: dar info runs/prior/model
    """
    if model is not None and Path(model).is_file():
        from dar.generation.provenance import read_provenance

        for line in read_provenance(Path(model)).lines():
            options.say(line)
        return
    for about, text in _model_lines(model, everything):
        options.say(shortened(f"{about:<12}{text}".rstrip()))


def _model_lines(model: str | None, everything: bool) -> Iterator[Line]:
    from dar.files import read_json
    from dar.model_folder import FIGURES, TOKENIZER, model_folder

    folder = model_folder(model)  # a slip is answered before anything heavy is imported
    from dar.pipeline import DARPipeline, load_tokenizer

    pipe = DARPipeline.from_pretrained(folder) if (folder / TOKENIZER).is_dir() else None
    tokenizer, prior = (pipe.tokenizer, pipe.prior) if pipe else (load_tokenizer(folder), None)
    yield from _kind(model, tokenizer, prior)
    yield from _sizes(tokenizer, prior)
    yield from _training(folder, with_prior=prior is not None)
    metrics = read_json(folder / FIGURES) if (folder / FIGURES).exists() else {}
    yield from _metrics(metrics, tokenizer.config.codebook_size)
    if everything:
        yield from _details(folder, tokenizer, prior, metrics)
    else:
        yield "more", "dar info --all tells hashes, all metrics and the recipe"


def _under(about: str, texts: Iterable[str]) -> Iterator[Line]:
    """Format lines that are about one thing, named once."""
    for i, text in enumerate(texts):
        yield "" if i else about, text


def _kind(model: str | None, tokenizer: "SequentialDiffusionTokenizer", prior: "Prior | None") -> Iterator[Line]:
    from dar.model_folder import BUNDLED

    size = tokenizer.config.image_size
    classes = prior.config.class_names if prior is not None else ()
    kind = f"images of {len(classes)} classes" if classes else "a tokenizer of images"
    yield "model", f"{model or f'{BUNDLED}, which the package brings along'}: {kind}, {size} x {size} pixels"
    if classes:
        more = ", ..." if len(classes) > SHOWN_CLASSES else ""
        yield "classes", ", ".join(classes[:SHOWN_CLASSES]) + more


def _sizes(tokenizer: "SequentialDiffusionTokenizer", prior: "Prior | None") -> Iterator[Line]:
    config = tokenizer.config
    parts: list[tuple[str, nn.Module]] = [("tokenizer", tokenizer), *([("prior", prior)] if prior is not None else [])]
    yield "parameters", ", ".join(f"{name} {_parameters(part) / 1e6:.2f} M" for name, part in parts)
    yield (
        "tokens",
        f"{config.num_tokens} in {config.num_groups} groups, codebook of {config.codebook_size}, "
        f"{config.num_steps} denoising steps",
    )


def _parameters(model: "nn.Module") -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _training(folder: Path, *, with_prior: bool) -> Iterator[Line]:
    """Describe the training of each part, from the recipe and, where there is one, the record of what it took."""
    from dar.files import read_json
    from dar.model_folder import RECIPE
    from dar.train.recipe import load_recipe

    if not (folder / RECIPE).is_file():
        yield "trained", "not recorded with this model"
        return
    try:
        recipe = load_recipe(folder / RECIPE)
    except DARError as error:
        yield "trained", str(error)
        return
    took = read_json(folder / TRAINING) if (folder / TRAINING).exists() else {}
    parts = {"tokenizer": recipe.tokenizer_training, **({"prior": recipe.prior_training} if with_prior else {})}
    yield from _under("trained", (_training_line(name, part, took.get(name)) for name, part in parts.items()))


def _training_line(name: str, training: "TrainingRecipe", took: object) -> str:
    seconds = took.get("seconds") if isinstance(took, dict) else None
    time = f", in {seconds / 60:.0f} min" if isinstance(seconds, int | float) else ""
    return f"{name}: {training.steps:,} steps of {training.batch_size} images{time}"


def _metrics(metrics: Mapping[str, Any], codebook_size: int) -> Iterator[Line]:
    """Choose the main metrics of those that were measured; the first ones where there is no main one."""
    if not metrics:
        yield "metrics", "not recorded with this model: dar evaluate measures them"
        return
    ways: dict[str, Callable[[Any], str]] = {
        "psnr_db_by_groups": lambda values: f"PSNR of reconstructions {values[-1]} dB",
        "codebook_usage": lambda share: f"codes in use {share:.1%}",
        "codebook_perplexity": lambda value: f"codebook perplexity {value} of {codebook_size}",
        "cross_entropy_nats": lambda value: f"held-out cross-entropy {value} nats a token",
    }
    try:
        shown = [way(metrics[name]) for name, way in ways.items() if name in metrics]
    except (TypeError, ValueError, LookupError):  # whoever measured them calls other things by these names
        shown = []
    first = [f"{name.replace('_', ' ')} {json.dumps(value)}" for name, value in [*metrics.items()][:SHOWN_METRICS]]
    yield from _under("metrics", shown or first)


def _details(
    folder: Path,
    tokenizer: "SequentialDiffusionTokenizer",
    prior: "Prior | None",
    metrics: Mapping[str, Any],
) -> Iterator[Line]:
    from dar.model_folder import recipe_text
    from dar.storage import weights_hash

    yield "folder", str(folder)
    parts: dict[str, nn.Module] = {"tokenizer": tokenizer, **({"prior": prior} if prior is not None else {})}
    yield from _under("hashes", (f"{name} {weights_hash(part)}" for name, part in parts.items()))
    yield from _under(
        "all metrics", (f"{name.replace('_', ' ')}: {json.dumps(value)}" for name, value in metrics.items())
    )
    yield from _under("recipe", (recipe_text(folder) or "not recorded with this model").splitlines())
