"""Figures of lines in one look: set up, coloured and saved alike, whatever they show."""

import io
import warnings
from typing import TYPE_CHECKING

from dar.errors import quoted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Of Okabe and Ito, which all kinds of colour vision distinguish."""

LONGEST_TITLE, LONGEST_LABEL = 72, 48
"""Letters that have room above and below a panel of usual size, and at its side."""


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure that needs no screen, its size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def set_up(axes: "Axes", title: str, x_name: str, y_name: str = "") -> None:
    """Name a panel and its axes, whatever the texts hold, and give it a grid behind its lines."""
    axes.set_title(shortened(title, LONGEST_TITLE), fontsize=11, parse_math=False)
    axes.set_xlabel(shortened(x_name, LONGEST_TITLE), parse_math=False)
    axes.set_ylabel(shortened(y_name, LONGEST_LABEL), parse_math=False)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def shade(place: int, count: int) -> tuple[float, float, float]:
    """Choose a colour for one of ``count`` lines that have an order, from dark to light."""
    return 0.05 + 0.3 * place / count, 0.3 + 0.5 * place / count, 0.65


def png(figure: "Figure", density: int) -> bytes:
    """Draw a figure as a PNG file of ``density`` pixels an inch."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of a script that the font lacks: it is drawn as boxes
        figure.savefig(content, dpi=density, format="png")
    return content.getvalue()


def shortened(text: str, most: int) -> str:
    """Put a text on one line of at most so many letters."""
    line = quoted(text)
    return line if len(line) <= most else line[: most - 1] + "…"
