"""Draws the layers of the package, as docs/architecture.md shows them: docs/images/layers.png.

Command: python scripts/layers_figure.py. Boxes are as wide as their lines of Python are many, and at least as wide as
their names; imports point downwards.
"""

import re
from pathlib import Path

from matplotlib.patches import Rectangle

from dar.plots import COLOURS, new_figure

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dar"
ROW = re.compile(r"^\| ([^|]*) \| ((?:`\w+`(?:, )?)+) \|$", re.MULTILINE)
"""A row of the table of layers: what it is, and its modules."""

SMALLEST = 0.035
"""Width of a box at least, as a share of the figure's, so that its name fits."""


def lines_of(name: str) -> int:
    """Count the lines of a module or a package."""
    folder, file = SOURCE / name, SOURCE / f"{name}.py"
    files = [*folder.rglob("*.py")] if folder.is_dir() else [file]
    return sum(len(one.read_text(encoding="utf-8").splitlines()) for one in files)


def main() -> None:
    """Read the table and draw it."""
    layers = ROW.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    figure = new_figure(12.5, 0.4 * len(layers))
    axes = figure.add_subplot()
    widest = max(sum(lines_of(name) for name in re.findall(r"\w+", names)) for _, names in layers)
    for row, (title, names) in enumerate(reversed(layers)):
        left = 0.0
        for name in re.findall(r"\w+", names):
            width = max(SMALLEST + 0.0075 * len(name), 0.72 * lines_of(name) / widest)
            axes.add_patch(Rectangle((left, row), width, 0.8, facecolor=COLOURS[0], alpha=0.2))
            axes.text(left + width / 2, row + 0.4, name, ha="center", va="center", fontsize=7.5)
            left += width + 0.004
        axes.text(-0.01, row + 0.4, title, ha="right", va="center", fontsize=7.5)
    axes.set_xlim(-0.42, 1.28)
    axes.set_ylim(-0.1, len(layers))
    axes.axis("off")
    figure.savefig(ROOT / "docs" / "images" / "layers.png", dpi=130)


if __name__ == "__main__":
    main()
