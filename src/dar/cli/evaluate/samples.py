"""``dar evaluate samples``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks
from dar.cli.evaluate import shared
from dar.cli.option_groups import grouped

if TYPE_CHECKING:
    from dar.evaluate.run import EvaluationResult


@grouped
def samples(
    *,
    samples: Annotated[Path, typer.Argument(help="An .npz with uint8 images in arr_0, or a folder of PNG files.")],
    spaces: shared.SpaceOptions,
    out: shared.Out,
    compute: shared.ComputeOptions,
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
        from dar.samples.opening import open_samples
        from dar.samples.samples import check_square

        opened = open_samples(samples)
        check_square(opened)
        record = shared.read_record(opened)
        return evaluate_samples(
            opened,
            spaces.open(opened.width, len(opened), compute),
            out / FEATURES,
            model_info={name: record[name] for name in ("model", "recipe", "settings") if name in record},
            class_names=record.get("class_names", ()),
            batch_size=compute.batch_size,
        )

    shared.report_in(out, evaluation)
