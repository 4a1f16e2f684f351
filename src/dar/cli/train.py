"""``dar train tokenizer``, ``dar train prior`` and ``dar train classifier``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.cli.option_groups import grouped
from dar.cli.train_options import Data, Init, Out, Overrides, Recipe, StartOptions, Validation

if TYPE_CHECKING:
    from dar.train.estimate import Estimate
    from dar.train.hardware import Hardware
    from dar.train.loop import Outcome

app = typer.Typer(
    help="Train a tokenizer, then a prior on its tokens; or a classifier to compare models with.", no_args_is_help=True
)


@app.command("tokenizer")
@grouped
def tokenizer(
    recipe: Recipe,
    data: Data,
    out: Out,
    validation: Validation = None,
    init: Init = None,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Read images as they come, for what is large.")
    ] = False,
    overrides: Overrides = None,
    *,
    start: StartOptions,
) -> None:
    """Train a tokenizer; OUT/model then holds it.

    Example: dar train tokenizer --recipe debug --data photos/ --out runs/tokenizer tokenizer_training.seed=1
    """
    from dar.extras import require_extra

    require_extra("train")
    process, processes = options.rank_and_world_size()
    from dar.train.recipe import load_recipe

    chosen = start.columns("data")
    settings = load_recipe(recipe, [*(overrides or ()), *(["data.streaming=true"] if streaming else []), *chosen])
    start.check(out)
    checks.data(data, validation)
    if init is not None:
        checks.tokenizer(init)
    from dar.train.tokenizer import train_tokenizer

    if start.dry_run:
        from dar.train.estimate import estimate_tokenizer
        from dar.train.run_images import open_training_images, open_validation

        _report_found(process, open_training_images(settings.data, data), open_validation(settings.data, validation))
        hardware = start.hardware(processes, settings.tokenizer_training)
        _report_estimate(process, estimate_tokenizer(settings, hardware.processes, bf16=hardware.bf16), hardware)
        return
    outcome = train_tokenizer(
        settings, data, out, validation=validation, init=init, resume=start.resume, trackers=start.tracker or ()
    )
    _report(outcome, out, process)


@app.command("prior")
@grouped
def prior(
    recipe: Recipe,
    tokenizer: Annotated[str, typer.Option(help="Folder or Hub id of the trained tokenizer.")],
    out: Out,
    data: Annotated[str | None, typer.Option(help=f"{options.SOURCES} This, or --tokens.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Folder that dar tokenize wrote, in place of --data.")] = None,
    validation: Validation = None,
    init: Init = None,
    overrides: Overrides = None,
    *,
    start: StartOptions,
) -> None:
    """Train a prior on a tokenizer's tokens; OUT/model then holds both.

    Example: dar train prior --recipe debug --data photos/ --tokenizer runs/tokenizer/model --out runs/prior
    """
    from dar.extras import require_extra

    require_extra("train")
    process, processes = options.rank_and_world_size()
    from dar.train.recipe import load_recipe

    settings = load_recipe(recipe, [*(overrides or ()), *start.columns("data")])
    start.check(out)
    checks.data(data, validation)
    checks.paths("folder of tokens", tokens)
    if init is not None:
        checks.tokenizer(init)
    if not start.dry_run:
        checks.tokenizer(tokenizer)
    from dar.train.prior import train_prior

    if start.dry_run:
        from dar.train.estimate import estimate_prior
        from dar.train.run_images import open_validation
        from dar.train.token_sources import open_token_source

        source = open_token_source(settings, data, tokens)
        _report_found(process, source, open_validation(settings.data, validation))
        hardware = start.hardware(processes, settings.prior_training)
        estimate = estimate_prior(settings, len(source.class_names), hardware.processes, bf16=hardware.bf16)
        _report_estimate(process, estimate, hardware)
        return
    outcome = train_prior(
        settings,
        data,
        tokenizer,
        out,
        tokens=tokens,
        validation=validation,
        init=init,
        resume=start.resume,
        trackers=start.tracker or (),
    )
    _report(outcome, out, process)


@app.command("classifier")
@grouped
def classifier(
    recipe: Annotated[str, typer.Option(help="classifier-cifar10, or a YAML file.")],
    data: Data,
    out: Out,
    validation: Annotated[str | None, typer.Option(help="Held-out images, to measure the accuracy on.")] = None,
    overrides: Overrides = None,
    *,
    start: StartOptions,
) -> None:
    """Train a small classifier, whose features and classes compare models; OUT/model then holds it.

    Example: dar train classifier --recipe classifier-cifar10 --data train.parquet --validation test.parquet --out run
    """
    from dar.extras import require_extra

    require_extra("train")
    process, processes = options.rank_and_world_size()
    from dar.train.classifier_recipe import load_classifier_recipe

    start.check(out)
    checks.data(data, validation)
    chosen = start.columns("classifier_training")
    settings = load_classifier_recipe(recipe, [*(overrides or ()), *chosen])
    from dar.train.classifier import open_classes, train_classifier

    if start.dry_run:
        from dar.train.estimate import estimate_classifier

        source, held_out = open_classes(settings, data, validation)
        _report_found(process, source, held_out)
        hardware = start.hardware(processes, settings.classifier_training)
        estimate = estimate_classifier(settings, len(source.class_names), hardware.processes, bf16=hardware.bf16)
        _report_estimate(process, estimate, hardware)
        return
    outcome = train_classifier(
        settings, data, out, validation=validation, resume=start.resume, trackers=start.tracker or ()
    )
    _report(outcome, out, process)


def _report_found(process: int, *sources: object) -> None:
    """Print what was found; tokens have no summary, since their images were described when they were made."""
    for source in sources:
        if process == 0 and (summary := getattr(source, "summary", None)) is not None:
            options.say(summary.sentence())


def _report_estimate(process: int, estimate: "Estimate", hardware: "Hardware") -> None:
    if process == 0:
        for line in estimate.lines(hardware):
            options.say(line)


def _report(outcome: "Outcome", out: Path, process: int) -> None:
    from dar.train.loop import Outcome

    if process == 0:  # one of many processes speaks
        if outcome is Outcome.FINISHED:
            options.say(f"done: the model is in {out / 'model'}, the curves are in {out / 'curves.png'}")
        else:
            options.say(f"{outcome.value}, with a checkpoint in {out}; the same command with --resume goes on")
    if outcome is Outcome.INTERRUPTED:
        raise typer.Exit(options.INTERRUPTED)
