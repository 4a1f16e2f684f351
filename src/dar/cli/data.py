"""``dar data``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.cli import checks, options
from dar.errors import DARError

if TYPE_CHECKING:
    from PIL import Image

    from dar.inspection.report import DataReport

SHEET, RECORD = "sheet.png", "data.json"


def data(
    source: Annotated[str, typer.Argument(metavar="DATA", help=options.SOURCES)],
    out: Annotated[Path | None, typer.Option(help=f"Folder for {SHEET}, pictures to look at, and {RECORD}.")] = None,
    size: Annotated[
        int | None, typer.Option(min=8, help="Show the central squares of this size that training cuts.")
    ] = None,
    num: Annotated[int | None, typer.Option(min=1, help="Number of images to look at.")] = None,
    split: Annotated[str, typer.Option(help="Split to read.")] = "train",
    image_column: options.ImageColumn = "",
    label_column: options.LabelColumn = "",
    streaming: Annotated[
        bool, typer.Option("--streaming", help="Read images as they come: the first 1000, or --num.")
    ] = False,
    all_classes: Annotated[bool, typer.Option("--all", help="List and draw all classes, however many.")] = False,
    workers: options.Workers = 0,
    max_broken_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of images that may be unreadable in training.")
    ] = 0.01,
    overwrite: options.Overwrite = False,
) -> None:
    """Show what training would read: layout, classes, sizes, captions, broken and duplicated pictures.

    Exit code 2 where training would refuse.

    Example: dar data photos/ --size 64 --out out/photos
    """
    from dar.extras import require_extra

    require_extra("data")
    checks.data(source)
    from dar.data.opening import open_images
    from dar.inspection.job import inspect_data

    images = open_images(source, split, image_column=image_column, label_column=label_column, streaming=streaming)
    options.say(images.summary.sentence())
    if out:
        options.probe_output(out, [SHEET, RECORD], overwrite=overwrite)
    with options.interruptible("nothing was written; --num looks at fewer images"):
        report, sheet = inspect_data(
            images,
            size=size,
            count=num,
            workers=workers,
            max_broken_share=max_broken_share,
            all_classes=all_classes,
        )
    if out:
        _write(report, sheet, out)
    for line in report.lines(all_classes=all_classes):
        options.say(line)
    if sheet is not None:
        hint = out / SHEET if out else "--out FOLDER writes pictures to look at, and all of this as JSON"
        options.say(f"{'sheet':<12}{hint}")
    if report.refusal:
        raise DARError(report.refusal)


def _write(report: "DataReport", sheet: "Image.Image | None", out: Path) -> None:
    from dataclasses import asdict

    from dar.files import write_json
    from dar.images import save_image

    write_json(out / RECORD, asdict(report))
    if sheet is not None:
        save_image(sheet, out / SHEET)
