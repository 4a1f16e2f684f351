"""Time and peak memory of converting a published prior: ``python benchmarks/conversion.py --size XL``.

The file has the published names, shapes and dtype, and random weights.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from dar.convert.names import prior_rules, to_published
from dar.convert.published import convert
from dar.prior import Prior, PriorConfig
from dar.prior.config import PRIOR_SIZES
from dar.prior.imagenet import imagenet_classes


def write_checkpoint(path: Path, size: str) -> None:
    config = PriorConfig(class_names=imagenet_classes(), **PRIOR_SIZES[size])
    with torch.device("meta"):
        shapes = to_published(prior_rules(config), Prior(config).state_dict())
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in shapes.items()}
    torch.save({"model": weights, "steps": 0}, path)


def measure(path: Path, out: Path) -> None:
    """In a process of its own, since the peak is a process's."""
    start = time.perf_counter()
    convert(out, prior=path)
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    file = path.stat().st_size
    typer.echo(
        f"file {file / 1e9:.2f} GB, peak memory {peak / 1e9:.2f} GB, {(peak - file) / 1e9:.2f} GB more than the file"
    )
    typer.echo(
        f"{seconds:.1f} s, {file / 1e9 / seconds:.2f} GB/s, on {os.cpu_count()} cores, torch {torch.__version__}"
    )


def main(
    size: Annotated[str, typer.Option(help=f"One of {', '.join(PRIOR_SIZES)}.")] = "XL",
    file: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Write a checkpoint, then convert it in a fresh process."""
    if file is not None:
        measure(file, file.with_name("model"))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder) / "prior.pt", size)
        subprocess.run([sys.executable, __file__, "--file", Path(folder) / "prior.pt"], check=True)


if __name__ == "__main__":
    typer.run(main)
