import pytest
from PIL import Image

from dar.inspection.contact_sheet import COLUMNS, SPARE, ContactSheet, Shown
from dar.sheets import VISIBLE_SIDE

GAP = 8


def filled(sheet: ContactSheet, labels: list[int | None], caption: str = "") -> int:
    """Fill a sheet from images of these labels; how many it took."""
    chosen = [label for label in labels if sheet.chooses(label)]
    for label in chosen:
        sheet.add(Shown(Image.new("RGB", (VISIBLE_SIDE, VISIBLE_SIDE), "red"), label, caption))
    return len(chosen)


def places(image: Image.Image) -> int:
    """How many pictures a sheet shows."""
    return sum(count for count, colour in image.getcolors(1 << 24) if colour == (255, 0, 0)) // VISIBLE_SIDE**2


def test_a_row_for_each_of_many_classes() -> None:
    sheet = ContactSheet([f"class {i}" for i in range(12)], images=1200)
    labels: list[int | None] = [i % 12 for i in range(1200)]
    assert filled(sheet, labels) == 12 * (COLUMNS + SPARE)
    drawn = sheet.draw(dict.fromkeys(range(12), 100))
    assert drawn is not None
    assert places(drawn) == 12 * COLUMNS
    assert drawn.height == 12 * (VISIBLE_SIDE + GAP) + GAP


def test_few_classes_have_several_rows_each() -> None:
    sheet = ContactSheet(["cat", "dog"], images=200)
    filled(sheet, [i % 2 for i in range(200)])
    drawn = sheet.draw({0: 100, 1: 100})
    assert drawn is not None
    assert places(drawn) == 2 * 4 * COLUMNS


def test_images_without_a_class_have_a_row_of_their_own() -> None:
    sheet = ContactSheet(["cat"] * 9, images=200)
    filled(sheet, [0, None, 0])
    drawn = sheet.draw({0: 2})
    assert drawn is not None
    assert drawn.height == 2 * (VISIBLE_SIDE + GAP) + GAP


@pytest.mark.parametrize(("all_classes", "rows"), [(False, 20), (True, 50)])
def test_very_many_classes_are_cut_unless_all_are_asked_for(all_classes: bool, rows: int) -> None:
    sheet = ContactSheet([str(i) for i in range(50)], images=500, all_classes=all_classes)
    filled(sheet, [i % 50 for i in range(500)])
    drawn = sheet.draw({})
    assert drawn is not None
    assert places(drawn) == rows * COLUMNS


@pytest.mark.parametrize("names", [[], [str(i) for i in range(500)]])
def test_without_classes_or_with_few_images_of_each_pictures_are_mixed(names: list[str]) -> None:
    sheet = ContactSheet(names, images=500)
    labels: list[int | None] = [i if names else None for i in range(500)]
    filled(sheet, labels)
    drawn = sheet.draw({})
    assert drawn is not None
    assert places(drawn) == 8 * COLUMNS


def test_captions_are_drawn() -> None:
    heights = []
    for caption in ("", "a cat"):
        sheet = ContactSheet([], images=2)
        filled(sheet, [None, None], caption)
        drawn = sheet.draw({})
        assert drawn is not None
        heights.append(drawn.height)
    assert heights[0] < heights[1]


def test_nothing_to_show() -> None:
    assert ContactSheet(["cat"], images=1).draw({}) is None
