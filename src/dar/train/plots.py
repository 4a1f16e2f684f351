"""Training curves as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dar.files import writing

NOT_PLOTTED = frozenset({"step", "images", "seconds", "learning_rate"})


def plot_log(entries: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw every figure of a log against the step, one small panel each.

    Args:
        entries: lines of the log.
        path: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = sorted({name for entry in entries for name in entry} - NOT_PLOTTED)
    if not names:
        return
    columns = 3
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.5 * columns, 3 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for i, name in enumerate(names):
        panel = figure.add_subplot(rows, columns, i + 1)
        points = [(entry["step"], entry[name]) for entry in entries if name in entry]
        panel.plot(*zip(*points, strict=True), linewidth=1)
        panel.set_title(name.replace("_", " "))
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
        if name.startswith("loss") and all(value > 0 for _, value in points):
            panel.set_yscale("log")
    with writing(path) as aside:
        figure.savefig(aside, dpi=90)
