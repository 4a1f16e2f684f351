"""The commands of ``dar evaluate``, each from files to a report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dar.cli.evaluate.samples import _print_as_adm
from dar.features.classifier import ClassifierConfig, ImageClassifier
from dar.features.inception import Inception
from dar.pipeline import DARPipeline
from dar.report.files import read_report
from dar.report.report import Estimate, Report
from tests import tiny
from tests.evaluate.animals import photo_folder

COMMON = ("--num", 48, "--labels", "balanced", "--chunk", 16)


@pytest.fixture(scope="module")
def folder(pipeline: DARPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, photos, and a classifier of their classes."""
    folder = tmp_path_factory.mktemp("evaluate")
    pipeline.save_pretrained(folder / "model")
    photo_folder(folder / "photos", 16)
    torch.manual_seed(0)
    config = ClassifierConfig(name="animals", class_names=tiny.PRIOR.class_names, image_size=16, widths=(8, 8, 8))
    ImageClassifier(config).save_pretrained(folder / "classifier")
    return folder


@pytest.fixture
def space(folder: Path) -> tuple[Any, ...]:
    return "--reference", folder / "photos", "--extractor", folder / "classifier"


def figures(out: Path) -> dict[str, set[str]]:
    return {space: set(found) for space, found in read_report(out).metrics.items()}


IN_SPACE = {"frechet_distance", "precision", "recall", "class_accuracy"}


def test_generation(dar, folder: Path, tmp_path: Path, space: tuple[Any, ...], capsys) -> None:
    out = tmp_path / "report"
    command = ("evaluate", "generation", folder / "model", *space, *COMMON, "--out", out)
    assert dar(*command) == 0
    assert figures(out) == {"classifier:animals": IN_SPACE}
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.json", "samples.json", "samples.npz"]
    report = read_report(out)
    assert report.subject["settings"]["guidance_scale"] == [1.0, 3.0]
    assert report.environment["seconds"] > 0
    assert report.subject["references"] == {"classifier:animals": str(folder / "photos")}
    assert "Fréchet distance" in capsys.readouterr().out
    assert dar(*command) == 2
    assert "exists already" in capsys.readouterr().err


def test_samples_of_anyones_model_give_the_same_figures(
    dar, folder: Path, tmp_path: Path, space: tuple[Any, ...]
) -> None:
    assert dar("evaluate", "generation", folder / "model", *space, *COMMON, "--out", tmp_path / "a") == 0
    assert dar("evaluate", "samples", tmp_path / "a" / "samples.npz", *space, "--out", tmp_path / "b") == 0
    assert (
        dar("sample", "--model", folder / "model", *COMMON, "--out", tmp_path / "s.npz", "--png", tmp_path / "s") == 0
    )
    assert dar("evaluate", "samples", tmp_path / "s", *space, "--out", tmp_path / "c") == 0
    first, second, third = (read_report(tmp_path / name).metrics["classifier:animals"] for name in "abc")
    assert first == second
    assert third == {name: estimate for name, estimate in first.items() if name != "class_accuracy"}
    assert dar("evaluate", "compare", tmp_path / "a", tmp_path / "b") == 0


def test_statistics_saved_once_replace_the_data(dar, folder: Path, tmp_path: Path, space: tuple[Any, ...]) -> None:
    saved = tmp_path / "photos.safetensors"
    extractor = ("--extractor", folder / "classifier")
    assert dar("evaluate", "statistics", folder / "photos", "--image-size", 16, *extractor, "--out", saved) == 0
    sampled = ("evaluate", "generation", folder / "model", *COMMON)
    assert dar(*sampled, *space, "--out", tmp_path / "a") == 0
    assert dar(*sampled, *extractor, "--reference", saved, "--out", tmp_path / "b") == 0
    first, second = (read_report(tmp_path / name) for name in "ab")
    assert first.metrics == second.metrics
    assert first.protocol == second.protocol


def test_reconstruction(dar, folder: Path, tmp_path: Path) -> None:
    command = ("evaluate", "reconstruction", folder / "model", "--data", folder / "photos")
    assert dar(*command, "--extractor", folder / "classifier", "--out", tmp_path / "report") == 0
    assert figures(tmp_path / "report") == {
        "pixels": {"psnr", "ssim"},
        "classifier:animals": {"rfid"},
        "codebook": {"codebook_usage", "codebook_perplexity"},
    }


def test_layout(dar, folder: Path, tmp_path: Path) -> None:
    command = ("evaluate", "layout", folder / "model", "--data", folder / "photos", "--num", 6)
    options = ("--classifier", folder / "classifier", "--tokens", 2, "--tokens", 4)
    assert dar(*command, *options, "--out", tmp_path / "report") == 0
    assert set(figures(tmp_path / "report")) == {"0 tokens", "2 tokens", "4 tokens", "8 tokens"}


def test_sweep(dar, folder: Path, tmp_path: Path, space: tuple[Any, ...]) -> None:
    command = ("evaluate", "sweep", folder / "model", *space, *COMMON, "--guidance", "1", "--guidance", "1:3")
    assert dar(*command, "--out", tmp_path / "report") == 0
    assert figures(tmp_path / "report") == {
        "classifier:animals, guidance 1": IN_SPACE,
        "classifier:animals, guidance 1:3": IN_SPACE,
    }
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "guidance-1",
        "guidance-1-3",
        "report.html",
        "report.json",
    ]


def test_nothing_of_others_is_removed(dar, folder: Path, tmp_path: Path, space: tuple[Any, ...]) -> None:
    kept = tmp_path / "src" / "features" / "mine.py"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    assert dar("evaluate", "generation", folder / "model", *space, *COMMON, "--out", tmp_path) == 0
    assert kept.read_text() == "mine"


def test_reports_that_differ_name_options_that_there_are(
    dar, folder: Path, tmp_path: Path, space: tuple[Any, ...], capsys
) -> None:
    sampled = ("evaluate", "generation", folder / "model", *COMMON)
    assert dar(*sampled, *space, "--out", tmp_path / "a") == 0
    others = photo_folder(tmp_path / "others", 15)
    assert dar(*sampled, "--extractor", folder / "classifier", "--reference", others, "--out", tmp_path / "b") == 0
    layouts = ("evaluate", "layout", folder / "model", "--data", folder / "photos", "--tokens", 2)
    for name, num in (("c", 5), ("d", 6)):
        assert dar(*layouts, "--classifier", folder / "classifier", "--num", num, "--out", tmp_path / name) == 0
    for pair, options in (("ab", "--reference"), ("cd", "--data and --num")):
        capsys.readouterr()
        assert dar("evaluate", "compare", *(tmp_path / name for name in pair)) == 2
        assert f"with the protocol of the other, by {options}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--num", 20), "20 samples are too few"),
        (("--num", 50, "--labels", "balanced"), "50 images cannot be balanced over 3 classes"),
        (("--reference", "cifar10"), "2 references were given for 1 extractors"),
        (("--guidance", "high"), "a guidance scale is a number"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    dar, folder: Path, tmp_path: Path, space: tuple[Any, ...], capsys, arguments: tuple[Any, ...], said: str
) -> None:
    out = tmp_path / "report"
    assert dar("evaluate", "generation", folder / "model", *space, *arguments, "--out", out) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_samples_that_cannot_be_measured_are_refused(
    dar, tmp_path: Path, space: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 and no more")
    assert dar("evaluate", "samples", tmp_path / "bad.npz", *space, "--out", tmp_path / "report") == 2
    assert "not a whole .npz" in capsys.readouterr().err
    (tmp_path / "png").mkdir()
    Image.new("RGB", (16, 12)).save(tmp_path / "png" / "0.png")
    assert dar("evaluate", "samples", tmp_path / "png", *space, "--out", tmp_path / "report") == 2
    assert "squares" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_reports_are_strict_json(dar, folder: Path, tmp_path: Path, space: tuple[Any, ...]) -> None:
    assert dar("evaluate", "generation", folder / "model", *space, *COMMON, "--out", tmp_path / "report") == 0
    text = (tmp_path / "report" / "report.json").read_text(encoding="utf-8")
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize(
    "content", ['{"class_names": 5}', "[1]", "{", '{"file": {"sha256": "0"}, "class_names": ["a"]}']
)
def test_a_record_of_something_else_is_left_alone(
    dar, folder: Path, tmp_path: Path, space: tuple[Any, ...], capsys: pytest.CaptureFixture[str], content: str
) -> None:
    assert dar("sample", "--model", folder / "model", *COMMON, "--out", tmp_path / "s.npz") == 0
    (tmp_path / "s.json").write_text(content)
    assert dar("evaluate", "samples", tmp_path / "s.npz", *space, "--out", tmp_path / "report") == 0
    assert "does not tell of this very file" in capsys.readouterr().out
    assert "class_accuracy" not in figures(tmp_path / "report")["classifier:animals"]


def test_two_extractors_of_one_name_are_refused(
    dar, folder: Path, tmp_path: Path, space: tuple[Any, ...], capsys
) -> None:
    torch.manual_seed(1)
    config = ClassifierConfig(name="animals", class_names=tiny.PRIOR.class_names, image_size=16, widths=(8, 8, 8))
    ImageClassifier(config).save_pretrained(tmp_path / "other")
    command = ("evaluate", "generation", folder / "model", *space, "--extractor", tmp_path / "other", *COMMON)
    assert dar(*command, "--out", tmp_path / "report") == 2
    assert "two of the extractors have one name" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_refused_at_once(dar, folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "file").write_text("no folder")
    command = ("evaluate", "reconstruction", folder / "model", "--data", folder / "photos")
    assert dar(*command, "--out", tmp_path / "file" / "report") == 2
    assert "cannot write to" in capsys.readouterr().err
    assert dar(*command, "--num", 1000, "--out", tmp_path / "a" / "b") == 2
    assert not (tmp_path / "a").exists()


def test_several_processes_are_sent_to_sampling(
    dar, folder: Path, tmp_path: Path, space: tuple[Any, ...], capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert dar("evaluate", "generation", folder / "model", *space, *COMMON, "--out", tmp_path / "report") == 2
    assert "run dar sample under it first" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_adm_lines_are_those_of_its_evaluator(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"fid": Estimate(4.25), "inception_score": Estimate(50.123456789), "recall": Estimate(0.5)}
    _print_as_adm(Report("generation", {}, {}, {Inception.name: found}))
    assert capsys.readouterr().out.splitlines() == ["Inception Score: 50.123456789", "FID: 4.25", "Recall: 0.5"]


def test_adm_lines_need_inception(
    dar, tmp_path: Path, space: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "s.npz", arr_0=np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8))
    command = ("evaluate", "samples", tmp_path / "s.npz", *space, "--adm", "--out", tmp_path / "report")
    assert dar(*command) == 2
    assert "--adm prints metrics of Inception" in capsys.readouterr().err
