"""``dar train tokenizer``, ``dar train prior`` and ``dar train classifier``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import options

if TYPE_CHECKING:
    from dar.train.estimate import Estimate
    from dar.train.loop import Outcome
    from dar.train.recipe import TrainingRecipe

app = typer.Typer(
    help="Train a tokenizer, then a prior on its tokens; or a classifier to compare models with.", no_args_is_help=True
)

Recipe = Annotated[str, typer.Option(help="debug, cifar10, cifar10-cpu, imagenet256-L (-XL, -XXL), or a YAML file.")]
Data = Annotated[str, typer.Option(help=options.SOURCES)]
Out = Annotated[Path, typer.Option(help="Run folder; must be new or empty, unless resumed.")]
Validation = Annotated[str | None, typer.Option(help="Held-out images, for pictures and figures.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in the run folder.")]
Tracker = Annotated[list[str] | None, typer.Option(help="tensorboard or wandb, beside log.jsonl; repeatable.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell sizes, memory and time.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="section.field=value, replacing the recipe's.")]


@app.command("tokenizer")
def tokenizer(
    recipe: Recipe,
    data: Data,
    out: Out,
    validation: Validation = None,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Read images as they come, for what is large.")
    ] = False,
    image_column: options.ImageColumn = "",
    label_column: options.LabelColumn = "",
    resume: Resume = False,
    tracker: Tracker = None,
    dry_run: DryRun = False,
    overrides: Overrides = None,
) -> None:
    """Train a tokenizer; OUT/model then holds it.

    Example: dar train tokenizer --recipe debug --data photos/ --out runs/tokenizer tokenizer_training.steps=50
    """
    from dar.extras import require_extra

    require_extra("train")
    process, processes = options.place_among_processes()
    from dar.train.recipe import load_recipe
    from dar.train.tokenizer import train_tokenizer

    chosen = _columns("data", image_column, label_column)
    settings = load_recipe(recipe, [*(overrides or ()), *(["data.streaming=true"] if streaming else []), *chosen])
    if dry_run:
        from dar.train.estimate import estimate_tokenizer
        from dar.train.run_images import open_training_images, open_validation

        _tell_found(process, open_training_images(settings.data, data), open_validation(settings.data, validation))
        _tell(estimate_tokenizer(settings, processes), settings.tokenizer_training, processes, process)
        return
    outcome = train_tokenizer(settings, data, out, validation=validation, resume=resume, trackers=tracker or ())
    _report(outcome, out, process)


@app.command("prior")
def prior(
    recipe: Recipe,
    tokenizer: Annotated[str, typer.Option(help="Folder or Hub id of the trained tokenizer.")],
    out: Out,
    data: Annotated[str | None, typer.Option(help=f"{options.SOURCES} This, or --tokens.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Folder that dar tokenize wrote, in place of --data.")] = None,
    validation: Validation = None,
    image_column: options.ImageColumn = "",
    label_column: options.LabelColumn = "",
    resume: Resume = False,
    tracker: Tracker = None,
    dry_run: DryRun = False,
    overrides: Overrides = None,
) -> None:
    """Train a prior on a tokenizer's tokens; OUT/model then holds both.

    Example: dar train prior --recipe debug --data photos/ --tokenizer runs/tokenizer/model --out runs/prior
    """
    from dar.extras import require_extra

    require_extra("train")
    process, processes = options.place_among_processes()
    from dar.train.prior import train_prior
    from dar.train.recipe import load_recipe

    settings = load_recipe(recipe, [*(overrides or ()), *_columns("data", image_column, label_column)])
    if dry_run:
        from dar.train.estimate import estimate_prior
        from dar.train.prior import open_labelled
        from dar.train.run_images import open_validation

        source, class_names = open_labelled(settings, data, tokens)
        _tell_found(process, source, open_validation(settings.data, validation))
        _tell(estimate_prior(settings, len(class_names), processes), settings.prior_training, processes, process)
        return
    outcome = train_prior(
        settings, data, tokenizer, out, tokens=tokens, validation=validation, resume=resume, trackers=tracker or ()
    )
    _report(outcome, out, process)


@app.command("classifier")
def classifier(
    recipe: Annotated[str, typer.Option(help="classifier-cifar10, or a YAML file.")],
    data: Data,
    out: Out,
    validation: Annotated[str | None, typer.Option(help="Held-out images, to measure the accuracy on.")] = None,
    image_column: options.ImageColumn = "",
    label_column: options.LabelColumn = "",
    resume: Resume = False,
    tracker: Tracker = None,
    overrides: Overrides = None,
) -> None:
    """Train a small classifier, whose features and classes compare models; OUT/model then holds it.

    Example: dar train classifier --recipe classifier-cifar10 --data train.parquet --validation test.parquet --out run
    """
    process, _ = options.place_among_processes()
    from dar.extras import require_extra

    require_extra("train")
    from dar.train.classifier import train_classifier
    from dar.train.classifier_recipe import load_classifier_recipe

    chosen = _columns("classifier_training", image_column, label_column)
    settings = load_classifier_recipe(recipe, [*(overrides or ()), *chosen])
    outcome = train_classifier(settings, data, out, validation=validation, resume=resume, trackers=tracker or ())
    _report(outcome, out, process)


def _columns(section: str, image_column: str, label_column: str) -> list[str]:
    """Overrides of a recipe that choose columns; what the recipe says stays where nothing is chosen."""
    chosen = {"image_column": image_column, "label_column": label_column}
    return [f"{section}.{name}={json.dumps(column)}" for name, column in chosen.items() if column]


def _tell_found(process: int, *sources: object) -> None:
    """Say what was found; tokens have been looked at when they were made."""
    for source in sources:
        if process == 0 and (summary := getattr(source, "summary", None)) is not None:
            typer.echo(summary.sentence())


def _tell(estimate: "Estimate", training: "TrainingRecipe", processes: int, process: int) -> None:
    import torch

    from dar.train.estimate import matrix_rate
    from dar.train.loop import use_bf16

    if process == 0:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if use_bf16(training.precision) else torch.float32
        for line in estimate.lines(matrix_rate(device, dtype), processes):
            typer.echo(line)


def _report(outcome: "Outcome", out: Path, process: int) -> None:
    from dar.train.loop import Outcome

    if process == 0:  # one of many processes speaks
        if outcome is Outcome.FINISHED:
            typer.echo(f"done: the model is in {out / 'model'}, the curves are in {out / 'curves.png'}")
        else:
            typer.echo(f"{outcome.value}, with a checkpoint in {out}; the same command with --resume goes on")
    if outcome is Outcome.INTERRUPTED:
        raise typer.Exit(options.INTERRUPTED)
