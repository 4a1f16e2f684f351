"""The bench from its first training to its plots, on images that are quickly learned by nobody."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks import contenders
from benchmarks.contenders import RECIPE, Workshop
from benchmarks.quality import main, swap_ratios
from dar.errors import DARError
from dar.features.classifier import ClassifierConfig, ImageClassifier
from tests.data.making import write_parquet

SMALL = {"steps": 6, "decay_steps": 2, "warmup_steps": 2, "batch_size": 4}
DRAWN = ("d-ar", "raster", "pixel-flow")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "test"):
        write_parquet(folder / f"{split}.parquet", 12)
    return folder


@pytest.fixture
def judge(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = ClassifierConfig(name="judge", class_names=("cat", "dog"), image_size=32, widths=(8, 8), depth=1)
    ImageClassifier(config).save_pretrained(tmp_path / "judge")
    return tmp_path / "judge"


@pytest.fixture(autouse=True)
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = yaml.safe_load(RECIPE.read_text())
    for training in ("tokenizer_training", "prior_training"):
        recipe[training] |= SMALL
    recipe["tokenizer_training"] |= {"continuous_steps": 2, "reseed_steps": 2}
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.setattr(contenders, "RECIPE", tmp_path / "short.yaml")
    for name in ("RAMPS", "SCALES"):
        monkeypatch.setattr(
            contenders, name, {"1": getattr(contenders, name)["1"], "3": getattr(contenders, name)["3"]}
        )


def test_all_kinds_are_trained_judged_and_drawn_once(
    data: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        main(data, judge, out, train=list(DRAWN), images=12, references=12)
    found = json.loads((out / "quality.json").read_text())
    assert list(found["models"]) == list(DRAWN)
    assert {one["images_seen"] for one in found["models"].values()} == {48}
    assert len(found["models"]["d-ar"]["reconstructions"]) == 8
    assert len(found["models"]["raster"]["reconstructions"]) == 1
    assert "reconstructions" not in found["models"]["pixel-flow"]
    sizes = [one["parameters"] for one in found["models"].values()]
    assert max(sizes) < 1.15 * min(sizes)
    table = (out / "quality.md").read_text()
    assert all(f"| {name} |" in table for name in DRAWN)
    assert (out / "quality.png").stat().st_size > 1000
    main(data, judge, out, train=["muon"], images=12, references=12, guidance=["3"])
    assert json.loads((out / "quality.json").read_text())["models"]["muon"]["samples"] == {}
    model, swept = str(out / "d-ar" / "prior" / "model"), ["3", "1:3, top-k 256", "2"]
    monkeypatch.setattr(contenders, "RAMPS", {"1:3": (1.0, 3.0), "3": (3.0, 3.0)})
    main(data, judge, out, model=[model], train=["muon"], images=12, references=12, guidance=swept)
    assert list(json.loads((out / "quality.json").read_text())["models"][model]["samples"]) == swept[:2]
    with pytest.raises(DARError, match="measured with"):
        main(data, judge, out, train=["d-ar"], images=6, references=12)


def test_longer_budgets_keep_the_shape_of_the_schedule(data: Path, tmp_path: Path) -> None:
    once, thrice = (Workshop(data, tmp_path, times).recipe() for times in (1, 3))
    for training in ("tokenizer_training", "prior_training"):
        short, long = getattr(once, training), getattr(thrice, training)
        assert (long.steps, long.decay_steps) == (3 * short.steps, 3 * short.decay_steps)
        assert long.warmup_steps == short.warmup_steps
    once, thrice = (
        Workshop(data, tmp_path, times).recipe(contenders.VARIANTS["own-states"]).tokenizer_training for times in (1, 3)
    )
    assert (once.own_state_start, thrice.own_state_start) == (1000, 3000)


def test_an_unknown_contender_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DARError, match="no contender 'dall-e'"):
        Workshop(data, tmp_path).contender("dall-e")


def test_a_ratio_of_two_says_that_the_error_doubles() -> None:
    assert swap_ratios([{"true": 0.5, "own_from_another": 1.0, "all_from_another": 2.0}]) == [2.0]
