"""A training's log as a picture, a panel a metric."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dar.files import writing
from dar.plots import new_figure, png, set_up, shade

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOT_PLOTTED = frozenset({"step", "images", "seconds", "learning_rate"})
FIRST = (
    *("loss", "psnr", "validation_cross_entropy", "validation_accuracy"),
    *("loss_flow", "flow_of_group", "codebook_perplexity", "codebook_usage"),
)
"""Panels that come first, in this order; those of ``LAST`` come last, all others between them by name."""

LAST = ("gradient_norm", "images_per_second", "memory_gb", "broken_images")
UNITS = {"psnr": "dB", "memory_gb": "GB"}
COLUMNS = 3
DENSITY = 90
"""Pixels an inch."""

Points = list[tuple[int, float]]
"""Steps and values."""

Panels = dict[str, dict[str, Points]]
"""For each panel its lines: by title, then by name."""


def plot_log(entries: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the metrics of a log against the step, one small panel each; nothing where there are none.

    Args:
        entries: lines of the log.
        path: PNG to write.
    """
    shown = panels(entries)
    if not shown:
        return
    rows = -(-len(shown) // COLUMNS)
    figure = new_figure(4.5 * COLUMNS, 3 * rows)
    for i, (name, lines) in enumerate(shown.items()):
        _draw(figure.add_subplot(rows, COLUMNS, i + 1), name, lines)
    with writing(path) as aside:
        aside.write_bytes(png(figure, DENSITY))


def panels(entries: Sequence[Mapping[str, Any]]) -> Panels:
    """The metrics of a log, the main ones first; one that is measured for each group is one panel.

    What is 0 throughout says nothing, and a term of the loss that is a multiple of another, or of the sum, says it
    twice: neither gets a panel.
    """
    found: Panels = {}
    for name in sorted({name for entry in entries for name in entry} - NOT_PLOTTED, key=_place):
        points = [(entry["step"], entry[name]) for entry in entries if isinstance(entry.get(name), int | float)]
        seen = [line for title, lines in found.items() if title.startswith("loss") for line in lines.values()]
        is_term = name.startswith("loss")
        if any(value for _, value in points) and not (is_term and any(_are_alike(points, one) for one in seen)):
            title, group = _title_and_group(name)
            found.setdefault(title, {})[group] = points
    return found


def _title_and_group(name: str) -> tuple[str, str]:
    """Whose panel it is, and the number of the group that it was measured for, if any."""
    numbered = re.fullmatch(r"(.*_of_group)_([0-9]{1,9})", name)
    return (numbered[1], numbered[2]) if numbered else (name, "")


def _place(name: str) -> tuple[int, str, int]:
    title, group = _title_and_group(name)
    ranks = {name: i for i, name in enumerate((*FIRST, "any other", *LAST))}
    return ranks.get(title, ranks["any other"]), title, int(group or 0)


def _are_alike(one: Points, other: Points) -> bool:
    """Whether the values are in the same proportion at all steps."""
    if [step for step, _ in one] != [step for step, _ in other]:
        return False
    factor = max(abs(value) for _, value in one) / max(abs(value) for _, value in other)
    return all(math.isclose(x, factor * y, rel_tol=1e-4) for (_, x), (_, y) in zip(one, other, strict=True))


def _draw(panel: "Axes", name: str, lines: Mapping[str, Points]) -> None:
    for i, (group, points) in enumerate(lines.items()):
        colour = shade(i, len(lines))
        panel.plot(*zip(*points, strict=True), linewidth=1, label=group, color=colour, marker=_marker(points))
    unit = f" ({UNITS[name]})" if name in UNITS else ""
    set_up(panel, name.removesuffix("_gb").replace("_", " ") + unit, "step")
    if len(lines) > 1:
        panel.legend(fontsize=7, ncols=2)
    if name.startswith(("loss", "flow")) and all(value > 0 for points in lines.values() for _, value in points):
        panel.set_yscale("log")


def _marker(points: Points) -> str:
    """A dot where a line would not be seen."""
    return "." if len(points) < 3 else ""
