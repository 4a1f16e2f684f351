"""Settings that are not given are the model's own, in Python as in every command."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dar.data import ImageDataset
from dar.evaluate.labelled_images import LabelledImages
from dar.evaluate.layout import evaluate_layout
from dar.evaluate.reference import load_reference
from dar.evaluate.sweep import evaluate_sweep, samples_of
from dar.features.extractor import Features
from dar.generation.settings import SAMPLING, GenerationSettings, load_settings, save_settings
from dar.images import to_pixels
from dar.pipeline import DARPipeline
from dar.samples.opening import open_samples
from dar.samples.sampling import rounded, sample_settings
from tests.cli.test_cli import refused
from tests.convert import published
from tests.evaluate.animals import Projection, photo_folder

OWN = GenerationSettings(guidance_scale=(1.0, 6.0), temperature=0.7, top_k=9, steps=5, solver="euler")
RECORDED = {**OWN.values(), "guidance_scale": [1.0, 6.0]}
TOLD = "sampling with guidance 1:6, temperature 0.7, top-k 9, 5 steps of euler (all the model's own)"


@pytest.fixture(scope="module", params=["sampling.json", "no file"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pipeline: DARPipeline) -> Path:
    """One that has settings of its own, and one that has none."""
    folder = tmp_path_factory.mktemp("model")
    DARPipeline(pipeline.tokenizer, pipeline.prior, OWN).save_pretrained(folder)
    if request.param == "no file":
        (folder / SAMPLING).unlink()
    return folder


def test_python_and_all_commands_make_the_same_image(
    dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = DARPipeline.from_pretrained(model)
    *_, last = pipe.stream("cat", seed=4)
    image, samples = np.asarray(last.images[0]), rounded(last.pixels, "adm").numpy()
    expected = {**pipe.settings.resolved(pipe.tokenizer.config).values()}
    expected["guidance_scale"] = list(expected["guidance_scale"])
    common = ("--class", "cat", "--seed", "4")

    assert dar("generate", "--model", model, *common, "--out", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "0000-cat.png") as found:
        assert np.array_equal(np.asarray(found), image)
    record = json.loads((tmp_path / "out" / "generation.json").read_text())
    assert record.items() >= expected.items()

    assert dar("sample", "--model", model, *common, "--num", "1", "--out", tmp_path / "a.npz") == 0
    (found_B3HW,) = open_samples(tmp_path / "a.npz").batches(1)
    assert np.array_equal(found_B3HW.permute(0, 2, 3, 1).numpy(), samples)
    assert json.loads((tmp_path / "a.json").read_text())["settings"].items() >= expected.items()
    if pipe.settings == OWN:
        assert capsys.readouterr().out.count(TOLD) == 2


def test_sweep_and_layout_use_and_record_them(pipeline: DARPipeline, tmp_path: Path) -> None:
    pipe = DARPipeline(pipeline.tokenizer, pipeline.prior, OWN)
    photos = photo_folder(tmp_path / "photos", 14)
    settings = sample_settings(pipe, {}, num=42)
    real = load_reference(str(photos), Projection(), 16)
    report = evaluate_sweep(
        pipe, settings, [OWN.guidance_scale], [(Projection(), real)], tmp_path / "sweep", model_info={}
    ).report
    recorded = report.subject["settings"]
    assert all(recorded[name] == value for name, value in RECORDED.items() if name != "guidance_scale")
    (images,) = open_samples(samples_of(tmp_path / "sweep", OWN.guidance_scale)).batches(42)
    *_, last = pipe.stream([settings.label(i) for i in range(42)])
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), rounded(last.pixels, "adm").numpy())

    seen: list[torch.Tensor] = []

    class Recorder(Projection):
        def __call__(self, images_B3HW: torch.Tensor) -> Features:
            seen.append(images_B3HW)
            return super().__call__(images_B3HW)

    data = ImageDataset(photos)
    result = evaluate_layout(pipe, data, Recorder(), prefixes=[8], settings={}, count=2)
    report, pictures = result.report, result.pictures
    assert {name: report.subject[name] for name in RECORDED} == OWN.values()
    (title,) = pictures
    first = title.split("rows become ")[1].split(", ")[0]
    made = to_pixels(pipe(first, seed=LabelledImages(data, 16, 2).indices[0]).images)
    torch.testing.assert_close(seen[0][:1].float() / 127.5 - 1, made, rtol=0, atol=1.5 / 127.5)


def test_what_is_given_is_said(dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", model, "--class", "cat", "--guidance", "2", "--top-k", "3", "--steps", "1"]
    assert dar(*command, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "sampling with guidance 2, temperature" in said
    assert "top-k 3, 1 step of" in said
    assert "(given: guidance, steps, top-k; the rest is the model's own)" in said


def test_settings_of_a_model_that_cannot_be_are_refused(
    dar, pipeline: DARPipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / SAMPLING).write_text('{"temprature": 1}')
    command = ("generate", "--model", tmp_path / "model", "--class", "cat", "--out", tmp_path / "out")
    assert "did you mean 'temperature'?" in refused(dar, capsys, *command)


@pytest.mark.parametrize("name", ["CPU", "Cpu"])
def test_devices_go_by_names_in_any_case(dar, model: Path, tmp_path: Path, name: str) -> None:
    assert dar("generate", "--model", model, "--class", "cat", "--device", name, "--out", tmp_path / "out") == 0


def test_a_llama_that_comes_back_keeps_the_settings(dar, pipeline: DARPipeline, tmp_path: Path) -> None:
    DARPipeline(pipeline.tokenizer, pipeline.prior, OWN).save_pretrained(tmp_path / "model")
    assert dar("export", "llama", tmp_path / "model", "--out", tmp_path / "llama") == 0
    back = ("--tokenizer", tmp_path / "model", "--out", tmp_path / "back")
    assert dar("import", "llama", tmp_path / "llama", *back) == 0
    assert load_settings(tmp_path / "back") == OWN


def test_reconstruction_uses_the_models_own_solver(dar, pipeline: DARPipeline, tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", 1)
    pipeline.save_pretrained(tmp_path / "model")
    save_settings(tmp_path / "model", OWN)
    assert dar("evaluate", "reconstruction", tmp_path / "model", "--data", photos, "--out", tmp_path / "a") == 0
    subject = json.loads((tmp_path / "a" / "report.json").read_text())["subject"]
    assert (subject["solver"], subject["steps"]) == ("euler", 5)


def test_files_of_unknown_size_bring_no_settings(dar, tmp_path: Path) -> None:
    prior = published.save_prior(tmp_path / "prior.pt")
    assert dar("convert", "--prior", prior, "--out", tmp_path / "model") == 0
    assert not (tmp_path / "model" / SAMPLING).exists()
