"""What it gains to let denoising steps run while the prior goes on: ``python -m benchmarks.overlap``.

In turn: each step between two groups, as the pipeline does it, with all threads. Overlapped: the prior in a thread of
its own with one computing thread, and denoising with the others until the last group is there.
"""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import islice
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.hardware import processor
from dar.pipeline import DARPipeline
from dar.prior.guidance import Guidance
from dar.prior.sampling import generate_tokens
from dar.randomness import draw_noise_and_uniforms

Run = tuple[float, float, Tensor]
"""Seconds to the first preview and to the last image; the image."""


def groups_of(pipe: DARPipeline, uniforms_BN: Tensor) -> Iterator[Tensor]:
    """Generate groups of tokens of classes in turn, at guidance 1 to 3."""
    classes_B = torch.arange(len(uniforms_BN)) % pipe.prior.config.num_classes
    columns = generate_tokens(pipe.prior, classes_B, uniforms_BN, Guidance(1, 3))
    while group := list(islice(columns, pipe.tokenizer.config.tokens_per_group)):
        yield torch.stack(group, dim=1)


def ahead(groups: Iterator[Tensor], count: int, threads: int) -> Iterator[Tensor]:
    """Give groups that another thread generates; after the last one, this thread takes all computing threads."""
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as worker:
        coming = [worker.submit(next, groups) for _ in range(count)]
        torch.set_num_threads(max(threads - 1, 1))
        for future in coming[:-1]:
            yield future.result()
        last = coming[-1].result()
        torch.set_num_threads(threads)
        yield last


def run(pipe: DARPipeline, batch: int, overlapped: bool, threads: int) -> Run:
    """Generate a batch once."""
    config = pipe.tokenizer.config
    noise, uniforms = draw_noise_and_uniforms(range(batch), config.image_size, config.num_tokens)
    groups = groups_of(pipe, uniforms)
    given = ahead(groups, config.num_groups, threads) if overlapped else groups
    start = time.perf_counter()
    images = pipe.tokenizer.denoise(given, noise)
    next(images)
    first = time.perf_counter() - start
    *_, image = images
    return first, time.perf_counter() - start, image


def main(
    model: Annotated[str | None, typer.Option(help="Folder or Hub id; the bundled one unless told.")] = None,
    batch: Annotated[list[int] | None, typer.Option(help="Images at once; repeat it for several.")] = None,
    runs: Annotated[int, typer.Option(help="Of each kind.")] = 9,
) -> None:
    """Generate in turn and overlapped, and compare."""
    pipe, threads = DARPipeline.from_pretrained(model), torch.get_num_threads()
    typer.echo(
        f"{processor()['name']}, {threads} threads, torch {torch.__version__}, {date.today()}, medians of {runs}"
    )
    typer.echo("| images | | first preview, s | last image, s | values differ by at most |\n|---|---|---|---|---|")
    for size in batch or (1, 16):
        for overlapped in (False, True):
            run(pipe, size, overlapped, threads)
        pairs = [[run(pipe, size, overlapped, threads) for overlapped in (False, True)] for _ in range(runs)]
        for name, kind in (("in turn", 0), ("overlapped", 1)):
            first, last = (statistics.median(float(pair[kind][part]) for pair in pairs) for part in (0, 1))
            most = max(float((pair[kind][2] - pair[0][2]).abs().max()) for pair in pairs)
            typer.echo(f"| {size} | {name} | {first:.3f} | {last:.3f} | {most:.1e} |")


if __name__ == "__main__":
    typer.run(main)
