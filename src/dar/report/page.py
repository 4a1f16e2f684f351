"""Reports as pages of one file: HTML that asks for nothing from elsewhere, and runs nothing."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from PIL import Image

from dar.report.figures import INCHES, draw_curves
from dar.report.report import Curve, Estimate, Report, flattened, metric_named, shown
from dar.report.serialization import to_json
from dar.rgb import to_rgb

LARGEST = 2400
"""Pixels of a picture's longer side; what is larger is scaled down for the page."""

SCREEN_DENSITY = 100
"""Pixels an inch at which curves are shown."""

ARROWS = {
    "lower": ' <abbr title="lower is better">↓</abbr>',
    "higher": ' <abbr title="higher is better">↑</abbr>',
    None: "",
}
ARROWS_EXPLAINED = "↓ lower is better, ↑ higher is better."


def report_page(report: Report, pictures: Mapping[str, Image.Image]) -> str:
    """A report as an HTML page: a picture, the metrics, then all else, and what it takes to repeat the evaluation.

    Args:
        report: what to show.
        pictures: of any mode and size, by caption.

    Raises:
        DARError: if a figure is not a number, or curves of one title have different axes.
    """
    date = report.environment.get("time")
    first, *others = [picture(image, caption) for caption, image in pictures.items()] or [""]
    sections = [
        section("Picture", first),
        section("Metrics", figures_tables(report.figures), ARROWS_EXPLAINED),
        section("Curves", curve_panels(report.curves)),
        section("More pictures", cards(others)),
        section("What was measured", settings_table(report.subject)),
        section(
            "Protocol", settings_table(report.protocol), "Reports can be compared only where all of this is equal."
        ),
        section("Environment", settings_table(report.environment)),
        section(
            "Data", f"<details><summary>This report as JSON</summary><pre>{escape(to_json(report))}</pre></details>"
        ),
    ]
    return document(f"Evaluation: {report.kind}", f"Measured {date}" if date else "", sections)


def document(title: str, lead: str, sections: Iterable[str]) -> str:
    """A whole page, which no browser lets load or run anything.

    Args:
        title: plain text.
        lead: plain text below it.
        sections: HTML.
    """
    style = files("dar.report").joinpath("page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p></header>
<main>
{"".join(sections)}</main>
</body>
</html>
"""


def section(heading: str, content: str, note: str = "") -> str:
    """HTML below a heading, with a remark in plain text; nothing where there is no content."""
    remark = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n{remark}</section>\n" if content else ""


def cards(contents: Iterable[str]) -> str:
    """Pieces of HTML beside each other as far as there is room; nothing where there are none."""
    inside = "\n".join(contents)
    return f'<div class="cards">\n{inside}\n</div>' if inside else ""


def figures_tables(figures: Mapping[str, Mapping[str, Estimate]]) -> str:
    """A table for each space."""
    return cards(_figures_table(space, estimates) for space, estimates in figures.items())


def _figures_table(space: str, estimates: Mapping[str, Estimate]) -> str:
    rows = "\n".join(_figure_row(key, estimate) for key, estimate in estimates.items())
    return f"""<div class="card scroll"><table>
<caption>{escape(space)}</caption>
<thead><tr><th scope="col">metric</th><th scope="col" class="number">value</th>
<th scope="col" class="number">95 % interval</th></tr></thead>
<tbody>
{rows}
</tbody></table></div>"""


def _figure_row(key: str, estimate: Estimate) -> str:
    metric = metric_named(key)
    return (
        f'<tr><th scope="row">{escape(metric.title)}{ARROWS[metric.better]}</th>'
        f'<td class="number"><span class="value">{metric.number(estimate.value)}</span> {escape(metric.unit)}</td>'
        f'<td class="number faint">{metric.interval(estimate) or "none"}</td></tr>'
    )


def settings_table(settings: Mapping[str, Any]) -> str:
    """Entries of nested JSON objects by dotted path; nothing where there are none."""
    if not settings:
        return ""
    rows = "\n".join(
        f'<tr><th scope="row">{escape(path)}</th><td>{escape(shown(value))}</td></tr>'
        for path, value in flattened(settings).items()
    )
    return f'<div class="card"><table class="settings">\n<tbody>\n{rows}\n</tbody></table></div>'


def curve_panels(curves: Sequence[Curve]) -> str:
    """Each title's picture, with the numbers behind it."""
    return cards(
        figure(
            image,
            "",
            round(INCHES[0] * SCREEN_DENSITY),
            description=_described([curve for curve in curves if curve.title == title]),
            more=_points_table([curve for curve in curves if curve.title == title]),
        )
        for title, image in draw_curves(curves).items()
    )


def _described(curves: Sequence[Curve]) -> str:
    """What a picture of curves shows, for those who cannot see it."""
    names = " and ".join(curve.name for curve in curves if curve.name)
    subject = f"{curves[0].y_name} against {curves[0].x_name}"
    return f"{curves[0].title}: {subject}{f' for {names}' if names else ''}; the numbers are below it"


def _points_table(curves: Sequence[Curve]) -> str:
    rows = "\n".join(
        f'<tr><th scope="row">{escape(curve.name)}</th><td>{escape(point.label)}</td>'
        f'<td class="number">{point.x:.6g}</td><td class="number">{point.y:.6g}</td></tr>'
        for curve in curves
        for point in curve.points
    )
    return f"""<details><summary>Numbers</summary><div class="scroll"><table>
<thead><tr><th scope="col">curve</th><th scope="col">point</th>
<th scope="col" class="number">{escape(curves[0].x_name)}</th>
<th scope="col" class="number">{escape(curves[0].y_name)}</th></tr></thead>
<tbody>
{rows}
</tbody></table></div></details>"""


def picture(image: Image.Image, caption: str) -> str:
    """A picture with its caption; a huge one is scaled down, and its caption says so."""
    image = to_rgb(image)
    if max(image.size) > LARGEST:
        caption = f"{caption} (scaled down from {image.width} x {image.height} pixels)"
        image.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return figure(image, caption, image.width, description=caption)


def figure(image: Image.Image, caption: str, width: int, *, description: str, more: str = "") -> str:
    """HTML of an RGB picture that the page carries within it.

    Args:
        image: it.
        caption: plain text below it; may be empty.
        width: pixels that it takes up where there is room.
        description: plain text for those who cannot see it.
        more: HTML below the caption.
    """
    content = io.BytesIO()
    image.save(content, "PNG")
    encoded = base64.b64encode(content.getvalue()).decode()
    size = f'width="{width}" height="{round(image.height * width / image.width)}"'
    place = "card wide" if width > SCREEN_DENSITY * INCHES[0] else "card"
    return (
        f'<figure class="{place}"><img src="data:image/png;base64,{encoded}" {size} alt="{escape(description)}">'
        + (f"<figcaption>{escape(caption)}</figcaption>" if caption else "")
        + f"{more}</figure>"
    )
