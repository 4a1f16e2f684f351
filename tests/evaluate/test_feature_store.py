from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dar.errors import DARError
from dar.evaluate import feature_store
from dar.evaluate.feature_store import extract
from dar.features.extractor import Features
from tests import tiny
from tests.evaluate.animals import Projection

COUNT = 10


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "BLOCK", 4)


def images(count: int = COUNT) -> Tensor:
    size = tiny.TOKENIZER.image_size
    return torch.randint(256, (count, 3, size, size), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


class Fragile(Projection):
    """Fails after so many images."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def __call__(self, images_B3HW: Tensor) -> Features:
        if self.left < len(images_B3HW):
            raise KeyboardInterrupt
        self.left -= len(images_B3HW)
        return super().__call__(images_B3HW)


class WithPlaces(Projection):
    """Also has spatial features; knows no classes."""

    def __init__(self) -> None:
        super().__init__(class_names=())

    def __call__(self, images_B3HW: Tensor) -> Features:
        found = super().__call__(images_B3HW)
        return Features(found.pooled, spatial=images_B3HW[:, 0, :2].flatten(1).float())


def batches() -> Iterator[Tensor]:
    return iter(images().split(4))


def test_features_are_those_of_all_images_in_order(tmp_path: Path) -> None:
    store = extract(batches(), COUNT, "images", Projection(), tmp_path, batch_size=3)
    expected = Projection()(images())
    assert torch.equal(store.pooled(), expected.pooled)
    logits = store.logits()
    assert logits is not None
    assert expected.logits is not None
    assert torch.equal(logits, expected.logits)
    assert store.spatial() is None


def test_spatial_features_are_kept(tmp_path: Path) -> None:
    store = extract(batches(), COUNT, "images", WithPlaces(), tmp_path, batch_size=3)
    spatial = store.spatial()
    assert spatial is not None
    assert torch.equal(spatial, images()[:, 0, :2].flatten(1).float())
    assert store.logits() is None


def test_an_interrupted_extraction_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        extract(batches(), COUNT, "images", Fragile(left=9), tmp_path, batch_size=2)
    rest = Fragile(left=2)  # two of three blocks of 4 are there
    store = extract(batches(), COUNT, "images", rest, tmp_path, batch_size=2)
    assert rest.left == 0
    assert torch.equal(store.pooled(), Projection()(images()).pooled)


def test_features_of_other_images_are_not_taken(tmp_path: Path) -> None:
    extract(batches(), COUNT, "images", Projection(), tmp_path, batch_size=4)
    with pytest.raises(DARError, match="features of other images"):
        extract(batches(), COUNT, "others", Projection(), tmp_path, batch_size=4)


@pytest.mark.parametrize("kind", ["pooled", "spatial", "logits"])
def test_features_that_are_no_numbers_are_refused(tmp_path: Path, kind: str) -> None:
    class Broken(Projection):
        def __call__(self, images_B3HW: Tensor) -> Features:
            pooled = super().__call__(images_B3HW).pooled
            found = Features(pooled, pooled.clone(), pooled.clone())
            getattr(found, kind)[0, 0] = torch.nan
            return found

    with pytest.raises(DARError, match="no finite numbers for 2 of 4 images"):
        extract(batches(), COUNT, "images", Broken(), tmp_path, batch_size=2)
