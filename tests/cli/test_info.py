import json
import shutil
from pathlib import Path

import pytest

from dar.model_folder import FIGURES, RECIPE
from dar.pipeline import DARPipeline
from dar.storage import weights_hash
from dar.train.recipe import load_recipe
from dar.train.recipe_files import save_recipe

METRICS = {
    "images": 100,
    "psnr_db_by_groups": [11.0, 12.5],
    "codebook_usage": 0.987,
    "codebook_perplexity": 30.5,
    "cross_entropy_nats": 2.25,
}


@pytest.fixture
def model(tmp_path: Path, pipeline: DARPipeline) -> Path:
    pipeline.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def trained(model: Path) -> Path:
    save_recipe(load_recipe("debug", ["prior_training.steps=1234", "prior_training.batch_size=8"]), model / RECIPE)
    (model / FIGURES).write_text(json.dumps(METRICS))
    (model / "training.json").write_text(json.dumps({"prior": {"seconds": 125.0}}))
    return model


def told(dar, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert dar("info", *arguments) == 0
    return capsys.readouterr().out


def test_what_people_look_for_comes_first_and_is_short(dar, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(dar, capsys, trained).splitlines()
    assert lines[0] == f"model       {trained}: images of 3 classes, 16 x 16 pixels"
    assert lines[1] == "classes     cat, great dane, sea_lion"
    assert lines[2].startswith("parameters  tokenizer 0.")
    assert lines[3] == "tokens      8 in 4 groups, codebook of 32, 4 denoising steps"
    assert lines[4].startswith("trained     tokenizer: ")
    assert lines[5:] == [
        "            prior: 1,234 steps of 8 images, in 2 min",
        "metrics     PSNR of reconstructions 12.5 dB",
        "            codes in use 98.7%",
        "            codebook perplexity 30.5 of 32",
        "            held-out cross-entropy 2.25 nats a token",
        "more        dar info --all tells hashes, all metrics and the recipe",
    ]


def test_all_adds_hashes_all_metrics_and_the_recipe(
    dar, trained: Path, pipeline: DARPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    said = told(dar, capsys, trained, "--all")
    assert said.startswith("\n".join(told(dar, capsys, trained).splitlines()[:-1]))
    for part in (
        f"tokenizer {weights_hash(pipeline.tokenizer)}",
        f"prior {weights_hash(pipeline.prior)}",
        "psnr db by groups: [11.0, 12.5]",
        "  steps: 1234",
    ):
        assert part in said


def test_what_was_not_recorded_is_said(dar, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(dar, capsys, model)
    assert "trained     not recorded" in said
    assert "metrics     not recorded" in said


def test_a_tokenizer_alone_has_no_classes_and_no_prior(dar, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(trained / RECIPE, trained / "tokenizer")
    said = told(dar, capsys, trained / "tokenizer")
    assert "a tokenizer of images, 16 x 16 pixels" in said
    assert "classes" not in said
    assert "prior" not in said


def test_other_metrics_are_told_as_they_are(dar, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / FIGURES).write_text(json.dumps({f"own_{i}": i for i in range(9)}))
    said = told(dar, capsys, model)
    assert "own 3 3" in said
    assert "own 4" not in said


def test_a_recipe_that_cannot_be_read_does_not_hide_the_rest(
    dar, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / RECIPE).write_text("tokenizer: {image_size: 15}")
    said = told(dar, capsys, trained)
    assert "trained     recipe " in said
    assert "codes in use" in said
