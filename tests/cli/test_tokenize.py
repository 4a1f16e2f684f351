"""``dar tokenize`` as people call it."""

import dataclasses
from pathlib import Path

import pytest
import torch

from dar.pipeline import DARPipeline
from dar.train.recipe_files import save_recipe
from dar.train.token_shards import TokenShards
from tests import tiny
from tests.cli.test_cli import refused
from tests.train.photos import photo_folder, small_recipe


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("photos"))


def test_tokens_of_a_folder_train_a_prior(
    dar, photos: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shards"
    assert dar("tokenize", "--data", photos, "--model", model, "--out", out, "--ten-crop", "--workers", "1") == 0
    assert "complete: " in capsys.readouterr().out
    assert (len(TokenShards(out)), TokenShards(out).views) == (12, 10)
    recipe = tmp_path / "recipe.yaml"
    save_recipe(dataclasses.replace(small_recipe(), tokenizer=tiny.TOKENIZER), recipe)
    training = ["train", "prior", "--recipe", recipe, "--tokenizer", model, "--out", tmp_path / "run"]
    assert dar(*training, "--tokens", out) == 0
    assert DARPipeline.from_pretrained(tmp_path / "run" / "model").prior.config.class_names == ("bright", "dark")
    training[-1] = tmp_path / "another"
    assert "give one of --data and --tokens" in refused(dar, capsys, *training)
    assert "give one of --data and --tokens" in refused(dar, capsys, *training, "--tokens", out, "--data", photos)


@pytest.mark.parametrize(("option", "views"), [("--flip", 2), ("--no-flip", 1)])
def test_mirror_images_are_a_choice(dar, photos: Path, model: Path, tmp_path: Path, option: str, views: int) -> None:
    assert dar("tokenize", "--data", photos, "--model", model, "--out", tmp_path, option) == 0
    assert TokenShards(tmp_path).views == views


def test_launched_processes_do_their_parts(
    dar, photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tokenize", "--data", photos, "--model", model, "--out", tmp_path / "shared", "--shard-size", "4"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert dar(*command) == 0
    assert "2 of 3 shards are missing" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "0")
    assert dar(*command) == 0
    assert "complete: " in capsys.readouterr().out
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name)
    assert dar(*command[:-4], "--out", tmp_path / "alone", "--shard-size", "4") == 0
    for path in (tmp_path / "alone").iterdir():
        assert path.read_bytes() == (tmp_path / "shared" / path.name).read_bytes()


def test_what_cannot_be_is_refused(
    dar, photos: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tokenize", "--data", photos, "--model", model, "--out", tmp_path / "out"]
    assert "leave --no-flip out" in refused(dar, capsys, *command, "--ten-crop", "--no-flip")
    assert "there is no data set nowhere here" in refused(dar, capsys, *command, "--data", "nowhere")
    monkeypatch.setenv("RANK", "2")
    assert "RANK=2 and WORLD_SIZE=1 cannot be" in refused(dar, capsys, *command)
    assert not (tmp_path / "out").exists()


def test_resuming_with_other_weights_is_refused(
    dar, photos: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny.tokenizer()
    with torch.no_grad():
        other.encoder.out.weight.neg_()
    other.save_pretrained(tmp_path / "other")
    out = tmp_path / "out"
    assert dar("tokenize", "--data", photos, "--model", model, "--out", out) == 0
    again = refused(dar, capsys, "tokenize", "--data", photos, "--model", tmp_path / "other", "--out", out)
    assert "made with another tokenizer" in again


def test_where_nothing_can_be_read_no_shard_is_left(
    dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(3):
        (tmp_path / "photos" / f"{i}.png").write_bytes(b"no picture")
    for out in (tmp_path / "new" / "shards", tmp_path / "there"):
        out.parent.mkdir(exist_ok=True)
        said = refused(dar, capsys, "tokenize", "--data", tmp_path / "photos", "--model", model, "--out", out)
        assert "none of the 3 images of" in said
        assert not out.exists()
