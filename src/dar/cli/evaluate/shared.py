"""Options and steps that the commands of ``dar evaluate`` share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dar.cli import checks, options
from dar.dtypes import FLOAT32
from dar.errors import DARError
from dar.extras import require_extra

if TYPE_CHECKING:
    from dar.data import ImageDataset
    from dar.evaluate.run import EvaluationResult
    from dar.evaluate.statistics import Reference
    from dar.features.extractor import Extractor
    from dar.report.report import Report
    from dar.samples.samples import Samples

EXTRACTORS = (
    "inception, a file of its weights, cifar10 (the small classifier of this package), or a folder or Hub id of a "
    "classifier or of a vision model of transformers, such as facebook/dinov2-base."
)

Model = Annotated[str | None, typer.Argument(help="Folder or Hub id of a model; the bundled one by default.")]
Out = Annotated[Path, typer.Option(help="Folder for report.json and report.html: new, or begun by the same command.")]

FIELD = ("inception",)
"""The extractor behind the metrics that papers report."""

RESUMES, STARTS_ANEW = "the same command goes on", "nothing was written; the same command starts anew"
"""What holds after Ctrl-C."""


@dataclass(frozen=True, kw_only=True)
class ComputeOptions:
    """How images are read and looked at."""

    batch_size: Annotated[int, typer.Option(min=1, max=options.MOST_AT_ONCE, help="Images looked at together.")] = 64
    workers: options.Workers = 0
    device: options.Device = "cpu"


@dataclass(frozen=True, kw_only=True)
class ModelComputeOptions(ComputeOptions):
    """How a model is run too."""

    dtype: options.Dtype = FLOAT32


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Images that a model encodes."""

    data: Annotated[str, typer.Option(help=options.SOURCES)]
    image_column: options.ImageColumn = ""
    label_column: options.LabelColumn = ""

    def open(self) -> "ImageDataset":
        """Open them, and print what was found.

        Raises:
            DARError: if they cannot be opened.
        """
        from dar.data import ImageDataset

        images = ImageDataset(self.data, image_column=self.image_column, label_column=self.label_column)
        options.say(images.summary.sentence())
        return images


@dataclass(frozen=True, kw_only=True)
class SpaceOptions:
    """Feature spaces, each with its reference."""

    reference: Annotated[
        list[str],
        typer.Option(
            "--reference",
            help="Real images: .npz with or without statistics, a data set, statistics saved by "
            "`dar evaluate statistics`, or cifar10 (statistics of its training images, of this package). "
            "One for all extractors, or one for each.",
        ),
    ]
    extractor: Annotated[
        list[str] | None,
        typer.Option("--extractor", help=f"Inception by default; repeat it for several: {EXTRACTORS}"),
    ] = None
    image_column: Annotated[
        str,
        typer.Option("--image-column", help="Column of a reference's images, where several fit; found by default."),
    ] = ""

    def check(self) -> None:
        """Make sure, before anything heavy is loaded, that the files are there.

        Raises:
            DARError: if not.
        """
        checks.extractors(*(self.extractor or ()))
        checks.references(self.reference)

    def open(self, image_size: int, samples: int, compute: ComputeOptions) -> "list[tuple[Extractor, Reference]]":
        """Load each extractor with its reference; Inception alone if none is given.

        Args:
            image_size: pixels a side of the samples.
            samples: how many there are.
            compute: how to look at a reference.

        Raises:
            DARError: if they do not pair up, one cannot be had, or there are too few samples for it.
        """
        from dar.evaluate.generation import check_count
        from dar.evaluate.reference import load_reference
        from dar.features.loading import load_extractor

        sources, references = self.extractor or FIELD, self.reference
        if len(references) not in (1, len(sources)):
            raise DARError(
                f"{len(references)} references were given for {len(sources)} extractors: "
                "give one for all, or one for each"
            )
        opened = [load_extractor(source, compute.device) for source in sources]
        if len({extractor.name for extractor in opened}) < len(opened):
            raise DARError("two of the extractors have one name, so that a report could not tell them apart: give one")
        spaces = []
        for i, extractor in enumerate(opened):
            check_count(samples, extractor, image_size)
            source = references[i % len(references)]
            reference = load_reference(
                source, extractor, image_size, compute.batch_size, compute.workers, self.image_column
            )
            spaces.append((extractor, reference))
        return spaces


def report_in(out: Path, evaluation: "Callable[[], EvaluationResult]", *, after_interrupt: str = RESUMES) -> "Report":
    """Run an evaluation, write its report, print its metrics, and return it.

    Args:
        out: folder of the report.
        evaluation: what finds it.
        after_interrupt: what to say after Ctrl-C.

    Raises:
        DARError: if several processes were launched, and as ``dar.evaluate.run.evaluate_into`` does.
    """
    _, processes = options.rank_and_world_size()
    if processes > 1:
        raise DARError(
            "dar evaluate runs in one process: leave the launcher out; to sample by many, run dar sample under it first"
        )
    require_extra("evaluate")
    from dar.evaluate.run import evaluate_into
    from dar.report.files import PAGE, refuse_report

    refuse_report(out)
    options.probe_output(out)
    with options.interruptible(after_interrupt):
        result = evaluate_into(out, evaluation)
    _print_metrics(result.report)
    options.say(f"report: {out / PAGE}")
    return result.report


def _print_metrics(report: "Report") -> None:
    """Print what was found, a line a metric."""
    from dar.report.report import metric_named

    for space, estimates in report.metrics.items():
        options.say(space)
        for key, estimate in estimates.items():
            metric = metric_named(key)
            interval = metric.interval(estimate)
            unit = f" {metric.unit}" if metric.unit else ""
            options.say(
                f"  {metric.title}: {metric.number(estimate.value)}{unit}" + (f"  ({interval})" if interval else "")
            )


def read_record(samples: "Samples") -> dict[str, Any]:
    """Read the record beside samples of how they were made; empty where there is none of this very file."""
    from dar.files import read_json
    from dar.samples.job import is_recorded

    beside = samples.path.with_suffix(".json")
    if samples.path.suffix != ".npz" or not beside.is_file():
        return {}
    try:
        record = read_json(beside)
    except DARError:
        record = {}
    if not is_recorded(samples, record):
        options.say(f"{beside} does not tell of this very file, and is left alone")
        return {}
    names = record.get("class_names", [])
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise DARError(f"{beside} names classes by something else than texts: remove it, or sample again")
    return record
