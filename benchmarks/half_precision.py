"""What half precision changes in samples: ``python -m benchmarks.half_precision --num 64``.

The same seeds and classes in each type. A rounded probability may tip the draw of a token, and what follows is then
another image; so pictures are also compared where all types decode the tokens that float32 drew.
"""

import statistics
from collections.abc import Iterator
from datetime import date
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.hardware import TYPES, processor
from benchmarks.timing import repeated
from dar.generation.memory import image_memory
from dar.metrics.similarity import psnr
from dar.pipeline import DARPipeline
from dar.prior.guidance import Guidance

BATCH = 16
"""Images that are made at once."""

HEADINGS = (
    "type",
    "tokens as in float32",
    "images with all of them",
    "PSNR of decoding, mean",
    "least, dB",
    f"seconds for {BATCH} images",
    "MB of weights",
    "and an image",
)


def measured(model: str | None, num: int, guidance: Guidance, budget: float) -> Iterator[tuple[str, ...]]:
    """Measure the types in turn, float32 first; yield a row of the table for each."""
    expected: tuple[Tensor, Tensor] | None = None
    for name, dtype in TYPES.items():
        pipe = DARPipeline.from_pretrained(model, dtype=dtype)
        classes = [i % pipe.prior.config.num_classes for i in range(num)]
        tokens = pipe(classes, seed=0, batch_size=BATCH, guidance_scale=guidance).tokens
        drawn = tokens if expected is None else expected[0]
        starts = range(0, num, BATCH)
        images = torch.cat([pipe.tokenizer.decode(drawn[i : i + BATCH], seed=i) for i in starts]).float()
        expected = expected or (tokens, images)
        same, decibels = tokens == expected[0], psnr(images, expected[1])
        runs = repeated(lambda: pipe(classes[:BATCH], seed=0, guidance_scale=guidance), pipe.device, budget)  # noqa: B023
        weights = sum(one.nbytes for part in (pipe.tokenizer, pipe.prior) for one in part.parameters())
        image = image_memory(pipe.tokenizer.config, pipe.prior.config, dtype, guided=True).peak
        yield (
            name,
            f"{same.float().mean():.1%}",
            f"{same.all(1).float().mean():.1%}",
            f"{decibels.mean():.1f}",
            f"{decibels.min():.1f}",
            f"{statistics.median(runs):.3f}",
            f"{weights / 1e6:.1f}",
            f"{image / 1e6:.1f}",
        )


def main(
    model: Annotated[str | None, typer.Option(help="Folder or Hub id; the bundled one unless told.")] = None,
    num: Annotated[int, typer.Option(help="Images of each type.")] = 64,
    guidance: Annotated[str, typer.Option(help="Scale of guidance, or its start and end.")] = "1:3",
    seconds: Annotated[float, typer.Option(help="How long each type is timed.")] = 10,
) -> None:
    """Sample the same seeds in float32, bfloat16 and float16, and compare tokens, pictures, time and memory."""
    typer.echo(f"{processor()['name']}, torch {torch.__version__}, {date.today()}, {num} images, guidance {guidance}")
    typer.echo(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    for row in measured(model, num, Guidance.parse(guidance), seconds):
        typer.echo(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    typer.run(main)
