"""Sheets: equally large pictures in rows and columns on white, with or without text."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from dar.lettering import Lettering

VISIBLE_SIDE = 128
"""Pixels a side at which a person sees an image well."""

MIN_COLUMN_WIDTH = 96
"""Least width of a column, in pixels, where text stands above or below its images."""

TEXT_GAP = 3
"""Pixels between an image and the text under or above it."""

CAPTION_LINES, COLUMN_NAME_LINES, ROW_NAME_LINES = 2, 2, 4
MIN_TEXT_SIZE, MAX_TEXT_SIZE = 12, 20


def display_scale(size: int) -> int:
    """Choose by how much to enlarge images of ``size`` pixels so that people see them well on a sheet."""
    return max(1, VISIBLE_SIDE // size)


def captioned_grid(
    rows: Sequence[Sequence[Image.Image | None]],
    *,
    captions: Sequence[Sequence[str]] = (),
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    scale: int = 1,
    gap: int = 8,
    caption_lines: int = CAPTION_LINES,
) -> Image.Image:
    """Draw equally large images in rows and columns, on white, with text under, beside and above them.

    Long texts take several lines, and end in an ellipsis where these do not suffice. Text never overlaps anything,
    and the sheet's size depends on the number of lines that the longest text of each kind takes.

    Args:
        rows: the images; rows may differ in length, and None leaves a place empty.
        captions: for each row, a text under each of its images; none at all means no captions.
        row_names: a text to the left of each row.
        column_names: a text above each column.
        scale: whole number by which images are enlarged, pixel by pixel.
        gap: white pixels between columns, between rows, and around everything.
        caption_lines: lines that a caption may take.

    Raises:
        ValueError: if there is no image, sizes differ, or there are more texts than places for them.
    """
    _check_places(rows, captions, row_names, column_names)
    width, height = (side * scale for side in _one_size(rows))
    has_text = any(column_names) or any(text for texts in captions for text in texts)
    column = max(width, MIN_COLUMN_WIDTH) if has_text else width
    lettering = Lettering(min(max(MIN_TEXT_SIZE, column // 12), MAX_TEXT_SIZE))
    under = [[lettering.lines(text, column, caption_lines) for text in texts] for texts in captions]
    above = [lettering.lines(text, column, COLUMN_NAME_LINES) for text in column_names]
    fitting = max(1, min(ROW_NAME_LINES, height // lettering.line_height))
    beside = [lettering.lines(name, max(column, MIN_COLUMN_WIDTH), fitting) for name in row_names]

    left = gap + (lettering.width(line for lines in beside for line in lines) + gap if any(beside) else 0)
    top = gap + (lettering.height(above) + TEXT_GAP if any(above) else 0)
    below = lettering.height(lines for texts in under for lines in texts)
    row_height = max(height, lettering.height(beside))
    places = _Places(
        left, top, column, row_height, pitch=row_height + (TEXT_GAP + below if below else 0) + gap, gap=gap
    )
    sheet = Image.new("RGB", places.corner(len(rows), max(map(len, rows))), "white")
    _paste(sheet, rows, places, scale)
    _write(sheet, lettering, places, under, beside, above)
    return sheet


def _one_size(rows: Sequence[Sequence[Image.Image | None]]) -> tuple[int, int]:
    """Return the width and height that all images have."""
    sizes = {image.size for row in rows for image in row if image is not None}
    if len(sizes) != 1:
        raise ValueError(f"a sheet needs images of one size, not of {sorted(sizes)}")
    return sizes.pop()


@dataclass(frozen=True)
class _Places:
    """Positions on a sheet, in pixels.

    Attributes:
        left: of the first column.
        top: of the first row's images.
        column: width of a column.
        row: height of a row without its captions.
        pitch: from the top of a row to that of the next.
        gap: between columns, between rows, and around everything.
    """

    left: int
    top: int
    column: int
    row: int
    pitch: int
    gap: int

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Find the top left of a place."""
        return self.left + column * (self.column + self.gap), self.top + row * self.pitch

    def centre(self, row: int, column: int) -> tuple[int, int]:
        """Find the middle of the image at a place."""
        x, y = self.corner(row, column)
        return x + self.column // 2, y + self.row // 2


def _paste(sheet: Image.Image, rows: Sequence[Sequence[Image.Image | None]], places: _Places, scale: int) -> None:
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            if image is not None:
                enlarged = _enlarged(image, scale)
                x, y = places.centre(r, c)
                sheet.paste(enlarged, (x - enlarged.width // 2, y - enlarged.height // 2))


def _write(
    sheet: Image.Image,
    lettering: "Lettering",
    places: _Places,
    under: Sequence[Sequence[list[str]]],
    beside: Sequence[list[str]],
    above: Sequence[list[str]],
) -> None:
    """Write the lines of captions, of names of rows, and of names of columns."""
    for c, lines in enumerate(above):
        lettering.draw(sheet, lines, (places.centre(0, c)[0], places.top - TEXT_GAP), "middle", "bottom")
    for r, lines in enumerate(beside):
        lettering.draw(sheet, lines, (places.left - places.gap, places.centre(r, 0)[1]), "right", "middle")
    for r, texts in enumerate(under):
        for c, lines in enumerate(texts):
            x, y = places.centre(r, c)[0], places.corner(r, c)[1] + places.row + TEXT_GAP
            lettering.draw(sheet, lines, (x, y), "middle", "top")


def _check_places(
    rows: Sequence[Sequence[Image.Image | None]],
    captions: Sequence[Sequence[str]],
    row_names: Sequence[str],
    column_names: Sequence[str],
) -> None:
    """Make sure that no text would be left out."""
    if max(len(captions), len(row_names)) > len(rows) or len(column_names) > max(map(len, rows), default=0):
        raise ValueError("a sheet has more texts than rows or columns")
    if any(len(texts) > len(row) for texts, row in zip(captions, rows, strict=False)):
        raise ValueError("a row of a sheet has more captions than images")


def _enlarged(image: Image.Image, scale: int) -> Image.Image:
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
