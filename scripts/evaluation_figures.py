"""Measure the bundled model and two comparators on CIFAR-10, and write a page of docs with the figures.

    python scripts/evaluation_figures.py --data path/to/cifar10 --work out/evaluation

The data is a folder with train.parquet and test.parquet. What is measured is measured by commands of ``dar``, told as
they are run; those whose report is there already are left out, so that this can be stopped and started again. Writes
docs/evaluation-figures.md and docs/images/evaluation-*.png.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image

from dar.data import ImageDataset
from dar.evaluate.sweep import samples_of
from dar.files import write_json, writing
from dar.images import save_image
from dar.pipeline import load_prior
from dar.prior.guidance import Guidance
from dar.progress import progress_bar
from dar.report.curve_panels import draw_curves
from dar.report.files import REPORT, read_report
from dar.report.report import METRICS, Estimate, Report, metric_named
from dar.samples.archive import write_samples
from dar.samples.opening import open_samples

DOCS = Path("docs")
NUM, SWEEP_NUM, LAYOUT_NUM = 10_000, 2_000, 500
GUIDANCE = "3"
SCALES = ("1", "1:3", "3", "5", "1:8")
KEPT = (1, 2, 4, 8, 16, 32)
"""Tokens of a reference to keep, of the model's 64."""

NOISE = 32.0
"""Standard deviation of the noise on mean images, of 256 levels."""

SPACE = ("--extractor", "cifar10", "--reference", "cifar10")


def run(*arguments: object) -> None:
    """Run a command of dar, and say so."""
    command = [sys.executable, "-m", "dar", *map(str, arguments)]
    typer.echo("$ dar " + " ".join(command[3:]))
    subprocess.run(command, check=True)


def report(out: Path, *arguments: object) -> Report:
    """Run an evaluation unless its report is there."""
    if not (out / REPORT).exists():
        run("evaluate", *arguments, "--out", out)
    return read_report(out)


def sample(out: Path, guidance: str, num: int, processes: int) -> None:
    """Sample by several processes of one thread each, which is faster than one process of as many threads."""
    command = ["sample", "--num", str(num), "--labels", "balanced", "--guidance", guidance, "--out", str(out)]
    typer.echo(f"$ dar {' '.join(command)}    # {processes} processes")
    started = []
    for rank in range(processes):
        place = {"RANK": str(rank), "WORLD_SIZE": str(processes), "OMP_NUM_THREADS": "1"}
        started.append(subprocess.Popen([sys.executable, "-m", "dar", *command], env=os.environ | place))
    if any(process.wait() for process in started):
        sys.exit("sampling failed")


def real_images(path: Path, data: ImageDataset) -> None:
    """Real images as a file of samples."""
    names = load_prior().config.class_names
    places = [names.index(name) for name in data.class_names]
    examples = list(examples_of(data))
    write_labelled(
        path, np.stack([np.asarray(image) for image, _ in examples]), [places[label] for _, label in examples]
    )


def examples_of(data: ImageDataset) -> Iterator[tuple[Image.Image, int]]:
    """All images and their classes, telling how far they are read."""
    with progress_bar(len(data), desc="reading images") as bar:
        for i in range(len(data)):
            yield data.example(i)
            bar.update()


def noisy_means(path: Path, data: ImageDataset, num: int) -> None:
    """Mean images of the classes, each sample with noise of its own."""
    names = load_prior().config.class_names
    places = np.array([names.index(name) for name in data.class_names])
    sums, counts = np.zeros((len(names), 32, 32, 3)), np.zeros(len(names))
    for image, label in examples_of(data):
        sums[places[label]] += np.asarray(image)
        counts[places[label]] += 1
    labels = np.arange(num) % len(names)
    chance = np.random.default_rng(0)
    images = (sums / counts[:, None, None, None])[labels] + chance.normal(0, NOISE, (num, 32, 32, 3))
    write_labelled(path, images.clip(0, 255).round().astype(np.uint8), labels.tolist())


def write_labelled(path: Path, images: NDArray[np.uint8], labels: list[int]) -> None:
    """Images as a file of samples, with the record that names their classes."""
    n, height, width, _ = images.shape
    write_samples(path, [images], (n, height, width, 3), np.array(labels, dtype=np.int64))
    made = {"sha256": open_samples(path).hash}
    write_json(path.with_suffix(".json"), {"class_names": list(load_prior().config.class_names), "file": made})


def table(first: str, rows: dict[str, dict[str, Estimate]]) -> str:
    """Figures with their 95 % intervals, a row a name."""
    metrics = {key: metric for key, metric in METRICS.items() if key in next(iter(rows.values()))}
    lines = [[first, *(metric.title for metric in metrics.values())], ["---"] * (len(metrics) + 1)]
    for name, figures in rows.items():
        told = [(metric, figures[key]) for key, metric in metrics.items()]
        lines.append([name, *(f"{metric.number(found.value)} ({metric.interval(found)})" for metric, found in told)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def curve_table(found: Report) -> str:
    """All curves over the groups decoded, a column each."""
    keys = {"PSNR in dB": "psnr", "SSIM": "ssim", "rFID": "rfid", "codebook usage": "codebook_usage"}
    curves = [curve for curve in found.curves if curve.y_name in keys]
    lines = [
        "| groups decoded | " + " | ".join(curve.y_name for curve in curves) + " |",
        "|---" * (len(curves) + 1) + "|",
    ]
    for k, points in enumerate(zip(*(curve.points for curve in curves), strict=True), start=1):
        cells = [metric_named(keys[curve.y_name]).number(point.y) for curve, point in zip(curves, points, strict=True)]
        lines.append(f"| {k} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def pictures(found: Report, prefix: str) -> str:
    """Draw a report's curves into docs/images; returns the Markdown that shows them."""
    shown = []
    for i, (title, image) in enumerate(draw_curves(found.curves).items()):
        path = DOCS / "images" / f"evaluation-{prefix}-{i + 1}.png"
        save_image(image.resize((image.width // 2, image.height // 2)), path)
        shown.append(f"![{title}](images/{path.name})")
    return "\n".join(shown)


def main(
    data: Annotated[Path, typer.Option(help="Folder with CIFAR-10's train.parquet and test.parquet.")],
    work: Annotated[Path, typer.Option(help="Folder for samples and reports.")],
    processes: Annotated[int, typer.Option(help="Processes that sample.")] = os.cpu_count() or 1,
    machine: Annotated[
        str, typer.Option(help="What the measurement ran on.")
    ] = f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
) -> None:
    """Measure and write."""
    if not (work / "model.npz").exists():
        sample(work / "model.npz", GUIDANCE, NUM, processes)
    if not (work / "test.npz").exists():
        real_images(work / "test.npz", ImageDataset(data / "test.parquet"))
    if not (work / "means.npz").exists():
        noisy_means(work / "means.npz", ImageDataset(data / "train.parquet"), NUM)
    rows = {
        "test images (floor)": report(work / "test", "samples", work / "test.npz", *SPACE),
        f"bundled model, guidance {GUIDANCE}": report(work / "model", "samples", work / "model.npz", *SPACE),
        "mean images with noise (ceiling)": report(work / "means", "samples", work / "means.npz", *SPACE),
    }
    for scale in SCALES:
        path = samples_of(work / "sweep", Guidance.parse(scale))
        if not path.exists():
            sample(path, scale, SWEEP_NUM, processes)
    scales = [word for scale in SCALES for word in ("--guidance", scale)]
    sweep = report(work / "sweep", "sweep", *SPACE, *scales, "--num", SWEEP_NUM, "--labels", "balanced")
    test = data / "test.parquet"
    groups = report(work / "groups", "reconstruction", "--data", test, "--extractor", "cifar10")
    kept = [word for count in KEPT for word in ("--tokens", count)]
    layout = report(work / "layout", "layout", "--data", test, "--num", LAYOUT_NUM, "--guidance", GUIDANCE, *kept)

    space = next(iter(rows["test images (floor)"].metrics))
    first = rows["test images (floor)"]
    text = f"""# What was measured

Written by `python scripts/evaluation_figures.py --data cifar10/ --work out/evaluation`,
{first.environment["time"][:10]}, {machine}. In brackets: 95 % intervals. Space: `{space}`, SHA-256
`{first.protocol["spaces"][space]["extractor"]["sha256"]}`; reference: CIFAR-10's 50,000 training images, SHA-256
`{first.protocol["spaces"][space]["reference"]["sha256"]}`. These figures can be compared with each other and with other
reports of the same two hashes, not with FIDs that papers print.

## The bundled model between two comparators

{NUM:,} images each. The floor is CIFAR-10's test images; their accuracy is the classifier's own. The ceiling is each
class's mean training image with Gaussian noise of {NOISE:g} levels.

{table("samples", {name: found.metrics[space] for name, found in rows.items()})}

## Guidance

{SWEEP_NUM:,} images a point, the same seeds at each.

{table("guidance", {name.split(", guidance ")[-1]: figures for name, figures in sweep.metrics.items()})}

{pictures(sweep, "guidance")}

## Reconstruction by groups decoded

{groups.protocol["images"]["count"]:,} test images. rFID is the Fréchet distance between originals and
reconstructions in the space named above.

{curve_table(groups)}

{pictures(groups, "groups")}

## Layout control

{LAYOUT_NUM} test images, guidance {GUIDANCE}, each under another class. 0 tokens is chance, all tokens the
reconstruction.

{table("kept", layout.metrics)}

{pictures(layout, "layout")}
"""
    with writing(DOCS / "evaluation-figures.md") as aside:
        aside.write_text(text, encoding="utf-8")
    typer.echo(f"wrote {DOCS / 'evaluation-figures.md'}")


if __name__ == "__main__":
    typer.run(main)
