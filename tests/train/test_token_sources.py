import dataclasses
from pathlib import Path

import pytest
import torch

from dar.data import ImageDataset
from dar.errors import DARError
from dar.storage import load_tensors
from dar.train.prior import train_prior
from dar.train.tokenization import tokenize_images
from tests import tiny
from tests.train.photos import photo_folder, small_recipe

RECIPE = dataclasses.replace(small_recipe(), tokenizer=tiny.TOKENIZER)


def test_prior_trains_on_token_shards_as_on_images(photos: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenize_images(tiny.tokenizer(), ImageDataset(photos), tmp_path / "shards", views=2, shard_size=5)
    assert train_prior(RECIPE, None, tokenizer_folder, tmp_path / "a", tokens=tmp_path / "shards")
    assert train_prior(RECIPE, photos, tokenizer_folder, tmp_path / "b")
    path = Path("model") / "prior" / "model.safetensors"
    one, other = load_tensors(tmp_path / "a" / path), load_tensors(tmp_path / "b" / path)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_token_shards_of_another_tokenizer_are_refused(photos: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    other = tiny.tokenizer()
    with torch.no_grad():
        other.encoder.out.weight.neg_()
    tokenize_images(other, ImageDataset(photos), tmp_path / "shards", views=1)
    with pytest.raises(DARError, match="made by another tokenizer"):
        train_prior(RECIPE, None, tokenizer_folder, tmp_path / "run", tokens=tmp_path / "shards")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("both", [True, False])
def test_either_images_or_tokens_are_wanted(photos: Path, tokenizer_folder: Path, tmp_path: Path, both: bool) -> None:
    data, tokens = (photos, tmp_path) if both else (None, None)
    with pytest.raises(DARError, match="one of --data and --tokens"):
        train_prior(RECIPE, data, tokenizer_folder, tmp_path / "run", tokens=tokens)


def test_images_without_classes_are_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    flat = photo_folder(tmp_path / "photos") / "dark"
    with pytest.raises(DARError, match="no class labels"):
        train_prior(RECIPE, flat, tokenizer_folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()
