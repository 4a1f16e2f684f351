"""Time and peak memory of the metrics of many images' features: ``python benchmarks/feature_statistics.py``.

Features and logits are random and of Inception's sizes; no network is run.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
import typer
from torch import Tensor

from dar.metrics.frechet import Moments, frechet_confidence, frechet_distance
from dar.metrics.inception_score import inception_score
from dar.metrics.precision_recall import precision_and_recall

FEATURES = 2048
CLASSES = 1008
REFERENCES = 10_000
BATCH = 64


def features(count: int, seed: int) -> Tensor:
    """As pooled ones are: none negative, with squared norms of some hundreds."""
    return torch.empty(count, FEATURES).normal_(0, 0.5, generator=torch.Generator().manual_seed(seed)).abs_()


def moments(rows_ND: Tensor) -> Moments:
    found = Moments(FEATURES)
    for rows in rows_ND.split(BATCH):
        found.update(rows)
    return found


@contextmanager
def stage(name: str) -> Iterator[None]:
    start, processor_start = time.perf_counter(), time.process_time()
    yield
    seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor_start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    typer.echo(
        f"{name:40} {seconds:7.1f} s, {processor_seconds:7.1f} s of processors, peak memory so far {peak / 1e9:.2f} GB"
    )


def measure(images: int) -> None:
    """In a process of its own, since the peak is a process's."""
    with stage(f"{images} rows of features and logits"):
        samples, references = features(images, 0), features(REFERENCES, 1)
        logits = torch.empty(images, CLASSES).normal_(0, 2, generator=torch.Generator().manual_seed(2))
    with stage(f"moments, batches of {BATCH}"):
        found = moments(samples)
    reference = moments(references)
    with stage("Inception Score"):
        inception_score(logits)
    with stage("Fréchet distance"):
        frechet_distance(found.mean, found.covariance, reference.mean, reference.covariance)
    with stage(f"precision and recall, {REFERENCES} references"):
        precision_and_recall(samples, references)
    with stage("confidence interval of Fréchet distance"):
        frechet_confidence(samples, reference.mean, reference.covariance, torch.Generator().manual_seed(3))
    typer.echo(f"on {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}")


def main(
    images: Annotated[int, typer.Option(min=40, help="Rows of features.")] = 50_000,
    child: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure in a fresh process."""
    if child:
        measure(images)
        return
    subprocess.run([sys.executable, __file__, "--child", "--images", str(images)], check=True)


if __name__ == "__main__":
    typer.run(main)
