"""The pictures of a data set that a sheet shows, and the sheet."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from dar.sheets import VISIBLE_SIDE, captioned_grid, display_scale

COLUMNS = 8
ROWS = 20
"""At ``VISIBLE_SIDE`` pixels a picture; of larger ones there are fewer."""

ROWS_OF_MIXED = 8
"""On a sheet that has no rows of classes."""

MOST_ROWS_A_CLASS = 4

SPARE = 2
"""Pictures chosen beyond those that there is place for: some may be broken."""

NO_CLASS = "no class"


@dataclass(frozen=True)
class Shown:
    """A picture on a sheet.

    Attributes:
        image: of the size that the sheet shows.
        label: its class index; None where it has no class.
        caption: its caption; "" where it has none.
    """

    image: Image.Image
    label: int | None
    caption: str


class ContactSheet:
    """Chooses pictures one by one, and draws them.

    Each class has a row, or several where there are few classes. Where there are none, or few images of each, pictures
    are mixed.

    Args:
        class_names: names by label; empty where there are no classes.
        images: how many there are to choose from.
        size: pixels a side of the pictures shown; None means whole pictures, scaled to fit.
        all_classes: whether each class has a row, however many there are.
    """

    def __init__(
        self, class_names: Sequence[str], images: int, size: int | None = None, *, all_classes: bool = False
    ) -> None:
        self.class_names = class_names
        rows = max(4, ROWS * VISIBLE_SIDE // max(VISIBLE_SIDE, size or 0))
        self.by_class = bool(class_names) and (all_classes or images >= len(class_names) * COLUMNS // 2)
        classes = len(class_names) if all_classes else min(rows, len(class_names))
        self._rows_a_class = min(MOST_ROWS_A_CLASS, max(1, rows // 2 // max(1, classes)))
        self._labels = [*range(classes), None] if self.by_class else [None]
        self._place_for = COLUMNS * (self._rows_a_class if self.by_class else min(rows, ROWS_OF_MIXED))
        self._chosen: Counter[int | None] = Counter()
        self._shown: list[Shown] = []

    def chooses(self, label: int | None) -> bool:
        """Whether to show an image of this class, those chosen before being shown as well."""
        row = label if self.by_class else None
        if row not in self._labels or self._chosen[row] >= self._place_for + SPARE:
            return False
        self._chosen[row] += 1
        return True

    def add(self, shown: Shown) -> None:
        """Put a chosen picture on the sheet."""
        self._shown.append(shown)

    def draw(self, counts: dict[int, int]) -> Image.Image | None:
        """The sheet; None where there is no picture on it.

        Args:
            counts: images of each class.
        """
        if not self._shown:
            return None
        if not self.by_class:
            return _drawn(_rows(self._shown[: self._place_for]), self._caption_or_class, [])
        rows: list[Sequence[Shown]] = []
        names: list[str] = []
        for label in self._labels:
            own = _rows([one for one in self._shown if one.label == label][: self._place_for])
            title = NO_CLASS if label is None else f"{self.class_names[label]} ({counts.get(label, 0):,})"
            names += [title, *[""] * (len(own) - 1)] if own else []
            rows += own
        return _drawn(rows, lambda one: one.caption, names)

    def _caption_or_class(self, one: Shown) -> str:
        return one.caption or ("" if one.label is None else self.class_names[one.label])


def _rows(shown: Sequence[Shown]) -> list[Sequence[Shown]]:
    return [shown[start : start + COLUMNS] for start in range(0, len(shown), COLUMNS)]


def _drawn(rows: Sequence[Sequence[Shown]], caption: Callable[[Shown], str], names: Sequence[str]) -> Image.Image:
    images = [[one.image for one in row] for row in rows]
    captions = [[caption(one) for one in row] for row in rows]
    return captioned_grid(images, captions=captions, row_names=names, scale=display_scale(images[0][0].width))
