"""The demonstration as a page of one file, which asks for nothing from elsewhere."""

from collections.abc import Mapping, Sequence

from PIL import Image

from dar.demo.job import Demo
from dar.pages import data_uri, templates

SMALL = 64
"""Images of up to so many pixels a side are shown pixel by pixel, and stored as they are."""

QUALITY = 92
"""Of larger ones, which are stored as WebP."""


def demo_page(demo: Demo, model_info: Mapping[str, str], commands: Mapping[str, Sequence[str]]) -> str:
    """Lay out the page, as HTML that runs nothing but its own script, which moves between the steps that it carries.

    Args:
        demo: what to show.
        model_info: facts about model and machine by their names, such as ``model``, which must be there.
        commands: for "classes", "layout" and "reconstructions", the command lines that make the same.
    """
    environment = templates("dar.demo")
    environment.filters |= {"uri": picture_uri, "zip": zip, "time": "{:.1f} s".format}
    side = demo.classes.rows[0][0].width
    html = environment.get_template("page.html").render(
        demo=demo,
        model_info=model_info,
        commands=commands,
        journeys=_frames(demo.classes.names, demo.classes.steps),
        pairs=_frames([original.name for original in demo.reconstructions.originals], demo.reconstructions.stages),
        side=side,
        size="small" if side <= SMALL else "large",
    )
    return html.lstrip()


def picture_uri(image: Image.Image) -> str:
    """Encode a picture as an address that holds it."""
    return data_uri(image, "png" if max(image.size) <= SMALL else "webp", quality=QUALITY)


def _frames(
    names: Sequence[str], stages: Sequence[tuple[str, list[Image.Image]]]
) -> list[tuple[str, list[Image.Image]]]:
    """Collect for each picture its name, and what it looks like at each stage."""
    return [(name, [images[i] for _, images in stages]) for i, name in enumerate(names)]
