import io

import pytest
from PIL import Image
from rich.console import Console
from rich.text import Text

from dar.terminal import PictureRow, PictureScreen, fitting, preview_indices, terminal_console


def console(width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=width, height=40)


def drawn(row: PictureRow) -> list[Text]:
    screen = console()
    screen.print(row)
    return [Text.from_ansi(line) for line in screen.file.getvalue().splitlines()]


def test_a_character_holds_two_pixels() -> None:
    picture = Image.new("RGB", (4, 4), (250, 0, 0))
    picture.putpixel((1, 3), (0, 0, 200))
    lines = drawn(PictureRow([picture, picture], ["cat", "a long name"], ["1", "2"], 4))
    assert [line.plain for line in lines[:2]] == ["▀▀▀▀ ▀▀▀▀"] * 2
    style = lines[1].get_style_at_offset(console(), 1)
    assert tuple(style.color.triplet) == (250, 0, 0)
    assert tuple(style.bgcolor.triplet) == (0, 0, 200)
    assert [line.plain.rstrip() for line in lines[2:]] == ["cat  a l…", "1    2"]


def test_names_of_any_width_and_kind_keep_the_columns() -> None:
    picture = Image.new("RGB", (8, 8))
    for name in ("猫猫猫猫猫猫", "\x1b[31mred", "new\nline", ""):
        line = drawn(PictureRow([picture, picture], [name, "|"], ["", ""], 8))[4]
        assert line.cell_len == 17 or line.plain.endswith("|")
        assert Text(line.plain.split("|")[0]).cell_len == 9


@pytest.mark.parametrize(
    ("size", "count", "width", "height", "expected"),
    [
        (32, 32, 80, 24, (32, 2)),
        (32, 32, 200, 50, (32, 6)),
        (32, 3, 200, 50, (32, 3)),
        (256, 1, 80, 50, (64, 1)),  # scaled down
        (256, 1, 80, 24, (38, 1)),  # and further where lines are few
        (256, 2, 100, 50, (48, 2)),  # or where two fit then
        (256, 32, 131, 50, (32, 4)),
        (15, 9, 80, 24, (14, 5)),
        (32, 1, 10, 24, (10, 1)),
        (32, 1, 1, 1, (2, 1)),
    ],
)
def test_as_many_pictures_as_fit(size: int, count: int, width: int, height: int, expected: tuple[int, int]) -> None:
    assert fitting(size, count, width, height) == expected


def test_pictures_of_all_classes_come_first() -> None:
    assert preview_indices(["a", "a", "a", "b", "b", "c"], 4) == [0, 1, 3, 5]
    assert preview_indices(["a", "b"], 9) == [0, 1]


def test_a_console_that_is_no_terminal_gets_each_finished_batch_once() -> None:
    out = console()
    images = [Image.new("RGB", (8, 8))] * 2
    with PictureScreen(out, 4, 3) as screen:
        for names in (["cat", "dog"], ["cow", "pig"]):
            for step in (1, 2, 3):
                screen.show(images, names, ["seed", "seed"], step)
    said = Text.from_ansi(out.file.getvalue()).plain
    assert [said.count(name) for name in ("cat", "dog", "cow", "pig")] == [1, 1, 1, 1]
    assert "images 3 to 4 of 4" in said


def test_no_pictures_in_a_pipe_unless_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert terminal_console() is None
    forced = terminal_console(forced=True)
    assert forced is not None
    assert forced.color_system == "truecolor"
