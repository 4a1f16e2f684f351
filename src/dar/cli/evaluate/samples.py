"""``dar evaluate samples``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.cli.evaluate import shared
from dar.cli.option_groups import grouped
from dar.errors import DARError

if TYPE_CHECKING:
    from dar.evaluate.run import EvaluationResult
    from dar.report.report import Report

ADM_NAMES = {
    "inception_score": "Inception Score",
    "fid": "FID",
    "sfid": "sFID",
    "precision": "Precision",
    "recall": "Recall",
}
"""Metrics in the order in which the ADM suite's evaluator prints them, and its names for them."""


@grouped
def samples(
    *,
    samples: Annotated[Path, typer.Argument(help="An .npz with uint8 images in arr_0, or a folder of PNG files.")],
    spaces: shared.SpaceOptions,
    out: shared.Out,
    compute: shared.ComputeOptions,
    adm: Annotated[bool, typer.Option("--adm", help="Print the ADM suite's own lines too, for scripts.")] = False,
) -> None:
    """Compare images of any model with real ones: FID, sFID, Inception Score, precision, recall, class accuracy.

    Stop it whenever you like: the same command goes on where it was.

    Example: dar evaluate samples samples.npz --reference VIRTUAL_imagenet256_labeled.npz --out report/
    """
    checks.paths("file or folder of samples", samples)
    spaces.check()

    def evaluation() -> "EvaluationResult":
        from dar.evaluate.feature_store import FEATURES
        from dar.evaluate.generation import evaluate_samples
        from dar.features.inception import Inception
        from dar.samples.opening import open_samples
        from dar.samples.samples import check_square

        opened = open_samples(samples)
        check_square(opened)
        record = shared.read_record(opened)
        opened_spaces = spaces.open(opened.width, len(opened), compute)
        if adm and Inception.name not in (extractor.name for extractor, _ in opened_spaces):
            raise DARError("--adm prints metrics of Inception: leave --extractor out, or give it inception too")
        return evaluate_samples(
            opened,
            opened_spaces,
            out / FEATURES,
            model_info={name: record[name] for name in ("model", "recipe", "settings") if name in record},
            class_names=record.get("class_names", ()),
            batch_size=compute.batch_size,
        )

    report = shared.report_in(out, evaluation)
    if adm:
        _print_as_adm(report)


def _print_as_adm(report: "Report") -> None:
    """Print Inception's metrics by the names, in the order and with all digits of the ADM suite's evaluator."""
    from dar.features.inception import Inception

    found = report.metrics[Inception.name]
    for key, name in ADM_NAMES.items():
        if key in found:  # a reference of a mean and covariance alone gives fewer
            options.say(f"{name}: {found[key].value}")
