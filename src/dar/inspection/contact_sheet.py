"""Contact sheet of a data set."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from dar.sheets import VISIBLE_SIDE, captioned_grid, display_scale

COLUMNS = 8
SHEET_ROWS = 20
"""Rows of a sheet of pictures of ``VISIBLE_SIDE`` pixels; larger ones have fewer."""

MIXED_ROWS = 8
"""Rows of a sheet without rows of classes."""

MAX_ROWS_PER_CLASS = 4

SPARE_PICTURES = 2
"""Pictures chosen beyond those that there is place for: some may be broken."""

CAPTION_LINES = 3
NO_CLASS = "no class"


@dataclass(frozen=True)
class Shown:
    """A picture on a sheet.

    Attributes:
        image: of the size that the sheet shows.
        class_name: its class; None where it has none.
        caption: its caption; None where it has none.
    """

    image: Image.Image
    class_name: str | None
    caption: str | None


class ContactSheet:
    """Chooses pictures one by one, and draws them.

    Each class has a row, or several where there are few classes. Where there are none, or few images of each, pictures
    are mixed.

    Args:
        class_names: empty where there are no classes, or they are not known beforehand.
        images: how many there are to choose from.
        size: pixels a side of the pictures shown; None means whole pictures, scaled to fit.
        all_classes: whether each class has a row, however many there are.
    """

    def __init__(
        self, class_names: Sequence[str], images: int, size: int | None = None, *, all_classes: bool = False
    ) -> None:
        rows = max(4, SHEET_ROWS * VISIBLE_SIDE // max(VISIBLE_SIDE, size or 0))
        few_of_each = images < len(class_names) * COLUMNS // 2
        self.by_class = len(class_names) > 0 and (all_classes or not few_of_each)
        self._classes = class_names if all_classes else class_names[:rows]
        rows_a_class = min(MAX_ROWS_PER_CLASS, max(1, rows // 2 // max(1, len(self._classes))))
        self._place_for = COLUMNS * (rows_a_class if self.by_class else min(rows, MIXED_ROWS))
        self._chosen: Counter[str | None] = Counter()
        self._shown: list[Shown] = []

    def chooses(self, class_name: str | None) -> bool:
        """Tell whether to show an image of this class beside those chosen before."""
        row = class_name if self.by_class else None
        if self._chosen[row] >= self._place_for + SPARE_PICTURES or not (row is None or row in self._classes):
            return False
        self._chosen[row] += 1
        return True

    def add(self, shown: Shown) -> None:
        """Put a chosen picture on the sheet."""
        self._shown.append(shown)

    def draw(self, counts: Mapping[str | None, int]) -> Image.Image | None:
        """Draw the sheet; None where there is no picture on it.

        Args:
            counts: images of each class.
        """
        if not self._shown:
            return None
        if not self.by_class:
            return _drawn(_rows(self._shown[: self._place_for]), [], lambda one: one.caption or one.class_name or "")
        rows: list[Sequence[Shown]] = []
        names: list[str] = []
        for name in (*self._classes, None):
            own = _rows([one for one in self._shown if one.class_name == name][: self._place_for])
            title = f"{NO_CLASS if name is None else name} ({counts.get(name, 0):,})"
            names += [title, *[""] * (len(own) - 1)] if own else []
            rows += own
        return _drawn(rows, names, lambda one: one.caption or "")


def _rows(shown: Sequence[Shown]) -> list[Sequence[Shown]]:
    return [shown[start : start + COLUMNS] for start in range(0, len(shown), COLUMNS)]


def _drawn(rows: Sequence[Sequence[Shown]], names: Sequence[str], caption: Callable[[Shown], str]) -> Image.Image:
    images = [[one.image for one in row] for row in rows]
    captions = [[caption(one) for one in row] for row in rows]
    return captioned_grid(
        images,
        captions=captions,
        row_names=names,
        scale=display_scale(images[0][0].width),
        caption_lines=CAPTION_LINES,
    )
