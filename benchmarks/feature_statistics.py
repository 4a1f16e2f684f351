"""Time and peak memory of all metrics of many images: ``python benchmarks/feature_statistics.py --images 50000``.

Features are random, of Inception's sizes, and kept on the disk as an evaluation keeps them; no network is run.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from dar.evaluate.feature_store import BLOCK, FeatureStore
from dar.evaluate.generation import metrics_in_space
from dar.evaluate.statistics import Reference
from dar.features.extractor import Features
from dar.features.inception import Inception
from dar.metrics.frechet import Moments

POOLED, SPATIAL, CLASSES = 2048, 2023, 1008
REFERENCES = 10_000


class Drawn:
    """Goes by Inception's name; its features are drawn."""

    name, hash, class_names = Inception.name, "0" * 64, ()

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, images_B3HW: Tensor) -> Features:
        """As Inception's are: pooled ones not negative, with squared norms of some hundreds."""

        def drawn(columns: int, scale: float) -> Tensor:
            return torch.empty(len(images_B3HW), columns).normal_(0, scale, generator=self.generator)

        return Features(drawn(POOLED, 0.5).abs_(), drawn(SPATIAL, 0.3).abs_(), drawn(CLASSES, 2.0))


def reference() -> Reference:
    """Statistics of drawn features."""
    extractor, pooled, spatial, rows = Drawn(1), Moments(POOLED), Moments(SPATIAL), []
    for _ in range(REFERENCES // BLOCK):
        found = extractor(torch.empty(BLOCK))
        assert found.spatial is not None
        pooled.update(found.pooled)
        spatial.update(found.spatial)
        rows.append(found.pooled)
    return Reference(
        source="drawn",
        hash="",
        extractor=extractor.name,
        extractor_hash=extractor.hash,
        images=REFERENCES,
        image_size=256,
        pooled=torch.cat(rows),
        mean=pooled.mean,
        covariance=pooled.covariance,
        spatial_mean=spatial.mean,
        spatial_covariance=spatial.covariance,
    )


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Tell time and memory of what is done within."""
    start, processor_start = time.perf_counter(), time.process_time()
    yield
    seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor_start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    typer.echo(
        f"{name:40} {seconds:7.1f} s, {processor_seconds:7.1f} s of processors, peak memory so far {peak / 1e9:.2f} GB"
    )


def measure(images: int, folder: Path) -> None:
    """In a process of its own, since the peak is a process's."""
    extractor, store = Drawn(0), FeatureStore(folder, images)
    with stage(f"features of {images} images, written"):
        for index, start in enumerate(range(0, images, BLOCK)):
            store.write(index, extractor(torch.empty(min(BLOCK, images - start))))
    with stage(f"statistics of {REFERENCES} references"):
        real = reference()
    with stage("all metrics with their intervals"):
        metrics_in_space(store, extractor, real, None)
    typer.echo(f"on {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}")


def main(
    images: Annotated[int, typer.Option(min=2100, help="Images.")] = 50_000,
    folder: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure in a fresh process."""
    if folder is not None:
        measure(images, folder)
        return
    with tempfile.TemporaryDirectory() as new:
        subprocess.run([sys.executable, __file__, "--images", str(images), "--folder", new], check=True)


if __name__ == "__main__":
    typer.run(main)
