import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageColor

from dar.errors import DARError
from dar.plots import COLOURS
from dar.report.curve_panels import draw_curves
from dar.report.report import Curve, Point
from tests.report.reports import CURVE

OTHER = dataclasses.replace(CURVE, name="linear", points=tuple(Point(p.x, p.y - 3, p.label) for p in CURVE.points))


def pixels_of(image: Image.Image, colour: str) -> int:
    return int((np.asarray(image) == ImageColor.getrgb(colour)).all(axis=2).sum())


def test_a_panel_for_each_title_in_order() -> None:
    renamed = dataclasses.replace(CURVE, title="zebra"), dataclasses.replace(CURVE, title="apple")
    panels = draw_curves([renamed[0], CURVE, renamed[1], OTHER])
    assert list(panels) == ["zebra", CURVE.title, "apple"]
    for image in panels.values():
        assert image.mode == "RGB"
        assert image.size == (1280, 840)
        assert pixels_of(image, COLOURS[0]) > 1000
    assert [pixels_of(image, COLOURS[1]) > 1000 for image in panels.values()] == [False, True, False]
    assert draw_curves([]) == {}


def test_the_same_curves_give_the_same_picture() -> None:
    assert draw_curves([CURVE]) == draw_curves([CURVE])


@pytest.mark.parametrize("part", ["title", "x_name", "y_name", "name"])
def test_every_text_is_drawn(part: str) -> None:
    [plain], [told] = (
        list(draw_curves([curve]).values()) for curve in (CURVE, dataclasses.replace(CURVE, **{part: "Z"}))
    )
    assert plain != told


def test_points_are_labelled() -> None:
    bare = dataclasses.replace(CURVE, points=tuple(Point(point.x, point.y) for point in CURVE.points))
    assert draw_curves([bare]) != draw_curves([CURVE])


def test_points_at_infinity_are_left_out() -> None:
    more = (*CURVE.points, Point(8, float("inf"), "never"), Point(float("inf"), 3))
    assert draw_curves([dataclasses.replace(CURVE, points=more)]) == draw_curves([CURVE])
    for points in ((), (Point(1, float("inf")),), (Point(3, 3),)):
        assert len(draw_curves([dataclasses.replace(CURVE, points=points)])) == 1


@pytest.mark.parametrize("text", ["$\\frac{", "_hidden", "猫\n\t\0", "x" * 500, "<b>&amp;", ""])
def test_any_text_can_be_drawn(text: str) -> None:
    curve = Curve(text, text, text, (Point(1, 1, text), Point(2, 2, text)), text)
    panels = draw_curves([curve, dataclasses.replace(curve, name="other")])
    assert list(panels) == [text]
    assert pixels_of(panels[text], COLOURS[0]) > 300


def test_curves_of_one_title_have_one_pair_of_axes() -> None:
    with pytest.raises(DARError, match=r"curves titled PSNR by groups have different axes"):
        draw_curves([CURVE, dataclasses.replace(CURVE, y_name="SSIM")])


def test_many_curves_can_be_told_apart() -> None:
    curves = [
        dataclasses.replace(CURVE, name=str(i), points=tuple(Point(x, x + i) for x in range(4))) for i in range(15)
    ]
    [image] = draw_curves(curves).values()
    assert all(pixels_of(image, colour) > 300 for colour in COLOURS)


@pytest.mark.parametrize("value", [1e308, float("inf")])
def test_points_too_far_to_be_drawn_are_left_out(value: float) -> None:
    far = dataclasses.replace(CURVE, points=(*CURVE.points, Point(value, -value)))
    assert draw_curves([far]) == draw_curves([CURVE])
