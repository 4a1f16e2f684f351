"""Duplicates among the pictures of a data set."""

from array import array
from collections.abc import Iterator

import numpy as np

DIGEST_BYTES = 16
"""Bytes of the digest of a picture's pixels."""

FILE_DIGEST_BYTES = 8
"""Bytes of the digest of a file's content, compared only where the pixels are equal."""


class Fingerprints:
    """Keeps digests of pictures, at 32 bytes a picture; places are indices of pictures."""

    def __init__(self) -> None:
        self._pixels, self._files, self._places = bytearray(), bytearray(), array("q")

    def add(self, place: int, pixels: bytes, file: bytes) -> None:
        """Count a picture.

        Args:
            place: stands for the picture.
            pixels: digest of its size and pixels, ``DIGEST_BYTES`` long.
            file: digest of the file's content, ``FILE_DIGEST_BYTES`` long.
        """
        self._pixels += pixels
        self._files += file
        self._places.append(place)

    def groups(self) -> Iterator[tuple[list[int], bool]]:
        """List for each duplicated picture its places in order, and whether the files are equal too."""
        words = np.frombuffer(bytes(self._pixels), dtype=np.uint64).reshape(-1, DIGEST_BYTES // 8)
        files = np.frombuffer(bytes(self._files), dtype=np.uint64)
        places = np.asarray(self._places, dtype=np.int64)
        order = np.lexsort((places, *words.T))
        changes = np.flatnonzero((words[order][1:] != words[order][:-1]).any(axis=1)) + 1
        bounds = np.concatenate([[0], changes, [len(order)]])
        several = [order[bounds[i] : bounds[i + 1]] for i in np.flatnonzero(np.diff(bounds) > 1)]
        for group in sorted(several, key=lambda members: int(places[members[0]])):
            yield places[group].tolist(), bool((files[group] == files[group[0]]).all())
