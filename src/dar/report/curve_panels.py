"""Curves of reports as pictures."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from dar.errors import DARError, quoted
from dar.plots import COLOURS, LONGEST_LABEL, new_figure, png, set_up, shortened
from dar.report.report import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "os^Dv*X"
LINES = ("-", "--", ":")

INCHES = (6.4, 4.2)
DENSITY = 200
"""Pixels an inch: twice what screens show, for those that show more."""

_MOST_MARKED = 40
_MAX_DRAWN = 1e300
"""Beyond it, the drawing's own arithmetic would overflow."""


def draw_curves(curves: Sequence[Curve]) -> dict[str, Image.Image]:
    """Draw a panel for each title, in the order in which titles first come.

    Points are labelled, and marked where a curve has few; those at infinity, or nearly, are left out.

    Args:
        curves: those of one title go into one panel, with colours, markers and a legend of their own.

    Returns:
        RGB pictures by title, all of one size.

    Raises:
        DARError: if curves of one title have different axes.
    """
    panels: dict[str, list[Curve]] = {}
    for curve in curves:
        panels.setdefault(curve.title, []).append(curve)
    return {title: _panel(title, inside) for title, inside in panels.items()}


def _panel(title: str, curves: Sequence[Curve]) -> Image.Image:
    first = curves[0]
    if any((curve.x_name, curve.y_name) != (first.x_name, first.y_name) for curve in curves):
        raise DARError(f"curves titled {quoted(title)} have different axes: draw them under different titles")
    figure = new_figure(*INCHES)
    axes = figure.add_subplot()
    set_up(axes, title, first.x_name, first.y_name)
    axes.margins(0.08)
    for i, curve in enumerate(curves):
        _draw(axes, curve, i)
    _set_whole_ticks(axes, curves)
    if len(curves) > 1 or first.name:
        _add_legend(axes, [curve.name for curve in curves])
    return Image.open(io.BytesIO(png(figure, DENSITY))).convert("RGB")


def _draw(axes: "Axes", curve: Curve, place: int) -> None:
    """Draw one curve, the ``place``-th of its panel."""
    points = [point for point in curve.points if abs(point.x) < _MAX_DRAWN and abs(point.y) < _MAX_DRAWN]
    colour = COLOURS[place % len(COLOURS)]
    axes.plot(
        [point.x for point in points],
        [point.y for point in points],
        LINES[place // len(COLOURS) % len(LINES)],
        marker=MARKERS[place % len(MARKERS)] if len(points) <= _MOST_MARKED else None,
        color=colour,
        linewidth=1.6,
        markersize=5,
    )
    for point in points:
        axes.annotate(
            shortened(point.label, 24),
            (point.x, point.y),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=8,
            color=colour,
            parse_math=False,
        )


def _set_whole_ticks(axes: "Axes", curves: Sequence[Curve]) -> None:
    """Put no ticks between whole numbers where all points lie on such."""
    from matplotlib.ticker import MaxNLocator

    if all(float(point.x).is_integer() for curve in curves for point in curve.points if abs(point.x) < _MAX_DRAWN):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _add_legend(axes: "Axes", names: Sequence[str]) -> None:
    legend = axes.legend(axes.get_lines(), [str(i) for i in range(len(names))], fontsize=8, framealpha=0.9)
    for text, name in zip(legend.get_texts(), names, strict=True):  # only here may names start with an underscore
        text.set_parse_math(False)
        text.set_text(shortened(name, LONGEST_LABEL))
