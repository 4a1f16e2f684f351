"""What the commands of ``dar evaluate`` share."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dar.cli import options
from dar.errors import DARError

if TYPE_CHECKING:
    from PIL import Image

    from dar.evaluate.reference import Reference
    from dar.evaluate.report import Report
    from dar.features.extractor import Extractor

EXTRACTORS = (
    "inception, a file of its weights, cifar10 (the small classifier of this package), or a folder or Hub id of a "
    "classifier or of a vision model of transformers, such as facebook/dinov2-base."
)

Model = Annotated[str | None, typer.Argument(help="Folder or Hub id of a model; the bundled one unless told.")]
Out = Annotated[Path, typer.Option(help="Folder for report.json and report.html: new, or begun by the same command.")]
References = Annotated[
    list[str],
    typer.Option(
        "--reference",
        help="Real images: .npz with or without statistics, a data set, statistics saved by `dar evaluate statistics`, "
        "or cifar10 (statistics of its training images, of this package). One for all extractors, or one for each.",
    ),
]
Extractors = Annotated[list[str], typer.Option("--extractor", help=f"Repeat it for several: {EXTRACTORS}")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images looked at together.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that decode images ahead.")]
FEATURES = "features"


def open_spaces(
    extractors: list[str], references: list[str], image_size: int, batch_size: int, device: str
) -> "list[tuple[Extractor, Reference]]":
    """Each extractor with its reference.

    Raises:
        DARError: if they do not pair up, or one cannot be had.
    """
    from dar.evaluate.reference import load_reference
    from dar.features.loading import load_extractor

    if len(references) not in (1, len(extractors)):
        raise DARError(
            f"{len(references)} references were given for {len(extractors)} extractors: give one for all, "
            "or one for each"
        )
    if len(set(extractors)) < len(extractors):
        raise DARError("an extractor was given twice: give each once")
    spaces = []
    for i, source in enumerate(extractors):
        extractor = load_extractor(source, device)
        spaces.append((extractor, load_reference(references[i % len(references)], extractor, image_size, batch_size)))
    return spaces


def report_in(
    out: Path, evaluation: "Callable[[], tuple[Report, Mapping[str, Image.Image]]]"
) -> "Report":
    """Run an evaluation and write its report; what it keeps in ``out / FEATURES`` is then removed.

    Raises:
        DARError: if there is a report already, or the evaluation fails.
    """
    from dataclasses import replace

    from dar.evaluate.report import PAGE, environment_record, refuse_report, write_report

    refuse_report(out)
    started = time.monotonic()
    with resumable():
        report, pictures = evaluation()
    report = replace(report, environment=environment_record(time.monotonic() - started))
    write_report(report, pictures, out)
    for folder in out.rglob(FEATURES):
        shutil.rmtree(folder)
    typer.echo(f"report: {out / PAGE}")
    return report


@contextmanager
def resumable() -> Iterator[None]:
    """Let Ctrl-C end with a word on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on")
        raise typer.Exit(options.INTERRUPTED) from None


def print_figures(report: "Report") -> None:
    """Say what was found, a line a metric."""
    from dar.evaluate.report import metric_named

    for space, figures in report.figures.items():
        typer.echo(space)
        for key, estimate in figures.items():
            metric = metric_named(key)
            interval = metric.interval(estimate)
            unit = f" {metric.unit}" if metric.unit else ""
            typer.echo(f"  {metric.title}: {metric.number(estimate.value)}{unit}" + (f"  ({interval})" if interval else ""))


def recorded(path: Path) -> dict[str, Any]:
    """What a record beside samples tells of how they were made; nothing where there is none."""
    from dar.storage import read_json

    record = path.with_suffix(".json")
    return read_json(record) if path.suffix == ".npz" and record.is_file() else {}
