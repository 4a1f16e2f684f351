"""Images held in memory."""

from pathlib import Path

import pytest
import torch

from dar.data import Augmentation, ImageDataset, MicroBatches, training_stream
from dar.data.in_memory import InMemoryStream, decode_images
from dar.errors import DARError
from tests.train.photos import photo_folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return ImageDataset(photo_folder(tmp_path_factory.mktemp("photos")))


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("share", [None, MicroBatches(1, 2, 2)])
def test_batches_are_those_of_decoding_as_one_goes(
    photos: ImageDataset, flip: bool, share: MicroBatches | None
) -> None:
    decoded = training_stream(photos, Augmentation(16, "centre", flip), seed=3)
    held = InMemoryStream(decode_images(photos, 16, 0.0), flip, seed=3)
    for one, other in zip(decoded.batches(8, 2, 5, 0, share), held.batches(8, 2, 5, 0, share), strict=True):
        assert torch.equal(one.pixels, other.pixels)


def test_broken_images_are_left_out(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path)
    (folder / "dark" / "0.png").write_bytes(b"none")
    decoded = decode_images(ImageDataset(folder), 16, 0.0)
    assert len(decoded) == 11
    assert decoded.labels.tolist() == [0] * 6 + [1] * 5


def test_nothing_readable_is_said(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "0.png").write_bytes(b"none")
    with pytest.raises(DARError, match="none of the images"):
        decode_images(ImageDataset(tmp_path), 16, 0.0)
