"""Counts how often 95 % intervals hold what they are intervals of: ``python benchmarks/interval_coverage.py``.

Samples are drawn from known distributions many times over. What an interval should hold is the metric's mean over all
draws, since bias is no part of it; and its width is compared with 2 x 1.96 standard deviations over draws.
"""

from collections.abc import Callable
from typing import Annotated

import torch
import typer
from torch import Tensor

from dar.metrics.confidence import mean_confidence
from dar.metrics.frechet import Moments, frechet_confidence, frechet_distance
from dar.metrics.inception_score import inception_score, inception_score_confidence
from dar.metrics.precision_recall import precision_and_recall
from dar.metrics.similarity import psnr, ssim

REFERENCE_SEED = 1_000_000
"""None of the trials' own, or one would compare the references with themselves."""

Trial = Callable[[torch.Generator], tuple[float, tuple[float, float]]]
"""Draws samples: their metric, and its interval."""


def inception_trial(count: int, classes: int, scale: float = 2) -> Trial:
    """Score logits whose classes are unequally frequent."""
    offsets_C = torch.linspace(-1, 1, classes)

    def trial(generator: torch.Generator) -> tuple[float, tuple[float, float]]:
        logits_NC = scale * torch.randn(count, classes, generator=generator) + offsets_C
        return inception_score(logits_NC), inception_score_confidence(logits_NC)

    return trial


def frechet_trial(count: int, dimension: int, shift: float) -> Trial:
    """Compare rows with a reference of the same spectrum, whose mean is off by ``shift`` in all."""
    scales_D = torch.linspace(0.2, 1, dimension, dtype=torch.float64)
    mean_D = torch.zeros(dimension, dtype=torch.float64)
    covariance_DD = scales_D.square().diag()

    def trial(generator: torch.Generator) -> tuple[float, tuple[float, float]]:
        noise_ND = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
        rows_ND = noise_ND * scales_D + shift / dimension**0.5
        moments = Moments(dimension)
        moments.update(rows_ND)
        value = frechet_distance(moments.mean, moments.covariance, mean_D, covariance_DD)
        return value, frechet_confidence(rows_ND, mean_D, covariance_DD, generator)

    return trial


def precision_trial(count: int, dimension: int = 8) -> Trial:
    """Count wider samples among the same references each time."""
    references_MD = torch.randn(count, dimension, generator=torch.Generator().manual_seed(REFERENCE_SEED))

    def trial(generator: torch.Generator) -> tuple[float, tuple[float, float]]:
        samples_ND = 1.3 * torch.randn(count, dimension, generator=generator)
        covered = precision_and_recall(samples_ND, references_MD)
        return covered.precision, mean_confidence(covered.samples_covered)

    return trial


def similarity_trial(measure: Callable[[Tensor, Tensor], Tensor], count: int) -> Trial:
    """Compare images with themselves under noise, whose strength differs from image to image."""

    def trial(generator: torch.Generator) -> tuple[float, tuple[float, float]]:
        images = torch.rand(count, 3, 16, 16, generator=generator) * 2 - 1
        strength = 0.3 * torch.rand(count, 1, 1, 1, generator=generator) + 0.05
        noise = torch.randn(images.shape, generator=generator)
        values_N = measure(images + strength * noise, images)
        return values_N.mean().item(), mean_confidence(values_N)

    return trial


def coverage(trial: Trial, trials: int) -> tuple[float, float]:
    """Repeat a trial: the share of intervals that hold the mean over all, and the mean width over the right one."""
    found = [trial(torch.Generator().manual_seed(seed)) for seed in range(trials)]
    values = torch.tensor([value for value, _ in found], dtype=torch.float64)
    low, high = torch.tensor([interval for _, interval in found], dtype=torch.float64).T
    held = (low <= values.mean()) & (values.mean() <= high)
    return held.double().mean().item(), ((high - low).mean() / (2 * 1.96 * values.std())).item()


CASES: dict[str, tuple[Trial, int]] = {
    "Inception Score, 10,000 samples, 100 classes": (inception_trial(10_000, 100), 300),
    "Fréchet distance, all bias (1,000 samples, 64 dimensions)": (frechet_trial(1000, 64, 0), 300),
    "Fréchet distance, all bias (200 samples, 64 dimensions)": (frechet_trial(200, 64, 0), 300),
    "Fréchet distance, all bias (80 samples, 64 dimensions)": (frechet_trial(80, 64, 0), 300),
    "Fréchet distance, no bias to speak of (1,000 samples, 64 dimensions)": (frechet_trial(1000, 64, 2), 300),
    "Precision, 500 samples": (precision_trial(500), 500),
    "PSNR, 200 images": (similarity_trial(psnr, 200), 500),
    "SSIM, 200 images": (similarity_trial(ssim, 200), 500),
}


def main(only: Annotated[str, typer.Option(help="Cases whose names hold this.")] = "") -> None:
    """Print a table of all cases."""
    typer.echo("| metric | trials | coverage | width / right width |\n|---|---|---|---|")
    for name, (trial, trials) in CASES.items():
        if only in name:
            held, width = coverage(trial, trials)
            typer.echo(f"| {name} | {trials} | {held:.1%} | {width:.2f} |")


if __name__ == "__main__":
    typer.run(main)
