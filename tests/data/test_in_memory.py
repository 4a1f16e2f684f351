"""Images held in memory."""

from pathlib import Path

import pytest
import torch

from dar.data import Augmentation, ImageDataset, MicroBatches, training_stream
from dar.data.in_memory import decode_images
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
    held = training_stream(decode_images(photos, 16, 0.0), Augmentation(16, "centre", flip), seed=3)
    for one, other in zip(decoded.batches(8, 2, 5, 0, share), held.batches(8, 2, 5, 0, share), strict=True):
        assert torch.equal(one.pixels, other.pixels)


@pytest.mark.parametrize("crop", ["centre", "random"])
def test_batches_stay_the_same_once_images_are_kept(photos: ImageDataset, crop: str) -> None:
    kept = training_stream(photos, Augmentation(16, crop), seed=3)
    first, again = (list(kept.batches(8, 0, 3, 0)) for _ in range(2))
    fresh = training_stream(photos, Augmentation(16, crop), seed=3).batches(8, 0, 3, 0)
    for one, other, expected in zip(first, again, fresh, strict=True):
        assert torch.equal(one.pixels, expected.pixels)
        assert torch.equal(other.pixels, expected.pixels)


def test_decoded_images_start_no_workers(photos: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr("dar.data.stream.in_workers", lambda function, items, workers: given.append(workers) or [])
    for images in (photos, decode_images(photos, 16, 0.0)):
        list(training_stream(images, Augmentation(16), seed=3).batches(8, 0, 1, 2))
    assert given == [2, 0]


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
