"""``--dtype``, of every command that computes with a model."""

import json
from pathlib import Path

import pytest
import torch

from dar.files import read_json, write_json
from dar.generation.provenance import read_provenance
from dar.pipeline import DARPipeline, load_tokenizer
from dar.train.token_manifest import read_manifest
from dar.train.token_shards import TokenShards
from dar.train.token_sources import SavedTokens
from tests.cli.test_cli import refused
from tests.train.photos import photo_folder

HALVES = ("bfloat16", "float16")


@pytest.mark.parametrize(
    "command",
    [
        ["generate", "--class", "cat", "--out", "out"],
        ["sample", "--num", "2", "--out", "a.npz"],
        ["reconstruct", "a.png", "--out", "out"],
        ["demo", "--out", "demo.html"],
        ["tokenize", "--data", "photos", "--out", "shards"],
        ["evaluate", "generation", "--reference", "cifar10", "--out", "report"],
        ["evaluate", "layout", "--data", "photos", "--out", "report"],
        ["evaluate", "sweep", "--reference", "cifar10", "--guidance", "1", "--out", "report"],
        ["evaluate", "reconstruction", "--data", "photos", "--out", "report"],
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_an_unknown_dtype_is_refused_at_once(
    dar, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(dar, capsys, *command, "--dtype", "int8")
    assert said == "error: dtype must be one of float32, bfloat16, float16, not int8\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", HALVES)
def test_pictures_tell_their_dtype_and_are_made_again_in_it(
    dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], dtype: str
) -> None:
    command = ["generate", "--model", model, "--class", "cat", "--out", tmp_path / "out", "--dtype", dtype]
    assert dar(*command) == 0
    picture = tmp_path / "out" / "0000-cat.png"
    assert read_provenance(picture).dtype == dtype
    assert read_json(tmp_path / "out" / "generation.json")["dtype"] == dtype
    like = ["generate", "--model", model, "--like", picture, "--out", tmp_path / "again"]
    assert dar(*like) == 0
    assert "equals" in capsys.readouterr().out
    assert read_provenance(tmp_path / "again" / "0000-cat.png") == read_provenance(picture)
    assert "--dtype does not go with it" in refused(dar, capsys, *like, "--dtype", "float32")


def test_samples_of_another_dtype_are_not_gone_on_with(
    dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sample", "--model", model, "--num", "2", "--out", tmp_path / "a.npz"]
    assert dar(*command, "--dtype", "bfloat16") == 0
    assert read_json(tmp_path / "a.json")["settings"]["dtype"] == "bfloat16"
    assert "dtype was bfloat16, now float32" in refused(dar, capsys, *command)
    assert dar(*command, "--dtype", "bfloat16") == 0


def test_samples_that_tell_no_dtype_are_of_float32(
    dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sample", "--model", model, "--num", "2", "--out", tmp_path / "a.npz"]
    assert dar(*command) == 0
    record = read_json(tmp_path / "a.json")
    del record["settings"]["dtype"]
    write_json(tmp_path / "a.json", record)
    assert dar(*command) == 0
    assert "dtype was float32, now float16" in refused(dar, capsys, *command, "--dtype", "float16")


@pytest.mark.parametrize("dtype", HALVES)
def test_evaluations_and_demos_run_in_half_precision(dar, model: Path, tmp_path: Path, dtype: str) -> None:
    photos = photo_folder(tmp_path / "photos")
    picture = next(path for path in photos.rglob("*") if path.is_file())
    common = ("--model", model, "--dtype", dtype)
    assert dar("reconstruct", picture, *common, "--out", tmp_path / "out") == 0
    assert dar("demo", *common, "--out", tmp_path / "demo.html") == 0
    assert f"dtype</span> <span>{dtype}</span>" in (tmp_path / "demo.html").read_text()
    command = ["evaluate", "reconstruction", model, "--data", photos, "--dtype", dtype, "--out", tmp_path / "report"]
    assert dar(*command) == 0
    assert json.loads((tmp_path / "report" / "report.json").read_text())["subject"]["dtype"] == dtype


def test_tokens_encoded_in_half_precision_are_those_of_the_tokenizer(
    dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = photo_folder(tmp_path / "photos")
    command = ["tokenize", "--data", photos, "--model", model, "--out", tmp_path / "shards"]
    assert dar(*command, "--dtype", "bfloat16") == 0
    assert read_manifest(tmp_path / "shards").tokenizer_dtype == "bfloat16"
    SavedTokens(tmp_path / "shards").check_made_by(load_tokenizer(model), model)
    assert "another tokenizer, tokenizer_dtype" in refused(dar, capsys, *command)


def test_shards_that_tell_no_dtype_are_of_float32(
    dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["tokenize", "--data", photo_folder(tmp_path / "photos"), "--model", model, "--out", tmp_path / "shards"]
    assert dar(*command) == 0
    content = read_json(tmp_path / "shards" / "manifest.json")
    del content["tokenizer_dtype"]
    write_json(tmp_path / "shards" / "manifest.json", content)
    assert len(TokenShards(tmp_path / "shards")) == 12
    assert dar(*command) == 0


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_differs_by_rounding_alone(model: Path, dtype: str) -> None:
    exact, half = DARPipeline.from_pretrained(model), DARPipeline.from_pretrained(model, dtype=dtype)
    moved = DARPipeline.from_pretrained(model).to("cpu", dtype)
    one, other = half("cat", seed=3, num_images_per_prompt=2), moved("cat", seed=3, num_images_per_prompt=2)
    assert torch.equal(one.pixels, other.pixels)
    assert one.pixels.dtype == torch.float32
    theirs = exact.tokenizer.decode(one.tokens, seed=[3, 4])
    torch.testing.assert_close(half.tokenizer.decode(one.tokens, seed=[3, 4]), theirs, rtol=0, atol=0.1)
    kept = half(["cat", "sea lion"], layout=one.images, layout_tokens=4).tokens[:, :4]
    assert torch.equal(kept, half.tokenizer.encode(one.images)[:, :4])
    agreement = (half.tokenizer.encode(theirs) == exact.tokenizer.encode(theirs)).float().mean()
    assert agreement > 0.7
