"""Train the bundled model from images to weights, in pieces that each go on where the last one stopped.

    python scripts/train_bundled.py --data cifar10/ --out runs/ --minutes 9

Run it again until it says "done"; torchrun starts several processes of it. scripts/bundle_model.py then puts the
result into the package.
"""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from dar.train.classifier import train_classifier
from dar.train.classifier_recipe import load_classifier_recipe
from dar.train.loop import Outcome
from dar.train.prior import train_prior
from dar.train.recipe import load_recipe
from dar.train.run_folder import RunFolder
from dar.train.tokenizer import train_tokenizer

GUIDE = "classifier-cifar10-guide"


def stages(recipe: str, data: Path, out: Path, overrides: list[str]) -> dict[str, Callable[[bool], Outcome]]:
    """The trainings by the names of their folders, in order; each takes whether to resume."""
    train, test = data / "train.parquet", data / "test.parquet"
    guides = [f"tokenizer_training.perceptual_network=[{out / 'guide' / 'model'}, 'classifier:cifar10']"]
    guide, model = load_classifier_recipe(GUIDE), load_recipe(recipe, [*guides, *overrides])
    second = load_recipe(f"{recipe}-decoder", overrides)
    tokenizer, decoder = out / "tokenizer", out / "decoder"
    return {
        "guide": lambda resume: train_classifier(guide, train, out / "guide", validation=test, resume=resume),
        "tokenizer": lambda resume: train_tokenizer(model, train, tokenizer, validation=test, resume=resume),
        "decoder": lambda resume: train_tokenizer(
            second, train, decoder, validation=test, init=tokenizer / "model", resume=resume
        ),
        "prior": lambda resume: train_prior(
            second, train, decoder / "model", out / "prior", validation=test, resume=resume
        ),
    }


def main(
    data: Annotated[Path, typer.Option(help="Folder with CIFAR-10's train.parquet and test.parquet.")],
    out: Annotated[Path, typer.Option(help="Folder for the run folders.")],
    minutes: Annotated[
        float | None, typer.Option(help="Stop with a checkpoint after so long; None means at the end.")
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Of the tokenizer; that of decoder and prior has -decoder after it.")
    ] = "cifar10",
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value")] = None,
) -> None:
    """Train what is not finished yet."""
    if minutes is not None:  # what Ctrl-C does: finish the step, save, stop
        timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()
    for name, train in stages(recipe, data, out, overrides or []).items():
        run = RunFolder(out / name)
        if run.model.is_dir():
            typer.echo(f"{name}: finished before")
        elif _run(train, resume=run.recipe.is_file()) is not Outcome.FINISHED:
            typer.echo(f"{name}: stopped; the same command goes on")
            raise typer.Exit(0)
    typer.echo(f"done: {out / 'prior' / 'model'}")


def _run(train: Callable[[bool], Outcome], *, resume: bool) -> Outcome:
    try:
        return train(resume)
    except KeyboardInterrupt:  # before the first step, while images are decoded
        return Outcome.INTERRUPTED


if __name__ == "__main__":
    typer.run(main)
