"""How much another chunk size changes samples: ``python benchmarks/chunk_rounding.py --num 200``.

Another batch shape rounds otherwise. Mostly that stays below a level; now and then it tips the draw of a token, and
what follows is then another image.
"""

import time
from dataclasses import replace
from typing import Annotated

import torch
import typer
from torch import Tensor

from dar.generation.settings import GenerationSettings
from dar.pipeline import DARPipeline
from dar.samples.sampling import SampleSettings, rounded


def sampled(pipe: DARPipeline, settings: SampleSettings) -> tuple[Tensor, Tensor]:
    """Levels, N x H x W x 3, and tokens, N x T, of all images."""
    images_uint8, tokens = [], []
    for chunk in range(settings.chunks):
        indices = settings.indices(chunk)
        for preview in pipe.stream([settings.label(i) for i in indices], **settings.of_stream(indices.start)):
            last = preview
        images_uint8.append(rounded(last.pixels, settings.rounding))
        tokens.append(last.tokens.cpu())
    return torch.cat(images_uint8), torch.cat(tokens)


def main(
    model: Annotated[str | None, typer.Option(help="Folder or Hub id; the bundled one unless told.")] = None,
    num: Annotated[int, typer.Option(help="Images of each chunk size.")] = 200,
    reference: Annotated[int, typer.Option(help="Chunk size that the others are compared with.")] = 50,
    chunk: Annotated[list[int] | None, typer.Option(help="Chunk size to compare; repeat it for several.")] = None,
    device: Annotated[str, typer.Option(help="Where to compute.")] = "cpu",
) -> None:
    """Sample the same images in chunks of several sizes, and compare them value by value."""
    pipe = DARPipeline.from_pretrained(model, device=device)
    classes, steps = tuple(range(pipe.prior.config.num_classes)), pipe.tokenizer.config.num_steps
    settings = SampleSettings(generation=GenerationSettings(steps=steps), num=num, classes=classes, chunk=reference)
    expected, expected_tokens = sampled(pipe, settings)
    typer.echo(f"{num} images on {device}, torch {torch.__version__}, compared with chunks of {reference}")
    typer.echo("| chunk | images/s | images whose tokens differ | of the others: values that differ | by at most |")
    typer.echo("|---|---|---|---|---|")
    for size in chunk or (1, 10, 50, 100):
        start = time.perf_counter()
        found, tokens = sampled(pipe, replace(settings, chunk=size))
        rate = num / (time.perf_counter() - start)
        strays_N = (tokens != expected_tokens).any(1)
        differences = (found.int() - expected.int()).abs()[~strays_N]
        share, most = (differences > 0).float().mean().item(), int(differences.max()) if len(differences) else 0
        typer.echo(f"| {size} | {rate:.1f} | {int(strays_N.sum())} of {num} | {share:.4%} | {most} |")


if __name__ == "__main__":
    typer.run(main)
