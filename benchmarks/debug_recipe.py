"""Whether the debug recipe shows that training works: how far it gets beyond the mean image, and in what time.

    python benchmarks/debug_recipe.py --data photos/ --sheet debug.png

Trains a tokenizer by the recipe, and prints the seconds, the PSNR of the mean image, and by either solver that of
reconstructions from one, half and all groups: of all images (the first 1000 of many), each compared with its own
original. Then trains a prior on its tokens, and prints the seconds and how its loss fell. The sheet shows eight images.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from dar.data import ImageDataset
from dar.data.crops import CenterCropDecoder
from dar.images import from_uint8, save_image
from dar.metrics.similarity import psnr
from dar.pipeline import load_tokenizer
from dar.reconstruction import reconstruction_sheet, reconstructions
from dar.solvers import SOLVERS
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.prior import train_prior
from dar.train.recipe import Recipe, load_recipe
from dar.train.tokenizer import train_tokenizer

MOST, BATCH, SHOWN = 1000, 100, 8


def timed(training: Callable[[], object]) -> str:
    """Run a training; seconds on the clock, and of all threads together."""
    wall, cpu = time.monotonic(), time.process_time()
    training()
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    return f"{wall:.0f} s, of {torch.get_num_threads()} threads {cpu:.0f} s"


def originals(recipe: Recipe, data: str) -> Tensor:
    """The squares that the tokenizer is trained on, M x 3 x S x S in [-1, 1]."""
    images = ImageDataset(data)
    decoder = CenterCropDecoder(images, recipe.tokenizer.image_size)
    return from_uint8(decoder(range(min(MOST, len(images)))).images)


def stages_of(tokenizer: SequentialDiffusionTokenizer, pixels: Tensor, solver: str) -> list[Tensor]:
    """What 1, 2, ... and all groups of all images decode to."""
    batches = [reconstructions(tokenizer, batch, solver=solver) for batch in pixels.split(BATCH)]
    return [torch.cat(of_batches) for of_batches in zip(*batches, strict=True)]


def decibels(guess: Tensor, pixels: Tensor) -> str:
    """Mean PSNR."""
    return f"{psnr(guess, pixels).mean().item():.1f}"


def fall_of_loss(run: Path) -> str:
    """First and last loss in a run's log."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    return f"{losses[0]:.2f} to {losses[-1]:.2f}"


def measure(
    data: Annotated[str, typer.Option(help="A folder of images, or any other source that training takes.")],
    sheet: Annotated[Path | None, typer.Option(help="File for a picture of reconstructions.")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value, replacing the recipe's.")] = None,
) -> None:
    """Train by the debug recipe, and print what was reached."""
    recipe = load_recipe("debug", overrides or ())
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "tokenizer", Path(folder) / "prior"
        of_tokenizer = timed(lambda: train_tokenizer(recipe, data, first))
        of_prior = timed(lambda: train_prior(recipe, data, first / "model", second))
        tokenizer = load_tokenizer(first / "model")
        losses = {"tokenizer": fall_of_loss(first), "prior": fall_of_loss(second)}
    pixels = originals(recipe, data)
    mean = pixels.mean(0, keepdim=True).expand_as(pixels)
    groups = recipe.tokenizer.num_groups
    chosen = sorted({1, max(1, groups // 2), groups})
    typer.echo(f"tokenizer   {of_tokenizer}; loss {losses['tokenizer']}")
    typer.echo(f"prior       {of_prior}; loss {losses['prior']}")
    typer.echo(f"mean image  {decibels(mean, pixels)} dB")
    for solver in SOLVERS:
        stages = stages_of(tokenizer, pixels, solver)
        figures = ", ".join(decibels(stages[k - 1], pixels) for k in chosen)
        typer.echo(f"{', '.join(map(str, chosen))} groups by {solver}  {figures} dB")
    if sheet is not None:
        shown = pixels[:SHOWN]
        save_image(reconstruction_sheet(shown, reconstructions(tokenizer, shown)), sheet)


if __name__ == "__main__":
    typer.run(measure)
