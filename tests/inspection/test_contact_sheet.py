from collections.abc import Iterable, Sequence

import pytest
from PIL import Image

from dar.inspection.contact_sheet import COLUMNS, SPARE_PICTURES, ContactSheet, Shown
from dar.sheets import VISIBLE_SIDE

GAP = 8


def names(count: int) -> list[str]:
    return [f"class {i}" for i in range(count)]


def in_turn(classes: Sequence[str], images: int) -> list[str]:
    return [classes[i % len(classes)] for i in range(images)]


def filled(sheet: ContactSheet, classes: Iterable[str | None], caption: str | None = None) -> int:
    """Fill a sheet from images of these classes; how many it took."""
    chosen = [name for name in classes if sheet.chooses(name)]
    for name in chosen:
        sheet.add(Shown(Image.new("RGB", (VISIBLE_SIDE, VISIBLE_SIDE), "red"), name, caption))
    return len(chosen)


def drawn(sheet: ContactSheet) -> Image.Image:
    image = sheet.draw({})
    assert image is not None
    return image


def places(sheet: ContactSheet) -> int:
    """How many pictures a sheet shows."""
    colours = drawn(sheet).getcolors(1 << 24)
    return sum(count for count, colour in colours if colour == (255, 0, 0)) // VISIBLE_SIDE**2


def test_a_row_for_each_of_many_classes() -> None:
    sheet = ContactSheet(names(12), images=1200)
    assert filled(sheet, in_turn(names(12), 1200)) == 12 * (COLUMNS + SPARE_PICTURES)
    assert places(sheet) == 12 * COLUMNS
    assert drawn(sheet).height == 12 * (VISIBLE_SIDE + GAP) + GAP


def test_few_classes_have_several_rows_each() -> None:
    sheet = ContactSheet(names(2), images=200)
    filled(sheet, in_turn(names(2), 200))
    assert places(sheet) == 2 * 4 * COLUMNS


def test_images_without_a_class_have_a_row_of_their_own() -> None:
    sheet = ContactSheet(names(9), images=200)
    filled(sheet, ["class 0", None, "class 0"])
    assert drawn(sheet).height == 2 * (VISIBLE_SIDE + GAP) + GAP


@pytest.mark.parametrize(("all_classes", "rows"), [(False, 20), (True, 50)])
def test_very_many_classes_are_cut_unless_all_are_asked_for(all_classes: bool, rows: int) -> None:
    sheet = ContactSheet(names(50), images=500, all_classes=all_classes)
    filled(sheet, in_turn(names(50), 500))
    assert places(sheet) == rows * COLUMNS


def test_larger_pictures_have_fewer_rows() -> None:
    sheet = ContactSheet(names(50), images=500, size=256)
    assert filled(sheet, in_turn(names(50), 500)) == 10 * (COLUMNS + SPARE_PICTURES)


@pytest.mark.parametrize("known", [[], names(500)])
def test_without_classes_or_with_few_images_of_each_pictures_are_mixed(known: list[str]) -> None:
    sheet = ContactSheet(known, images=500)
    filled(sheet, known or [None] * 500)
    assert places(sheet) == 8 * COLUMNS


def test_captions_are_drawn() -> None:
    heights = []
    for caption in (None, "a cat"):
        sheet = ContactSheet([], images=2)
        filled(sheet, [None, None], caption)
        heights.append(drawn(sheet).height)
    assert heights[0] < heights[1]


def test_nothing_to_show() -> None:
    assert ContactSheet(names(1), images=1).draw({}) is None
