"""Reports as pages of one file: HTML that asks for nothing from elsewhere, and runs nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from dar.pages import data_uri, templates
from dar.report.curve_panels import INCHES, draw_curves
from dar.report.report import Curve, Report, flattened, metric_named, shown
from dar.report.serialization import to_json
from dar.rgb import to_rgb

MAX_PICTURE_SIDE = 2400
"""Pixels of a picture's longer side; what is larger is scaled down for the page."""

SCREEN_DENSITY = 100
"""Pixels an inch at which curves are shown."""


@dataclass(frozen=True)
class Picture:
    """A picture that a page carries within it.

    Attributes:
        image: RGB.
        width: pixels that it takes up where there is room.
        description: for those who cannot see it.
        caption: below it; may be empty.
        curves: those that it shows; the page lists their numbers too.
    """

    image: Image.Image
    width: int
    description: str
    caption: str = ""
    curves: Sequence[Curve] = ()

    @property
    def uri(self) -> str:
        """The address that holds it."""
        return data_uri(self.image)

    @property
    def height(self) -> int:
        """Pixels that it takes up, as ``width``."""
        return round(self.image.height * self.width / self.image.width)

    @property
    def is_wide(self) -> bool:
        """Whether it needs a row of its own."""
        return self.width > SCREEN_DENSITY * INCHES[0]


def report_page(report: Report, pictures: Mapping[str, Image.Image]) -> str:
    """Lay out a report as an HTML page: a picture, the metrics, then all else, and what it takes to repeat it.

    Args:
        report: what to show.
        pictures: of any mode and size, by caption.

    Raises:
        DARError: if a metric is not a number, or curves of one title have different axes.
    """
    date = report.environment.get("time")
    return render(
        "report.html",
        title=f"Evaluation: {report.kind}",
        lead=f"Measured {date}" if date else "",
        report=report,
        pictures=[_picture(image, caption) for caption, image in pictures.items()],
        panels=curve_panels(report.curves),
        json=to_json(report),
    )


def render(name: str, **values: Any) -> str:
    """Fill in one of the templates beside this file."""
    environment = templates("dar.report")
    environment.filters |= {"metric": metric_named, "flattened": flattened, "shown": shown}
    return environment.get_template(name).render(values)


def curve_panels(curves: Sequence[Curve]) -> list[Picture]:
    """Draw a picture for each title.

    Raises:
        DARError: if curves of one title have different axes.
    """
    width = round(INCHES[0] * SCREEN_DENSITY)
    panels = []
    for title, image in draw_curves(curves).items():
        inside = [curve for curve in curves if curve.title == title]
        panels.append(Picture(image, width, _described(inside), curves=inside))
    return panels


def _described(curves: Sequence[Curve]) -> str:
    """Describe a picture of curves for those who cannot see it."""
    names = " and ".join(curve.name for curve in curves if curve.name)
    axes = f"{curves[0].y_name} against {curves[0].x_name}"
    return f"{curves[0].title}: {axes}{f' for {names}' if names else ''}; the numbers are below it"


def _picture(image: Image.Image, caption: str) -> Picture:
    """Ready a picture with its caption; a huge one is scaled down, and its caption says so."""
    image = to_rgb(image)
    if max(image.size) > MAX_PICTURE_SIDE:
        caption = f"{caption} (scaled down from {image.width} x {image.height} pixels)"
        image.thumbnail((MAX_PICTURE_SIDE, MAX_PICTURE_SIDE), Image.Resampling.LANCZOS)
    return Picture(image, image.width, description=caption, caption=caption)
