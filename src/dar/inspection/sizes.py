"""Sizes and shapes of the pictures of a data set."""

from array import array
from dataclasses import dataclass

import numpy as np

LONGEST_SHAPE = 4
"""Training keeps the middle alone of a picture longer than so many times its width (``dar.images.resize``)."""

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class SizeSummary:
    """Summary of the sizes and shapes of one or more upright pictures.

    Attributes:
        smallest: width and height of the picture of the fewest pixels.
        median: of the one in the middle.
        largest: of the one of the most pixels.
        distinct: how many different sizes there are.
        shortest_side: the shortest side of any.
        flattest: smallest ratio of width to height.
        median_ratio: the ratio in the middle.
        widest: largest ratio of width to height.
        strips: pictures longer than ``LONGEST_SHAPE`` times their width, or the other way round.
        size: pixels a side that training scales to; None means that it was not given.
        enlarged: pictures whose shorter side is below ``size``; None where that was not given.
    """

    smallest: Size
    median: Size
    largest: Size
    distinct: int
    shortest_side: int
    flattest: float
    median_ratio: float
    widest: float
    strips: int
    size: int | None
    enlarged: int | None


class Sizes:
    """Collects sizes, at 8 bytes a picture."""

    def __init__(self) -> None:
        self._sides = array("I")

    def add(self, width: int, height: int) -> None:
        """Count a picture."""
        self._sides.extend((width, height))

    def summary(self, size: int | None = None) -> SizeSummary | None:
        """Sum up; None where there was no picture.

        Args:
            size: pixels a side that training scales to.
        """
        if not self._sides:
            return None
        sides = np.asarray(self._sides, dtype=np.int64).reshape(-1, 2)
        by_area = sides[np.argsort(sides.prod(axis=1), kind="stable")]
        ratios = np.sort(sides[:, 0] / sides[:, 1])
        return SizeSummary(
            smallest=_size(by_area[0]),
            median=_size(by_area[len(by_area) // 2]),
            largest=_size(by_area[-1]),
            distinct=len(np.unique(sides, axis=0)),
            shortest_side=int(sides.min()),
            flattest=float(ratios[0]),
            median_ratio=float(ratios[len(ratios) // 2]),
            widest=float(ratios[-1]),
            strips=int((sides.max(axis=1) > LONGEST_SHAPE * sides.min(axis=1)).sum()),
            size=size,
            enlarged=None if size is None else int((sides.min(axis=1) < size).sum()),
        )


def _size(sides: np.ndarray) -> Size:
    return int(sides[0]), int(sides[1])
