"""``dar evaluate samples``."""

from pathlib import Path
from typing import Annotated

import typer

from dar.cli import options
from dar.cli.evaluate import shared


def samples(
    samples: Annotated[Path, typer.Argument(help="An .npz with uint8 images in arr_0, or a folder of PNG files.")],
    reference: shared.References,
    out: shared.Out,
    extractor: shared.Extractors = ["inception"],  # noqa: B006 (typer reads it)
    batch_size: shared.BatchSize = 64,
    seed: Annotated[int, typer.Option(help="Of the random groups behind confidence intervals.")] = 0,
    device: options.Device = "cpu",
) -> None:
    """Compare images of any model with real ones: FID, sFID, Inception Score, precision, recall, class accuracy.

    Stop it whenever you like: the same command goes on where it was.

    Example: dar evaluate samples samples.npz --reference VIRTUAL_imagenet256_labeled.npz --out report/
    """
    from dar.evaluate.generation import check_count, check_square, evaluate_samples
    from dar.evaluate.sample_file import open_samples

    opened = open_samples(samples)
    check_square(opened)
    record = shared.recorded(samples)

    def evaluation():  # type: ignore[no-untyped-def]
        spaces = shared.open_spaces(extractor, reference, opened.width, batch_size, device)
        for _, real in spaces:
            check_count(len(opened), real)
        return evaluate_samples(
            opened,
            spaces,
            out / shared.FEATURES,
            subject={name: value for name, value in record.items() if name in ("model", "recipe", "settings")},
            class_names=record.get("class_names", ()),
            batch_size=batch_size,
            seed=seed,
        )

    shared.print_figures(shared.report_in(out, evaluation))
