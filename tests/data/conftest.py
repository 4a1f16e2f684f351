from pathlib import Path

import pytest

from dar.data import (
    ImageDataset,
)
from tests.data.making import write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "images")


@pytest.fixture
def data(folder: Path) -> ImageDataset:
    return ImageDataset(folder)


@pytest.fixture
def broken(folder: Path) -> Path:
    """Half an image among the good ones."""
    path = folder / "ape" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    return path
