"""Reports side by side, as a page of one file."""

import dataclasses
from collections.abc import Sequence
from html import escape

from dar.errors import quoted
from dar.report.compare import MARKS_EXPLAINED, NO_DIFFERENCE, Comparison, compare_reports
from dar.report.page import ARROWS, ARROWS_EXPLAINED, curve_panels, document, section
from dar.report.report import Report


def comparison_page(reports: Sequence[Report], names: Sequence[str]) -> str:
    """Reports side by side as an HTML page of one file, curves of one title drawn together.

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
    explained = f"{ARROWS_EXPLAINED} {MARKS_EXPLAINED}"
    sections = [
        section("Metrics", _figures_html(comparison), explained),
        section("Curves", curve_panels(curves)),
        section("What differs", _differences_html(comparison)),
    ]
    lead = f"{', '.join(map(quoted, names))}, measured alike"
    return document(f"Comparison: {reports[0].kind}", lead, sections)


def _figures_html(comparison: Comparison) -> str:
    rows = "\n".join(
        f'<tr><td>{escape(row.space)}</td><th scope="row">{escape(row.title)}{ARROWS[row.metric.better]}</th>'
        + "".join(f'<td class="number {cell.standing}">{escape(str(cell))}</td>' for cell in row.cells)
        + "</tr>"
        for row in comparison.rows
    )
    heads = "".join(f'<th scope="col" class="number">{escape(name)}</th>' for name in comparison.names)
    return f"""<div class="card scroll"><table>
<thead><tr><th scope="col">space</th><th scope="col">metric</th>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table></div>"""


def _differences_html(comparison: Comparison) -> str:
    if not comparison.differences:
        return f"<p>{NO_DIFFERENCE}</p>"
    rows = "\n".join(
        f'<tr><th scope="row">{escape(path)}</th>{"".join(f"<td>{escape(value)}</td>" for value in values)}</tr>'
        for path, values in comparison.differences.items()
    )
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in comparison.names)
    return f"""<div class="card scroll"><table class="differing">
<thead><tr><th scope="col">subject</th>{heads}</tr></thead>
<tbody>
{rows}
</tbody></table></div>"""
