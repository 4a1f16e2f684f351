"""``dar train tokenizer`` and ``dar train prior``."""

from pathlib import Path
from typing import Annotated

import typer

from dar.cli import options

app = typer.Typer(help="Train a tokenizer, then a prior on its tokens.", no_args_is_help=True)

INTERRUPTED = 130
"""Exit code of a training that was stopped before its end, so that a script does not go on without a model."""

Recipe = Annotated[str, typer.Option(help="debug, cifar10, imagenet256, or a YAML file.")]
Data = Annotated[str, typer.Option(help=options.SOURCES)]
Out = Annotated[Path, typer.Option(help="Run folder; must be new or empty, unless resumed.")]
Validation = Annotated[str | None, typer.Option(help="Held-out images, for pictures and figures.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in the run folder.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="section.field=value, replacing the recipe's.")]


@app.command("tokenizer")
def tokenizer(
    recipe: Recipe,
    data: Data,
    out: Out,
    validation: Validation = None,
    resume: Resume = False,
    overrides: Overrides = None,
) -> None:
    """Train a tokenizer; OUT/model then holds it.

    Example: dar train tokenizer --recipe debug --data photos/ --out runs/tokenizer tokenizer_training.steps=50
    """
    from dar.train.extras import require_extras

    require_extras()
    from dar.train.recipe import load_recipe
    from dar.train.tokenizer import train_tokenizer

    settings = load_recipe(recipe, overrides or ())
    _report(train_tokenizer(settings, data, out, validation=validation, resume=resume), out)


@app.command("prior")
def prior(
    recipe: Recipe,
    tokenizer: Annotated[str, typer.Option(help="Folder or Hub id of the trained tokenizer.")],
    out: Out,
    data: Annotated[str | None, typer.Option(help=f"{options.SOURCES} This, or --tokens.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Folder that dar tokenize wrote, in place of --data.")] = None,
    validation: Validation = None,
    resume: Resume = False,
    overrides: Overrides = None,
) -> None:
    """Train a prior on a tokenizer's tokens; OUT/model then holds both.

    Example: dar train prior --recipe debug --data photos/ --tokenizer runs/tokenizer/model --out runs/prior
    """
    from dar.train.extras import require_extras

    require_extras()
    from dar.train.prior import train_prior
    from dar.train.recipe import load_recipe

    settings = load_recipe(recipe, overrides or ())
    _report(train_prior(settings, data, tokenizer, out, tokens=tokens, validation=validation, resume=resume), out)


def _report(finished: bool, out: Path) -> None:
    if finished:
        typer.echo(f"done: the model is in {out / 'model'}, the curves are in {out / 'curves.png'}")
    else:
        typer.echo(f"stopped with a checkpoint in {out}; the same command with --resume goes on")
        raise typer.Exit(INTERRUPTED)
