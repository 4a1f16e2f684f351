import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dar.data import ImageDataset
from dar.data.crops import CenterCropDecoder
from dar.images import centre_crop, read_image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six wide ones of two classes, the fourth of which is torn."""
    chance = np.random.RandomState(0)
    for index in range(6):
        path = tmp_path / ("ape" if index < 3 else "bee") / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(chance.randint(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    (tmp_path / "bee" / "3.png").write_bytes(b"\x89PNG torn")
    return tmp_path


def test_they_are_those_of_the_readable_images_in_the_order_asked_for(photos: Path) -> None:
    found = CenterCropDecoder(ImageDataset(photos), 16)([5, 3, 0])
    files = [photos / "bee" / "5.png", photos / "ape" / "0.png"]
    expected = np.stack([np.asarray(centre_crop(read_image(file), 16)) for file in files])
    assert torch.equal(found.images, torch.from_numpy(expected).permute(0, 3, 1, 2))
    assert (found.indices, found.labels, found.seen) == ([5, 0], [1, 0], 3)
    assert ["3.png is not an image" in message for message in found.broken] == [True]


def test_a_piece_without_a_readable_image_is_empty(photos: Path) -> None:
    found = CenterCropDecoder(ImageDataset(photos), 16)(range(3, 4))
    assert found.images.shape == (0, 3, 16, 16)
    assert (found.indices, found.labels, found.seen) == ([], [], 1)


def test_a_worker_can_be_given_it(photos: Path) -> None:
    decoder = CenterCropDecoder(ImageDataset(photos), 16)
    copy = pickle.loads(pickle.dumps(decoder))
    assert torch.equal(copy(range(6)).images, decoder(range(6)).images)
