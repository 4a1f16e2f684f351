from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from dar.lettering import Lettering, drawable
from dar.sheets import captioned_grid, display_scale

RED, WHITE = (255, 0, 0), (255, 255, 255)
SIDE, GAP = 128, 8


@pytest.mark.parametrize(("size", "scale"), [(1, 128), (16, 8), (32, 4), (128, 1), (256, 1)])
def test_display_scale(size: int, scale: int) -> None:
    assert display_scale(size) == scale


def ink(sheet: Image.Image, box: tuple[int, int, int, int] | None = None) -> int:
    """How many pixels of text a part of a sheet of red images holds."""
    pixels = np.asarray(sheet.crop(box) if box else sheet).astype(int)
    return int(((pixels[..., 1] < 200) & (pixels[..., 0] < 200)).sum())


def red(count: int, side: int = SIDE) -> list[Image.Image]:
    return [Image.new("RGB", (side, side), RED)] * count


def test_sheet_without_text_is_the_images_with_a_margin() -> None:
    sheet = captioned_grid([red(2), [None, *red(1)]])
    assert sheet.size == (2 * SIDE + 3 * GAP, 2 * SIDE + 3 * GAP)
    assert ink(sheet) == 0
    assert sheet.getpixel((GAP, GAP)) == sheet.getpixel((2 * GAP + SIDE, 2 * GAP + SIDE)) == RED
    assert sheet.getpixel((GAP, 2 * GAP + SIDE)) == WHITE


def test_captions_stand_under_their_images() -> None:
    sheet = captioned_grid([red(3)], captions=[["seed 0", "", "seed 2"]])
    left, empty, right = (GAP + i * (SIDE + GAP) for i in range(3))
    under = GAP + SIDE
    assert ink(sheet, (left, under, left + SIDE, sheet.height)) > 20
    assert ink(sheet, (empty, under, empty + SIDE, sheet.height)) == 0
    assert ink(sheet, (right, under, right + SIDE, sheet.height)) > 20
    assert ink(sheet, (0, 0, sheet.width, under)) == 0


def test_names_stand_beside_rows_and_above_columns() -> None:
    sheet = captioned_grid([red(2), red(2)], row_names=["cat", "dog"], column_names=["original", "1 group"])
    left, top = sheet.width - 2 * (SIDE + GAP), sheet.height - 2 * (SIDE + GAP)
    assert sheet.getpixel((left, top)) == RED
    for r in range(2):
        assert ink(sheet, (0, top + r * (SIDE + GAP), left, top + r * (SIDE + GAP) + SIDE)) > 20
    for c in range(2):
        assert ink(sheet, (left + c * (SIDE + GAP), 0, left + c * (SIDE + GAP) + SIDE, top)) > 20
    assert ink(sheet, (left, top, sheet.width, sheet.height)) == 0


@pytest.mark.parametrize("side", [8, 32, 128, 256])
def test_long_texts_neither_overlap_images_nor_are_cut(side: int) -> None:
    long = "a very long text of gypsies jumping " * 9 + "W" * 500
    image = Image.new("RGB", (side, side), RED)
    sheet = captioned_grid([[image] * 2] * 2, captions=[[long] * 2] * 2, row_names=[long] * 2, column_names=[long] * 2)
    pixels = np.asarray(sheet)
    assert (pixels == RED).all(axis=-1).sum() == 4 * side * side
    border = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, :2].reshape(-1, 3)])
    assert (border == 255).all()
    gutter = np.flatnonzero((pixels == 255).all(axis=(0, 2)))
    assert len(gutter) >= 3 * (GAP - 3), "texts of neighbouring columns touch"


@pytest.mark.parametrize("text", ["日本語", "\udcff.png", "a\x00\nb\u200d", "😀" * 99, "שלום", "e\u0301", "\t"])
def test_any_text_can_be_drawn(text: str) -> None:
    captioned_grid([red(1)], captions=[[text]], row_names=[text], column_names=[text])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Straße, café, Łódź, Ærø", "Strasse, cafe, Lodz, AEro"),
        ("1 group … 8 groups", "1 group … 8 groups"),
        ("3 × 4 – b", "3 x 4 - b"),  # noqa: RUF001
        ("a\n\tb\x07 \udcff", "a b ?"),
    ],
)
def test_letters_that_the_font_lacks(text: str, shown: str) -> None:
    assert drawable(text) == shown


def test_lines_break_between_words_and_end_in_an_ellipsis() -> None:
    lettering = Lettering(12)
    assert lettering.lines("ship", 100, 2) == ["ship"]
    assert lettering.lines("", 100, 2) == []
    assert lettering.lines("American_Staffordshire_terrier", 128, 2) == ["American_", "Staffordshire_terrier"]
    assert lettering.lines("one two three four five six seven", 60, 2)[-1].endswith("…")
    for text in ("word " * 50, "W" * 300):
        lines = lettering.lines(text, 90, 3)
        assert len(lines) == 3
        assert lettering.width(lines) <= 90


def test_size_follows_from_the_number_of_lines() -> None:
    sizes = {captioned_grid([red(2)], captions=[[f"step {i}", "."]]).size for i in range(9)}
    assert len(sizes) == 1
    assert captioned_grid([red(2)], captions=[["two lines " * 3, "."]]).size > sizes.pop()


def test_small_images_are_enlarged_and_kept_whole() -> None:
    image = Image.effect_noise((32, 32), 50).convert("RGB")
    sheet = captioned_grid([[image]], captions=[["noise"]], scale=display_scale(32))
    shown = sheet.crop((GAP, GAP, GAP + SIDE, GAP + SIDE)).resize((32, 32), Image.Resampling.NEAREST)
    assert shown.tobytes() == image.tobytes()


@pytest.mark.parametrize(
    ("rows", "texts", "problem"),
    [
        ([red(1), red(1, side=9)], {}, "one size"),
        ([], {}, "one size"),
        ([red(1)], {"row_names": "ab"}, "more texts"),
        ([red(1)], {"column_names": "ab"}, "more texts"),
        ([red(1)], {"captions": ["ab"]}, "more captions"),
    ],
)
def test_what_has_no_place_is_refused(
    rows: Sequence[list[Image.Image]], texts: dict[str, Sequence[str]], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        captioned_grid(rows, **texts)  # type: ignore[arg-type]
