"""Samples by their path."""

from pathlib import Path

from dar.errors import DARError
from dar.files import check_regular_file
from dar.samples.archive import ArchiveSamples
from dar.samples.folder import FolderSamples
from dar.samples.samples import Samples


def open_samples(path: str | Path) -> Samples:
    """Open an ``.npz`` of samples, or a folder of images, subfolders included, in the order of their names.

    Raises:
        DARError: if it is neither, holds no images, or holds them in another type or layout.
    """
    path = Path(path)
    check_regular_file(path)
    if path.is_dir():
        return FolderSamples(path)
    if not path.exists():
        raise DARError(f"{path} does not exist: give an .npz file of samples, or a folder of images")
    return ArchiveSamples(path)
