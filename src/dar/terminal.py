"""Pictures in a terminal: half blocks, two pixels a character."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from PIL import Image
from rich.cells import cell_len, set_cell_size
from rich.color import Color
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from dar.errors import printable
from dar.images import resize

MAX_SIDE, MIN_SIDE = 64, 32
"""Largest and smallest side in pixels of a picture that is scaled down: small ones let more of them fit."""

PICTURE_GAP = 1
"""Number of characters between pictures."""

HALF_BLOCK = "▀"
"""Character whose upper half has the letter's colour, and its lower half that of the ground."""

LINES_BESIDE = 5
"""Lines of a terminal left for names, for a line below, and for the command above."""


def terminal_console(*, forced: bool = False) -> Console | None:
    """Make a console for standard output; None where that is no terminal that shows pictures well.

    Args:
        forced: take standard output for a terminal of 2^24 colours, whatever it is.
    """
    if forced:
        return Console(force_terminal=True, color_system="truecolor", no_color=False)
    console = Console()
    shows = sys.stdout.isatty() and console.is_terminal and not console.options.ascii_only
    return console if shows and console.color_system == "truecolor" and not console.no_color else None


def fitting(size: int, count: int, width: int, height: int) -> tuple[int, int]:
    """Compute the side in pixels at which pictures are shown, and how many fit in one row.

    Args:
        size: pixels a side that they have.
        count: of them.
        width: of the terminal, in characters.
        height: of the terminal, in lines.
    """
    largest = max(2, min(size, MAX_SIDE, width, 2 * (height - LINES_BESIDE)))
    side = max(min(MIN_SIDE, largest), min(largest, (width + PICTURE_GAP) // count - PICTURE_GAP))
    side -= side % 2
    return side, max(1, min(count, (width + PICTURE_GAP) // (side + PICTURE_GAP)))


@dataclass(frozen=True)
class PictureRow:
    """Pictures side by side, with a name and a detail under each; rich prints it.

    Attributes:
        pictures: of one size.
        names: one a picture.
        details: one a picture.
        side: pixels a side at which they are shown, an even number.
    """

    pictures: Sequence[Image.Image]
    names: Sequence[str]
    details: Sequence[str]
    side: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give all segments, line by line."""
        shown = [picture if picture.width == self.side else resize(picture, self.side) for picture in self.pictures]
        for y in range(0, self.side, 2):
            for i, picture in enumerate(shown):
                yield Segment(" " * PICTURE_GAP * (i > 0))
                yield from _two_rows(picture, y)
            yield Segment.line()
        for texts, style in ((self.names, Style(bold=True)), (self.details, Style(dim=True))):
            cells = [_cell(text, self.side) for text in texts]
            yield Segment((" " * PICTURE_GAP).join(cells), style)
            yield Segment.line()


def _two_rows(picture: Image.Image, y: int) -> Iterator[Segment]:
    """Draw rows y and y + 1 of pixels as one line of characters."""
    upper, lower = (picture.crop((0, row, picture.width, row + 1)).tobytes() for row in (y, y + 1))
    for x in range(0, 3 * picture.width, 3):
        yield Segment(HALF_BLOCK, _style(upper[x : x + 3], lower[x : x + 3]))


@lru_cache(maxsize=2**15)
def _style(letter: bytes, ground: bytes) -> Style:
    return Style(color=Color.from_rgb(*letter), bgcolor=Color.from_rgb(*ground))


def _cell(text: str, width: int) -> str:
    """Fit text into exactly ``width`` characters."""
    line = printable(text)
    return set_cell_size(line if cell_len(line) <= width else set_cell_size(line, width - 1) + "…", width)


class PictureScreen:
    """Shows batches of images in place while they sharpen; a context manager.

    Where the console is no terminal, each finished batch is printed instead.

    Args:
        console: where to draw.
        total: images of all batches.
        steps: that each batch takes.
    """

    def __init__(self, console: Console, total: int, steps: int) -> None:
        self.console, self.total, self.steps, self.done = console, total, steps, 0
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._moves = sys.stdout.isatty()

    def __enter__(self) -> Self:
        if self._moves:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._moves:
            self._live.stop()

    def show(self, images: Sequence[Image.Image], names: Sequence[str], details: Sequence[str], step: int) -> None:
        """Show as many of a batch's images as fit, of as many classes as can be.

        Args:
            images: the batch after this step.
            names: of its classes.
            details: what distinguishes each image from others of its class.
            step: how many steps are done.
        """
        console = self.console
        side, count = fitting(images[0].width, len(images), console.width, console.height)
        chosen = preview_indices(names, count)
        row = PictureRow([images[i] for i in chosen], [names[i] for i in chosen], [details[i] for i in chosen], side)
        place = f"images {self.done + 1} to {self.done + len(images)} of {self.total}, step {step} of {self.steps}"
        self.done += len(images) * (step == self.steps)
        if self._moves:
            self._live.update(Group(row, Text(place, "dim")), refresh=True)
        elif step == self.steps:
            console.print(row, Text(place, "dim"), sep="")


def preview_indices(names: Sequence[str], count: int) -> list[int]:
    """Choose ``count`` indices of names: the first of each, then the second of each, and so on, in order."""
    seen: Counter[str] = Counter()
    ranks = []
    for place, name in enumerate(names):
        ranks.append((seen[name], place))
        seen[name] += 1
    return sorted(place for _, place in sorted(ranks)[:count])
