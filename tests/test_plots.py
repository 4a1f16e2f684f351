import io

import pytest
from PIL import Image

from dar.plots import new_figure, png, set_up, shade, shortened


def drawn(title: str, x_name: str = "step", y_name: str = "loss") -> bytes:
    figure = new_figure(2, 1)
    set_up(figure.add_subplot(), title, x_name, y_name)
    return png(figure, 50)


def test_a_figure_has_its_size_and_is_the_same_each_time() -> None:
    assert Image.open(io.BytesIO(drawn("a"))).size == (100, 50)
    assert drawn("a") == drawn("a")


@pytest.mark.parametrize("text", ["$\\frac{", "猫\n\t\0", "x" * 500, ""])
def test_any_text_can_be_drawn(text: str) -> None:
    assert drawn(text, text, text)


def test_texts_are_cut_to_one_line() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd", 3) == "ab…"
    assert "\n" not in shortened("a\nb", 10)


def test_shades_go_from_dark_to_light() -> None:
    shades = [shade(i, 5) for i in range(5)]
    assert shades == sorted(shades)
    assert len(set(shades)) == 5
