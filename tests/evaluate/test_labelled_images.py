from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tqdm import tqdm

from dar.data import ImageDataset
from dar.data.crops import CroppedImages
from dar.errors import DARError
from dar.evaluate.labelled_images import LabelledImages, saved_uint8
from dar.images import centre_crop
from tests.evaluate.animals import photo, photo_folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return ImageDataset(photo_folder(tmp_path_factory.mktemp("animals"), 10))


def read(images: LabelledImages, batch_size: int = 4) -> list[CroppedImages]:
    with tqdm(disable=True) as bar:
        return list(images.batches(batch_size, 0, bar))


def test_images_are_drawn_from_everywhere_and_always_the_same(data: ImageDataset) -> None:
    few, many = (LabelledImages(data, 16, count) for count in (10, 20))
    assert set(few.indices) < set(many.indices)
    assert few.indices == LabelledImages(data, 16, 10).indices
    assert len(Counter(index // 10 for index in few.indices)) == 3  # sorted by class
    assert len(Counter(index % 3 for index in few.indices)) == 3  # classes in turns
    assert few.preview_indices(4) == many.preview_indices(4)
    assert LabelledImages(data, 16, None).indices == list(range(30))


def test_batches_hold_central_squares_and_labels(data: ImageDataset) -> None:
    images = LabelledImages(data, 16, 10)
    batches = read(images)
    assert [len(batch.images) for batch in batches] == [4, 4, 2]
    assert [index for batch in batches for index in batch.indices] == images.indices
    for batch in batches:
        for images, index, label in zip(batch.images, batch.indices, batch.labels, strict=True):
            assert np.array_equal(images.permute(1, 2, 0).numpy(), np.asarray(centre_crop(photo(index), 16)))
            assert label == index // 10


def test_reading_waits_for_what_is_used(data: ImageDataset) -> None:
    images = LabelledImages(data, 16, None)
    with tqdm(disable=True) as bar:
        next(images.batches(4, 0, bar))
    assert images.broken.seen == 4


def test_the_protocol_follows_the_pixels(data: ImageDataset, tmp_path: Path) -> None:
    def protocol(data: ImageDataset, size: int = 16, batch_size: int = 4) -> dict[str, object]:
        images = LabelledImages(data, size, 10)
        read(images, batch_size)
        return images.protocol()

    folder = photo_folder(tmp_path / "copy", 10)
    assert protocol(data) == protocol(data, batch_size=3) == protocol(ImageDataset(folder))
    assert protocol(data)["count"] == 10
    assert protocol(data) != protocol(data, size=8)
    for path in (folder / "cat").glob("*.png"):
        photo(99).save(path)
    assert protocol(data) != protocol(ImageDataset(folder))


def test_too_many_broken_images_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photo_folder(tmp_path / "animals", 10)
    for path in list(folder.rglob("*.png"))[:11]:
        path.write_bytes(b"no image")
    with pytest.raises(
        DARError, match=r"11 of the first .* cannot be read, more than a max_broken_share of 0.01 allows"
    ):
        read(LabelledImages(ImageDataset(folder), 16, None), batch_size=30)
    monkeypatch.setattr("dar.evaluate.labelled_images.MAX_BROKEN_SHARE", 0.5)
    images = LabelledImages(ImageDataset(folder), 16, None)
    assert sum(len(batch.images) for batch in read(images)) == images.protocol()["count"] == 19
    assert len(images.description()["broken"]) == 11


def test_uint8_values_are_those_of_saved_pictures_and_never_of_nan() -> None:
    assert saved_uint8(torch.tensor([-1, 0, 1.0])).tolist() == [0, 128, 255]
    with pytest.raises(DARError, match="images of NaN"):
        saved_uint8(torch.tensor([0, torch.nan]))
