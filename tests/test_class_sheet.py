import pytest
from PIL import Image

from dar.class_sheet import MAX_COLUMNS, class_sheet
from tests.on_sheets import positions

PITCH = 128 + 8


def pictures(count: int) -> list[Image.Image]:
    return [Image.effect_noise((16, 16), 50 + i).convert("RGB") for i in range(count)]


def places(sheet: Image.Image, images: list[Image.Image]) -> list[tuple[int, int]]:
    """Column and row of each image, counted from the first."""
    corners = [positions(sheet, image)[0] for image in images]
    tops = sorted({y for _, y in corners})
    return [((x - corners[0][0]) // PITCH, tops.index(y)) for x, y in corners]


def test_classes_of_several_images_have_rows_of_their_own() -> None:
    images = pictures(5)
    sheet = class_sheet(images, ["cat"] * 3 + ["dog"] * 2, [f"seed {i}" for i in range(5)])
    assert places(sheet, images) == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]


def test_long_rows_are_broken() -> None:
    images = pictures(MAX_COLUMNS + 1)
    assert places(class_sheet(images, ["cat"] * len(images), [""] * len(images)), images)[-2:] == [(9, 0), (0, 1)]


def test_single_images_of_many_classes_share_rows() -> None:
    images = pictures(MAX_COLUMNS + 2)
    found = places(class_sheet(images, [f"class {i}" for i in range(len(images))], ["seed"] * len(images)), images)
    assert found == [(i % MAX_COLUMNS, i // MAX_COLUMNS) for i in range(len(images))]


def test_a_reference_stands_before_all() -> None:
    reference, *images = pictures(5)
    sheet = class_sheet(images, ["cat", "cat", "dog", "dog"], [""] * 4, reference=reference)
    assert places(sheet, [reference, *images]) == [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1)]


def test_a_heading_changes_neither_size_nor_places_from_frame_to_frame() -> None:
    images = pictures(4)
    frames = [class_sheet(images, list("aabb"), [""] * 4, heading=name) for name in ("1 group", "8 groups")]
    assert frames[0].size == frames[1].size
    assert frames[0].tobytes() != frames[1].tobytes()
    assert positions(frames[0], images[3]) == positions(frames[1], images[3])


def test_no_image_is_no_sheet() -> None:
    with pytest.raises(IndexError):
        class_sheet([], [], [])
