"""``dar train tokenizer``, ``dar train prior`` and ``dar train classifier``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.errors import DARError

if TYPE_CHECKING:
    from dar.train.estimate import Estimate
    from dar.train.hardware import Hardware
    from dar.train.loop import Outcome
    from dar.train.recipe import TrainingRecipe

app = typer.Typer(
    help="Train a tokenizer, then a prior on its tokens; or a classifier to compare models with.", no_args_is_help=True
)

Recipe = Annotated[
    str, typer.Option(help="debug, cifar10 (-cpu, -finetune), imagenet256-L (-XL, -XXL), or a YAML file.")
]
Data = Annotated[str, typer.Option(help=options.SOURCES)]
Out = Annotated[Path, typer.Option(help="Run folder; must be new or empty, unless resumed.")]
Validation = Annotated[str | None, typer.Option(help="Held-out images, for pictures and figures.")]
Init = Annotated[
    str | None, typer.Option(help="Model to begin with the weights of (fine-tuning): cifar10, a folder or a Hub id.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in the run folder.")]
Tracker = Annotated[list[str] | None, typer.Option(help="tensorboard or wandb, beside log.jsonl; repeatable.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell sizes, memory and time.")]
On = Annotated[
    str | None, typer.Option("--on", help="With --dry-run: for other hardware, such as h100x8, as published.")
]
Overrides = Annotated[list[str] | None, typer.Argument(help="section.field=value, replacing the recipe's.")]


@app.command("tokenizer")
def tokenizer(
    recipe: Recipe,
    data: Data,
    out: Out,
    validation: Validation = None,
    init: Init = None,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Read images as they come, for what is large.")
    ] = False,
    image_column: options.ImageColumn = "",
    label_column: options.LabelColumn = "",
    resume: Resume = False,
    tracker: Tracker = None,
    dry_run: DryRun = False,
    on: On = None,
    overrides: Overrides = None,
) -> None:
    """Train a tokenizer; OUT/model then holds it.

    Example: dar train tokenizer --recipe debug --data photos/ --out runs/tokenizer tokenizer_training.seed=1
    """
    from dar.extras import require_extra

    require_extra("train")
    process, processes = options.place_among_processes()
    from dar.train.recipe import load_recipe

    chosen = _columns("data", image_column, label_column)
    settings = load_recipe(recipe, [*(overrides or ()), *(["data.streaming=true"] if streaming else []), *chosen])
    _check(out, tracker, on, resume=resume, dry_run=dry_run)
    checks.data(data, validation)
    if init is not None:
        checks.tokenizer(init)
    from dar.train.tokenizer import train_tokenizer

    if dry_run:
        from dar.train.estimate import estimate_tokenizer
        from dar.train.run_images import open_training_images, open_validation

        _tell_found(process, open_training_images(settings.data, data), open_validation(settings.data, validation))
        hardware = _hardware(on, processes, settings.tokenizer_training)
        _tell(process, estimate_tokenizer(settings, hardware.processes, bf16=hardware.bf16), hardware)
        return
    outcome = train_tokenizer(
        settings, data, out, validation=validation, init=init, resume=resume, trackers=tracker or ()
    )
    _report(outcome, out, process)


@app.command("prior")
def prior(
    recipe: Recipe,
    tokenizer: Annotated[str, typer.Option(help="Folder or Hub id of the trained tokenizer.")],
    out: Out,
    data: Annotated[str | None, typer.Option(help=f"{options.SOURCES} This, or --tokens.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Folder that dar tokenize wrote, in place of --data.")] = None,
    validation: Validation = None,
    init: Init = None,
    image_column: options.ImageColumn = "",
    label_column: options.LabelColumn = "",
    resume: Resume = False,
    tracker: Tracker = None,
    dry_run: DryRun = False,
    on: On = None,
    overrides: Overrides = None,
) -> None:
    """Train a prior on a tokenizer's tokens; OUT/model then holds both.

    Example: dar train prior --recipe debug --data photos/ --tokenizer runs/tokenizer/model --out runs/prior
    """
    from dar.extras import require_extra

    require_extra("train")
    process, processes = options.place_among_processes()
    from dar.train.recipe import load_recipe

    settings = load_recipe(recipe, [*(overrides or ()), *_columns("data", image_column, label_column)])
    _check(out, tracker, on, resume=resume, dry_run=dry_run)
    checks.data(data, validation)
    checks.paths("folder of tokens", tokens)
    if init is not None:
        checks.tokenizer(init)
    if not dry_run:
        checks.tokenizer(tokenizer)
    from dar.train.prior import train_prior

    if dry_run:
        from dar.train.estimate import estimate_prior
        from dar.train.run_images import open_validation
        from dar.train.token_sources import open_token_source

        source = open_token_source(settings, data, tokens)
        _tell_found(process, source, open_validation(settings.data, validation))
        hardware = _hardware(on, processes, settings.prior_training)
        estimate = estimate_prior(settings, len(source.class_names), hardware.processes, bf16=hardware.bf16)
        _tell(process, estimate, hardware)
        return
    outcome = train_prior(
        settings,
        data,
        tokenizer,
        out,
        tokens=tokens,
        validation=validation,
        init=init,
        resume=resume,
        trackers=tracker or (),
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
    dry_run: DryRun = False,
    on: On = None,
    overrides: Overrides = None,
) -> None:
    """Train a small classifier, whose features and classes compare models; OUT/model then holds it.

    Example: dar train classifier --recipe classifier-cifar10 --data train.parquet --validation test.parquet --out run
    """
    from dar.extras import require_extra

    require_extra("train")
    process, processes = options.place_among_processes()
    from dar.train.classifier_recipe import load_classifier_recipe

    _check(out, tracker, on, resume=resume, dry_run=dry_run)
    checks.data(data, validation)
    chosen = _columns("classifier_training", image_column, label_column)
    settings = load_classifier_recipe(recipe, [*(overrides or ()), *chosen])
    from dar.train.classifier import open_classes, train_classifier

    if dry_run:
        from dar.train.estimate import estimate_classifier

        source, held_out = open_classes(settings, data, validation)
        _tell_found(process, source, held_out)
        hardware = _hardware(on, processes, settings.classifier_training)
        estimate = estimate_classifier(settings, len(source.class_names), hardware.processes, bf16=hardware.bf16)
        _tell(process, estimate, hardware)
        return
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


def _check(out: Path, trackers: list[str] | None, on: str | None, *, resume: bool, dry_run: bool) -> None:
    """Check what takes nothing heavy to check."""
    from dar.extras import check_trackers
    from dar.train.hardware import split_name
    from dar.train.run_folder import RunFolder

    check_trackers(trackers or ())
    if on is not None:
        if not dry_run:
            raise DARError("--on goes with --dry-run: a training itself runs here")
        split_name(on)
    if not dry_run:
        RunFolder(out).check(resume=resume)


def _hardware(on: str | None, processes: int, training: "TrainingRecipe") -> "Hardware":
    from dar.train.hardware import published, this_machine

    return published(on, training.precision) if on else this_machine(processes, training.precision)


def _tell(process: int, estimate: "Estimate", hardware: "Hardware") -> None:
    if process == 0:
        for line in estimate.lines(hardware):
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
