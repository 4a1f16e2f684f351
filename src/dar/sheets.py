"""Sheets: equally large pictures in rows and columns on white, with or without text."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image, ImageDraw, ImageFont

VISIBLE_SIDE = 128
"""Pixels a side at which a person sees an image well."""

NARROWEST_COLUMN = 96
"""Pixels that a column has at least where text stands above or below its images."""

TEXT_GAP = 3
"""Pixels between an image and the text under or above it."""

CAPTION_LINES, COLUMN_NAME_LINES, ROW_NAME_LINES = 2, 2, 4
SMALLEST_TEXT, LARGEST_TEXT = 12, 20

SPELT_OUT = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
    | {"ı": "i", "þ": "th", "Þ": "Th", "ð": "d", "×": "x", "–": "-", "—": "-", "−": "-"}  # noqa: RUF001
)
"""Letters that the font lacks and that Unicode does not decompose."""

FONT_HAS = frozenset("«°±´·»‘’“”…‹›")  # noqa: RUF001
"""What the font of Pillow has beyond ASCII."""


def display_scale(size: int) -> int:
    """By how much to enlarge images of ``size`` pixels so that a person can see them on a sheet."""
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
    """Equally large images in rows and columns, on white, with text under, beside and above them.

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
    column = max(width, NARROWEST_COLUMN) if has_text else width
    lettering = Lettering(min(max(SMALLEST_TEXT, column // 12), LARGEST_TEXT))
    under = [[lettering.lines(text, column, caption_lines) for text in texts] for texts in captions]
    above = [lettering.lines(text, column, COLUMN_NAME_LINES) for text in column_names]
    fitting = max(1, min(ROW_NAME_LINES, height // lettering.line_height))
    beside = [lettering.lines(name, max(column, NARROWEST_COLUMN), fitting) for name in row_names]

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
    """Width and height of all images."""
    sizes = {image.size for row in rows for image in row if image is not None}
    if len(sizes) != 1:
        raise ValueError(f"a sheet needs images of one size, not of {sorted(sizes)}")
    return sizes.pop()


@dataclass(frozen=True)
class _Places:
    """Where things are on a sheet, in pixels.

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
        """The top left of a place."""
        return self.left + column * (self.column + self.gap), self.top + row * self.pitch

    def centre(self, row: int, column: int) -> tuple[int, int]:
        """The middle of the image at a place."""
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


@dataclass(frozen=True)
class Lettering:
    """Text on sheets, in the font that Pillow has with it.

    Attributes:
        size: of the letters, in pixels.
    """

    size: int

    @cached_property
    def font(self) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        """The font; it has ASCII, and accents are left out."""
        return ImageFont.load_default(self.size)

    @property
    def line_height(self) -> int:
        """Pixels from one line to the next."""
        return round(1.25 * self.size)

    def width(self, lines: Iterable[str]) -> int:
        """Pixels that the longest line takes."""
        return max((round(self.font.getlength(line) + 0.5) for line in lines), default=0)

    def height(self, texts: Iterable[Sequence[str]]) -> int:
        """Pixels that the text with the most lines takes."""
        return max((len(lines) for lines in texts), default=0) * self.line_height

    def lines(self, text: str, width: int, most: int) -> list[str]:
        """Break a text into at most ``most`` lines of at most ``width`` pixels; an ellipsis stands for what is cut."""
        lines: list[str] = []
        rest = drawable(text)
        while rest and len(lines) < most - 1:
            line, rest = self._split(rest, width)
            lines.append(line)
        return [*lines, self._shortened(rest, width)] if rest else lines

    def draw(self, sheet: Image.Image, lines: Sequence[str], at: tuple[int, int], across: str, down: str) -> None:
        """Write lines so that their middle or right is at x, and their top, middle or bottom at y."""
        canvas = ImageDraw.Draw(sheet)
        x, y = at
        y -= {"top": 0, "middle": len(lines) * self.line_height // 2, "bottom": len(lines) * self.line_height}[down]
        for i, line in enumerate(lines):
            length = self.width([line])
            start = x - {"middle": length // 2, "right": length}[across]
            canvas.text((start, y + i * self.line_height), line, fill="black", font=self.font)

    def _split(self, text: str, width: int) -> tuple[str, str]:
        """Cut off the longest beginning that fits, at the end of a word where there is one."""
        if self.width([text]) <= width:
            return text, ""
        end = self._fitting(text, width)
        ends = [found.end() for found in re.finditer(r"\s|[_\-/,.](?=\w)", text[: end + 1])]
        at = max((place for place in ends if self.width([text[:place].rstrip()]) <= width), default=end)
        return text[:at].rstrip(), text[at:].lstrip()

    def _shortened(self, text: str, width: int) -> str:
        if self.width([text]) <= width:
            return text
        return text[: self._fitting(text, width - self.width(["…"]))].rstrip() + "…"

    def _fitting(self, text: str, width: int) -> int:
        """How many letters fit; one at least."""
        low, high = 1, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.width([text[:middle]]) <= width else (low, middle - 1)
        return low


def drawable(text: str) -> str:
    """The text on one line, in letters that the font has where that can be: without accents and control characters.

    Letters of other scripts stay; the font draws a box for each.
    """
    letters = "".join(_spelt(letter) for letter in text.translate(SPELT_OUT))
    return " ".join(letters.split())


def _spelt(letter: str) -> str:
    if letter.isascii() or letter in FONT_HAS:
        return letter if letter.isprintable() else " "
    kinds = {"M": "", "Cf": "", "Cs": "?", "Cc": " ", "Z": " "}
    parts = unicodedata.normalize("NFKD", letter)
    return "".join(
        next((shown for kind, shown in kinds.items() if unicodedata.category(part).startswith(kind)), part)
        for part in parts
    )
