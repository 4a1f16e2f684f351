"""What the commands of ``dar evaluate`` share."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dar.cli import options
from dar.errors import DARError

if TYPE_CHECKING:
    from dar.evaluate.reference import Reference
    from dar.evaluate.report import Findings, Report
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
Extractors = Annotated[
    list[str] | None, typer.Option("--extractor", help=f"Inception unless told; repeat it for several: {EXTRACTORS}")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images looked at together.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that decode images ahead.")]

FIELD = ("inception",)
"""The extractor behind the figures that papers report."""

FEATURES = "features"
"""Folder of what an unfinished evaluation keeps."""


def open_spaces(
    extractors: Sequence[str],
    references: Sequence[str],
    image_size: int,
    samples: int,
    batch_size: int,
    workers: int,
    device: str,
) -> "list[tuple[Extractor, Reference]]":
    """Each extractor with its reference.

    Raises:
        DARError: if they do not pair up, one cannot be had, or there are too few samples for it.
    """
    from dar.evaluate.generation import check_count
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
        reference = load_reference(references[i % len(references)], extractor, image_size, batch_size, workers)
        check_count(samples, reference)
        spaces.append((extractor, reference))
    return spaces


def report_in(out: Path, evaluation: "Callable[[], Findings]") -> None:
    """Run an evaluation, write its report and tell its figures; features kept on the way are then removed.

    Raises:
        DARError: if there is a report already, or the evaluation fails.
    """
    from dataclasses import replace

    from dar.extras import require_extra

    require_extra("evaluate")
    from dar.evaluate.report import environment_record
    from dar.evaluate.report_files import PAGE, refuse_report, write_report

    refuse_report(out)
    started = time.monotonic()
    with _resumable():
        report, pictures = evaluation()
    write_report(replace(report, environment=environment_record(time.monotonic() - started)), pictures, out)
    for folder in out.rglob(FEATURES):
        shutil.rmtree(folder)
    _print_figures(report)
    typer.echo(f"report: {out / PAGE}")


@contextmanager
def _resumable() -> Iterator[None]:
    """Let Ctrl-C end with a word on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on")
        raise typer.Exit(options.INTERRUPTED) from None


def _print_figures(report: "Report") -> None:
    """Say what was found, a line a metric."""
    from dar.evaluate.report import metric_named

    for space, figures in report.figures.items():
        typer.echo(space)
        for key, estimate in figures.items():
            metric = metric_named(key)
            interval = metric.interval(estimate)
            unit = f" {metric.unit}" if metric.unit else ""
            typer.echo(
                f"  {metric.title}: {metric.number(estimate.value)}{unit}" + (f"  ({interval})" if interval else "")
            )


def recorded(path: Path) -> dict[str, Any]:
    """What a record beside samples tells of how they were made; nothing where there is none."""
    from dar.storage import read_json

    record = path.with_suffix(".json")
    return read_json(record) if path.suffix == ".npz" and record.is_file() else {}
