"""Text on pictures, in the font that Pillow brings along."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image, ImageDraw, ImageFont

SPELT_OUT = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
    | {"ı": "i", "þ": "th", "Þ": "Th", "ð": "d", "×": "x", "–": "-", "—": "-", "−": "-"}  # noqa: RUF001
)
"""Replacements of letters that the font lacks and Unicode does not decompose."""

FONT_HAS = frozenset("«°±´·»‘’“”…‹›")  # noqa: RUF001
"""Letters of Pillow's font beyond ASCII."""


@dataclass(frozen=True)
class Lettering:
    """Draws text in the font that Pillow brings along.

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
        """Compute the pixels that the longest line takes."""
        return max((round(self.font.getlength(line) + 0.5) for line in lines), default=0)

    def height(self, texts: Iterable[Sequence[str]]) -> int:
        """Compute the pixels that the text with the most lines takes."""
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
        """Count the letters that fit, at least one."""
        low, high = 1, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.width([text[:middle]]) <= width else (low, middle - 1)
        return low


def drawable(text: str) -> str:
    """Put text on one line, in letters that the font has where possible: without accents and control characters.

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
