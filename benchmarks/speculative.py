"""What drawing several tokens a pass gains, from the same distribution: ``python -m benchmarks.speculative``.

First what a pass of several tokens a row takes, of the bundled model and of a prior of published size with random
weights; then the bundled model's tokens of one image, drawn one by one and by drafts, in turn.
"""

import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer

from benchmarks.hardware import processor
from benchmarks.speed_cases import BUNDLED, DRAWN, Case, build
from benchmarks.timing import seconds
from dar.prior import Prior
from dar.prior.decoding import TokenDecoder, decoder_of
from dar.prior.drawing import Sampling
from dar.prior.guidance import Guidance
from dar.prior.sampling import generate_tokens
from dar.prior.speculative import generate_tokens_by_drafts

WIDTHS = (1, 2, 4, 8, 16)
"""Tokens that a row sees in one pass."""


@torch.inference_mode()
def pass_seconds(prior: Prior, runs: int) -> dict[int, float]:
    """Time passes of each width in turn, two rows that have seen half of their tokens: medians."""
    decoder, seen = decoder_of(prior, prior.dtype), prior.config.num_tokens // 2
    cache = decoder.new_cache(2)
    cache.lengths = [seen] * 2
    ids = torch.randint(prior.config.codebook_size, (2, max(WIDTHS)), device=prior.device)
    found: dict[int, list[float]] = {width: [] for width in WIDTHS}
    for run in range(runs + 1):
        for width in WIDTHS:
            taken = seconds(lambda: decoder.all_logits(ids[:, :width], cache), prior.device)  # noqa: B023
            if run:  # the first prepares what later ones use
                found[width].append(taken)
    return {width: statistics.median(times) for width, times in found.items()}


@contextmanager
def passes_counted() -> Iterator[Counter[str]]:
    """Count passes of several tokens."""
    counter, all_logits = Counter[str](), TokenDecoder.all_logits

    def counted(*given: Any) -> Any:
        counter["passes"] += 1
        return all_logits(*given)

    with patch.object(TokenDecoder, "all_logits", counted):
        yield counter


def compared(
    prior: Prior, guidance: Guidance, sampling: Sampling, images: int
) -> tuple[float, dict[int, tuple[float, float]]]:
    """Draw images one at a time, in each way in turn.

    Returns:
        Median seconds one by one; by window, tokens a pass and median seconds.
    """
    length, windows = prior.config.num_tokens, WIDTHS[1:]
    singly: list[float] = []
    times: dict[int, list[float]] = {window: [] for window in windows}
    passes = dict.fromkeys(windows, 0)
    for image in range(-1, images):  # the first is not counted
        classes = torch.tensor([image % prior.config.num_classes])
        generator = torch.Generator().manual_seed(image + 1)
        uniforms = torch.rand(1, length, generator=generator, dtype=torch.float64)
        alone = seconds(lambda: list(generate_tokens(prior, classes, uniforms, guidance, sampling)), prior.device)  # noqa: B023
        if image >= 0:
            singly.append(alone)
        for window in windows:
            with passes_counted() as counter:
                taken = seconds(
                    lambda: list(generate_tokens_by_drafts(prior, classes, [generator], guidance, sampling, window)),  # noqa: B023
                    prior.device,
                )
            if image >= 0:
                times[window].append(taken)
                passes[window] += counter["passes"]
    return statistics.median(singly), {
        window: (images * length / passes[window], statistics.median(times[window])) for window in windows
    }


def main(
    images: Annotated[int, typer.Option(help="Of each way of drawing.")] = 15,
    runs: Annotated[int, typer.Option(help="Of each pass that is timed.")] = 9,
    size: Annotated[str, typer.Option(help="Published size whose passes are timed too.")] = "L",
    device: Annotated[str, typer.Option(help="Where to compute.")] = "cpu",
) -> None:
    """Time passes of several tokens, and draw tokens one by one and by drafts."""
    torch.manual_seed(0)
    where = torch.device(device)
    bundled = build(Case(BUNDLED, 1, True, "float32", (DRAWN,)), where).prior
    typer.echo(f"{processor()['name']}, {torch.get_num_threads()} threads, torch {torch.__version__}, {date.today()}")
    typer.echo(f"| ms of a pass on {device}, tokens a row | {' | '.join(map(str, WIDTHS))} |\n{'|---' * 6}|")
    for name, prior in ((BUNDLED, bundled), (size, build(Case(size, 1, True, "float32", (DRAWN,)), where).prior)):
        times = pass_seconds(prior, runs).values()
        typer.echo(f"| {name} | {' | '.join(f'{1e3 * taken:.1f}' for taken in times)} |")
    headings = ("guidance", "top-p", "one by one, s", "window", "tokens a pass", "s", "times as fast")
    typer.echo(f"\n| {' | '.join(headings)} |\n{'|---' * len(headings)}|")
    for guidance in (Guidance(1, 1), Guidance(1, 3), Guidance(3, 3)):
        for sampling in (Sampling(), Sampling(top_p=0.9)):
            alone, ways = compared(bundled, guidance, sampling, images)
            for window, (gained, taken) in ways.items():
                cells = f"{alone:.3f} | {window} | {gained:.2f} | {taken:.3f} | {alone / taken:.2f}"
                typer.echo(f"| {guidance} | {sampling.top_p:g} | {cells} |")


if __name__ == "__main__":
    typer.run(main)
