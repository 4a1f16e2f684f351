"""Captions of the pictures of a data set."""

import hashlib
from array import array
from dataclasses import dataclass

import numpy as np

from dar.errors import quoted

MAX_EXAMPLES = 5


@dataclass(frozen=True)
class CaptionSummary:
    """Summary of the captions of a data set.

    Attributes:
        count: pictures that have one.
        distinct: how many different ones there are.
        median_words: words of the one in the middle.
        most_words: words of the longest.
        examples: the first few different ones met.
    """

    count: int
    distinct: int
    median_words: int
    most_words: int
    examples: tuple[str, ...]


class Captions:
    """Counts captions, at 12 bytes each."""

    def __init__(self) -> None:
        self._digests, self._words = bytearray(), array("I")
        self._examples: dict[str, None] = {}

    def add(self, caption: str) -> None:
        """Count a caption."""
        self._digests += hashlib.blake2b(caption.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self._words.append(len(caption.split()))
        if len(self._examples) < MAX_EXAMPLES:
            self._examples[quoted(caption)] = None

    def summary(self) -> CaptionSummary | None:
        """Sum up; None where no picture has a caption."""
        if not self._words:
            return None
        words = np.sort(np.asarray(self._words))
        return CaptionSummary(
            count=len(words),
            distinct=len(np.unique(np.frombuffer(bytes(self._digests), dtype=np.uint64))),
            median_words=int(words[len(words) // 2]),
            most_words=int(words[-1]),
            examples=tuple(self._examples),
        )
