"""Whether the debug recipe shows that training works: how far it gets beyond the mean image, and in what time.

    python benchmarks/debug_recipe.py --data photos/

Trains a tokenizer by the recipe, and prints the seconds, the PSNR of the mean image, and that of reconstructions from
1 to all groups: of all images (the first 1000 of many), each compared with its own original.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from dar.data import ImageDataset
from dar.data.crops import CenterCropDecoder
from dar.images import from_levels
from dar.metrics.similarity import psnr
from dar.pipeline import load_tokenizer
from dar.reconstruction import reconstructions
from dar.train.recipe import load_recipe
from dar.train.tokenizer import train_tokenizer

MOST, BATCH = 1000, 100


def measure(
    data: Annotated[str, typer.Option(help="A folder of images, or any other source that training takes.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value, replacing the recipe's.")] = None,
) -> None:
    """Train by the debug recipe, and print what was reached."""
    recipe = load_recipe("debug", overrides or ())
    with tempfile.TemporaryDirectory() as folder:
        run, wall, cpu = Path(folder) / "run", time.monotonic(), time.process_time()
        train_tokenizer(recipe, data, run)
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        tokenizer = load_tokenizer(run / "model")
    images = ImageDataset(data)
    decoder = CenterCropDecoder(images, recipe.tokenizer.image_size)
    pixels = from_levels(decoder(range(min(MOST, len(images)))).images)
    mean = pixels.mean(0, keepdim=True).expand_as(pixels)
    batches = [reconstructions(tokenizer, batch) for batch in pixels.split(BATCH)]
    stages = [torch.cat(of_batches) for of_batches in zip(*batches, strict=True)]
    curve = ", ".join(f"{psnr(stage, pixels).mean().item():.2f}" for stage in stages)
    typer.echo(f"seconds               {wall:.0f}, of {torch.get_num_threads()} threads {cpu:.0f}")
    typer.echo(f"mean image            {psnr(mean, pixels).mean().item():.2f} dB")
    typer.echo(f"from 1 to all groups  {curve} dB")


if __name__ == "__main__":
    typer.run(measure)
