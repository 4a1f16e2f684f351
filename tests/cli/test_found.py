"""What commands say of the images that they found, and which of them they take."""

import dataclasses
import json
from pathlib import Path

import datasets
import pytest

from dar.files import read_json
from dar.pipeline import DARPipeline
from dar.train.recipe_files import save_recipe
from dar.train.token_shards import TokenShards
from tests import tiny
from tests.cli.test_cli import refused
from tests.data.making import picture
from tests.train.photos import small_recipe

NAMES = ["cat", "dog"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    save_recipe(dataclasses.replace(small_recipe(), tokenizer=tiny.TOKENIZER), path)
    return path


def labelled(path: Path, labels: list[int], **columns: datasets.ClassLabel) -> Path:
    """A Parquet file of pictures and their classes; other columns hold the same numbers."""
    kinds = columns or {"label": datasets.ClassLabel(names=NAMES)}
    features = datasets.Features({"image": datasets.Image(), **kinds})
    rows = {"image": [picture(i) for i in range(len(labels))], **dict.fromkeys(kinds, labels)}
    datasets.Dataset.from_dict(rows, features).to_parquet(path)
    return path


@pytest.fixture
def partly(tmp_path: Path) -> Path:
    """Twelve pictures, of four of which the class isn't known."""
    return labelled(tmp_path / "partly.parquet", [0, 1, -1] * 4)


SENTENCE = "partly.parquet: 12 images of 2 classes (cat, dog), 4 of them without a class"


def test_a_tokenizer_is_trained_on_images_without_a_class(
    dar, partly: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = ["train", "tokenizer", "--recipe", recipe, "--data", partly, "--out", tmp_path / "run"]
    assert dar(*training, "--dry-run") == 0
    assert SENTENCE in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    assert dar(*training, "--validation", partly, "tokenizer_training.steps=6") == 0
    said = "".join(capsys.readouterr())
    assert f"data: {tmp_path}/{SENTENCE}" in said
    assert "the held-out images are the training images themselves" in said
    launch = json.loads((tmp_path / "run" / "launches.jsonl").read_text())
    assert launch["images"]["data"]["unlabelled"] == launch["images"]["validation"]["unlabelled"] == 4


def test_tokens_of_images_without_a_class_are_marked_so_and_trained_on_only_where_that_is_asked_for(
    dar, partly: Path, model: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dar("tokenize", "--data", partly, "--model", model, "--out", tmp_path / "shards") == 0
    assert SENTENCE in capsys.readouterr().out
    assert TokenShards(tmp_path / "shards").labels.tolist() == [0, 1, -1] * 4
    training = ["train", "prior", "--recipe", recipe, "--tokenizer", model, "--out", tmp_path / "run"]
    for source in (("--tokens", tmp_path / "shards"), ("--data", partly)):
        said = refused(dar, capsys, *training, *source)
        assert "4 of the 12 images" in said
        assert "prior_training.unlabelled_as_null=true" in said
    assert dar(*training, "--tokens", tmp_path / "shards", "prior_training.unlabelled_as_null=true") == 0


def test_images_none_of_which_has_a_class_train_no_prior(
    dar, model: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = labelled(tmp_path / "x.parquet", [-1] * 4)
    training = ["train", "prior", "--recipe", recipe, "--tokenizer", model, "--out", tmp_path / "run", "--data", data]
    said = refused(dar, capsys, *training, "prior_training.unlabelled_as_null=true")
    assert "none of the 4 images" in said


def test_a_classifier_is_not_trained_on_images_without_a_class(
    dar, partly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "classifier", "--recipe", "classifier-cifar10", "--data", partly, "--out", tmp_path / "run"]
    assert "4 images of" in refused(dar, capsys, *arguments)


def test_columns_are_chosen_where_several_fit(
    dar, model: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {name: datasets.ClassLabel(names=[f"{name} {i}" for i in range(2)]) for name in ("fine", "coarse")}
    data = labelled(tmp_path / "x.parquet", [0, 1] * 6, **kinds)
    training = ["train", "prior", "--recipe", recipe, "--tokenizer", model, "--out", tmp_path / "run", "--data", data]
    assert "fine, coarse: choose one with --label-column" in refused(dar, capsys, *training)
    assert dar(*training, "--label-column", "fine") == 0
    pipe = DARPipeline.from_pretrained(tmp_path / "run" / "model")
    assert pipe.prior.config.class_names == ("fine 0", "fine 1")
    assert "label_column: fine" in (tmp_path / "run" / "recipe.yaml").read_text()
    assert "fine, coarse" in refused(dar, capsys, "tokenize", "--data", data, "--model", model, "--out", tmp_path / "s")
    assert dar("tokenize", "--data", data, "--model", model, "--out", tmp_path / "s", "--label-column", "coarse") == 0
    assert TokenShards(tmp_path / "s").manifest.class_names == ("coarse 0", "coarse 1")


def test_a_report_holds_what_was_found(
    dar, partly: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dar("evaluate", "reconstruction", model, "--data", partly, "--out", tmp_path / "report") == 0
    assert SENTENCE in capsys.readouterr().out
    found = read_json(tmp_path / "report" / "report.json")["subject"]["images"]["found"]
    assert (found["images"], found["unlabelled"], found["kind"]) == (12, 4, "Parquet")
