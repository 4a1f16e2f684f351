"""Draw the contact sheet of docs/data.md, and print the report that stands there.

    python scripts/data_figure.py train.parquet

The file is CIFAR-10's. Writes docs/images/data.png.
"""

from pathlib import Path

import typer

from dar.data import ImageDataset
from dar.images import save_image
from dar.inspection.job import inspect_data

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "data.png"
COLOURS = 256
"""Of the picture, so that the file is small."""


def main(source: str, workers: int = 2) -> None:
    """See the module's text."""
    data = ImageDataset(source)
    typer.echo(data.summary.sentence())
    report, sheet = inspect_data(data, size=32, workers=workers)
    for line in report.lines():
        typer.echo(line)
    if sheet is not None:
        save_image(sheet.quantize(COLOURS), PICTURE)


if __name__ == "__main__":
    typer.run(main)
