"""Reports side by side, as a page of one file."""

import dataclasses
from collections.abc import Sequence

from dar.errors import quoted
from dar.report.compare import MARKS_EXPLAINED, NO_DIFFERENCE, compare_reports
from dar.report.page import curve_panels, render
from dar.report.report import Report


def comparison_page(reports: Sequence[Report], names: Sequence[str]) -> str:
    """Lay out reports side by side as an HTML page of one file, curves of one title drawn together.

    Args:
        reports: two or more.
        names: what to call them.

    Raises:
        DARError: if they were not measured alike, or curves of one title have different axes.
    """
    comparison = compare_reports(reports, names)
    curves = [
        dataclasses.replace(curve, name=f"{name}: {curve.name}" if curve.name else name)
        for report, name in zip(reports, names, strict=True)
        for curve in report.curves
    ]
    return render(
        "comparison.html",
        title=f"Comparison: {comparison.kind}",
        lead=f"{', '.join(map(quoted, names))}, measured alike",
        comparison=comparison,
        panels=curve_panels(curves),
        marks_explained=MARKS_EXPLAINED,
        no_difference=NO_DIFFERENCE,
    )
