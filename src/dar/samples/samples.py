"""Images to be judged, or to judge by, whatever they come in."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from torch import Tensor

from dar.errors import DARError
from dar.files import check_regular_file


class Samples(Protocol):
    """Images of one size, read as they are needed.

    Attributes:
        path: the file or folder.
        height: H, of every image.
        width: W.
        labels: N class indices, int64; None where they are not known.
    """

    path: Path
    height: int
    width: int
    labels: Tensor | None

    def __len__(self) -> int:
        """N."""

    @property
    def hash(self) -> str:
        """SHA-256 of the file, or of the names and contents of a folder's images."""

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in order, uint8, B x 3 x H x W; B is ``size`` but for the last.

        Raises:
            DARError: if the file turns out to be damaged, or an image to be of another size or unreadable.
        """


def check_square(samples: Samples) -> None:
    """Make sure that samples can be compared with square crops of references.

    Raises:
        DARError: if they are no squares.
    """
    if samples.width != samples.height:
        raise DARError(
            f"the images of {samples.path} are {samples.width} x {samples.height} pixels: evaluation takes squares"
        )


def file_sha256(path: Path) -> bytes:
    """Hash a file: SHA-256.

    Raises:
        DARError: if it cannot be read.
    """
    check_regular_file(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DARError(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from error
