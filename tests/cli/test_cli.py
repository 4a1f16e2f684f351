"""The commands as people call them: what they write, and what they say to bad input."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from dar import __version__
from dar.images import centre_crop, read_image
from dar.pipeline import DARPipeline
from tests import tiny
from tests.convert import published
from tests.on_sheets import positions
from tests.train.photos import photo_folder


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def refused(dar, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """What a command that refuses its input says: one line, without a traceback."""
    capsys.readouterr()
    assert dar(*arguments) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_version_is_told(dar, capsys: pytest.CaptureFixture[str]) -> None:
    assert dar("--version") == 0
    assert capsys.readouterr().out == f"dar {__version__}\n"


def test_generate_writes_images_sheet_previews_and_record(dar, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert (
        dar("generate", "--model", model, "--class", "cat", "--class", "1", "--num", "2", "--previews", "--out", out)
        == 0
    )
    images = sorted(out.glob("0*.png"))
    assert [path.name for path in images] == [
        "0000-cat.png",
        "0001-cat.png",
        "0002-great-dane.png",
        "0003-great-dane.png",
    ]
    assert all(opened(path).size == (16, 16) for path in images)
    with Image.open(out / "previews.gif") as animation:
        assert animation.n_frames == 4
    strip, sheet = opened(out / "previews.png"), opened(out / "sheet.png")
    assert len(positions(strip, opened(images[0]))) == len(positions(strip, opened(images[2]))) == 1
    corners = [positions(sheet, opened(path))[0] for path in images]
    assert corners[0][1] == corners[1][1] < corners[2][1] == corners[3][1]
    assert corners[0][0] == corners[2][0] < corners[1][0] == corners[3][0]
    record = json.loads((out / "generation.json").read_text())
    assert record["images"][3] == {"file": "0003-great-dane.png", "class": "great dane", "seed": 3}
    assert record["guidance_scale"] == [1.0, 3.0]


def test_batch_size_and_repetition_do_not_change_images(dar, model: str, tmp_path: Path) -> None:
    command = ["generate", "--model", model, "--class", "cat", "--num", "3", "--seed", "5"]
    assert dar(*command, "--out", tmp_path / "a") == 0
    assert dar(*command, "--out", tmp_path / "b") == 0
    assert dar(*command, "--batch-size", "2", "--out", tmp_path / "c") == 0
    for i in range(3):
        first, second, third = (opened(tmp_path / name / f"000{i}-cat.png") for name in "abc")
        assert first.tobytes() == second.tobytes()
        assert max(abs(x - y) for x, y in zip(first.tobytes(), third.tobytes(), strict=True)) <= 1


def test_generate_keeps_a_layout(dar, model: str, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "red").save(tmp_path / "ref.png")
    layout = ["--layout", tmp_path / "ref.png", "--layout-tokens", "4"]
    assert dar("generate", "--model", model, "--class", "cat", *layout, "--out", tmp_path / "out") == 0


def test_generate_refuses_to_overwrite(dar, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", model, "--class", "cat", "--out", tmp_path]
    assert dar(*command) == 0
    before = (tmp_path / "0000-cat.png").read_bytes()
    assert "exists already" in refused(dar, capsys, *command, "--seed", "9")
    assert (tmp_path / "0000-cat.png").read_bytes() == before
    assert dar(*command, "--seed", "9", "--overwrite") == 0
    assert (tmp_path / "0000-cat.png").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--class", "great dan"], "did you mean great dane?"),
        (["--class", "7"], "class index 7 is out of range"),
        (["--class", "-1"], "class index -1 is out of range"),
        (["--class", "²"], "there is no class '²'"),
        (["--class", "cat", "--seed", "99999999999999999999"], "a seed must lie between"),
        (["--class", "cat", "--device", "nonsense"], "cannot compute on nonsense"),
        (["--class", "cat", "--guidance", "-1"], "guidance scale must be 0 or more"),
        (["--class", "cat", "--guidance", "nan"], "guidance scale must be 0 or more"),
        (["--class", "cat", "--guidance", "1:2:3"], "START:END"),
        (["--class", "cat", "--guidance", "much"], "START:END"),
        (["--class", "cat", "--solver", "magic"], "there is no solver 'magic'"),
        (["--class", "cat", "--temperature", "-1"], "temperature must be 0 or more"),
        (["--class", "cat", "--top-p", "0"], "top-p must lie"),
        (["--class", "cat", "--layout-tokens", "4"], "a layout needs both"),
        (["--class", "cat", "--layout", "none.png", "--layout-tokens", "4"], "there is no picture at none.png"),
        (["--class", "cat", "--layout", "{picture}", "--layout-tokens", "9"], "between 1 and 8, not 9"),
        (["--class", "cat", "--num", "0"], "--num"),
        (["--class", "cat", "--steps", "0"], "--steps"),
        ([], "--class"),
    ],
)
def test_generate_refuses(
    dar, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    out, picture = tmp_path / "out", tmp_path / "picture.png"
    Image.new("RGB", (16, 16)).save(picture)
    filled = [argument.format(picture=picture) for argument in arguments]
    heard = refused(dar, capsys, "generate", "--model", model, *filled, "--out", out)
    assert said in heard
    assert not out.exists()


def test_unwritable_output_folder(dar, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    assert "cannot write to" in refused(dar, capsys, "generate", "--model", model, "--class", "cat", "--out", out)
    Image.new("RGB", (16, 16)).save(tmp_path / "x.png")
    assert "cannot write to" in refused(dar, capsys, "reconstruct", tmp_path / "x.png", "--model", model, "--out", out)


def test_model_that_is_not_one(dar, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--class", "cat", "--out", tmp_path / "out"]
    assert "there is no model no/such-model here" in refused(
        dar, capsys, "generate", "--model", "no/such-model", *common
    )
    assert "is not the folder of a model" in refused(dar, capsys, "generate", "--model", tmp_path, *common)


def test_reconstruct_draws_original_and_every_step(
    dar, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("CMYK", (40, 30), (0, 90, 0, 0)).save(tmp_path / "a.jpg")
    Image.new("L", (1, 1), 99).save(tmp_path / "b.png")
    out = tmp_path / "out"
    assert dar("reconstruct", tmp_path / "a.jpg", tmp_path / "b.png", "--model", model, "--out", out) == 0
    for name, original in (("0000-a.png", "a.jpg"), ("0001-b.png", "b.png")):
        sheet = opened(out / name)
        assert sheet.width == 5 * 128 + 6 * 8
        assert [x for x, _ in positions(sheet, centre_crop(read_image(tmp_path / original), 16))] == [8]
    assert capsys.readouterr().out.count("PSNR") == 2


def test_reconstruct_needs_only_a_tokenizer(dar, model: str, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    assert dar("reconstruct", tmp_path / "a.png", "--model", f"{model}/tokenizer", "--out", tmp_path / "out") == 0


@pytest.mark.parametrize("command", [["generate", "--class", "cat"], ["reconstruct", "a.png"]])
def test_pictures_of_no_numbers_are_refused_and_leave_no_folder(
    dar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16, 16)).save("a.png")
    tokenizer = tiny.tokenizer()
    for parameter in tokenizer.diffusion_decoder.parameters():
        torch.nn.init.constant_(parameter, math.nan)
    DARPipeline(tokenizer, tiny.prior()).save_pretrained("model")
    assert "gives images of NaN" in refused(dar, capsys, *command, "--model", "model", "--out", "out")
    assert not Path("out").exists()


def test_reconstruct_leaves_no_folder_after_a_refusal(dar, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("null")
    command = ["reconstruct", tmp_path / "a.png", "--out", tmp_path / "new" / "out", "--model", tmp_path / "model"]
    assert "holds a NoneType, not a JSON object" in refused(dar, capsys, *command)
    assert not (tmp_path / "new").exists()


def test_reconstruct_refuses_what_is_no_image(
    dar, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_text("text")
    said = refused(dar, capsys, "reconstruct", tmp_path / "a.png", "--model", model, "--out", tmp_path / "out")
    assert "a.png is not an image" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("command", "example"),
    [
        (["generate"], "dar generate --class"),
        (["reconstruct"], "dar reconstruct cat.jpg"),
        (["train", "tokenizer"], "dar train tokenizer --recipe"),
        (["train", "prior"], "dar train prior --recipe"),
        (["info"], "dar info runs"),
    ],
)
def test_help_shows_an_example(dar, capsys: pytest.CaptureFixture[str], command: list[str], example: str) -> None:
    assert dar(*command, "--help") == 0
    assert example in " ".join(capsys.readouterr().out.split())


def test_training_from_photos_to_pictures(dar, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = photo_folder(tmp_path / "photos")
    small = ["--recipe", "debug", "--data", photos]
    short = ("steps=4", "warmup_steps=1", "decay_steps=1")
    brief = ("tokenizer_training.continuous_steps=2", *(f"tokenizer_training.{change}" for change in short))
    assert dar("train", "tokenizer", *small, "--out", tmp_path / "tok", *brief) == 0
    tokenizer = tmp_path / "tok" / "model"
    prior = ["train", "prior", *small, "--tokenizer", tokenizer, "--out", tmp_path / "prior"]
    prior += [f"prior_training.{change}" for change in short]
    assert dar(*prior) == 0
    assert "not empty" in refused(dar, capsys, *prior)
    assert dar(*prior, "--resume") == 0
    trained = tmp_path / "prior" / "model"
    assert dar("generate", "--model", trained, "--class", "bright", "--out", tmp_path / "out") == 0
    photo = photos / "dark" / "0.png"
    assert dar("reconstruct", photo, "--model", trained, "--out", tmp_path / "out2") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "missing", "--recipe", "debug"], "there is no data set missing here"),
        (["--data", ".", "--recipe", "nonsense"], "there is no recipe 'nonsense'"),
        (["--data", "{empty}", "--recipe", "debug"], "holds no images"),
        (["--data", "{empty}", "--recipe", "debug", "tokenizer.num_groups=3"], "not a multiple of num_groups"),
    ],
)
def test_training_refuses(
    dar, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    filled = [argument.format(empty=tmp_path) for argument in arguments]
    assert said in refused(dar, capsys, "train", "tokenizer", *filled, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_published_files_become_a_model_that_generates(dar, tmp_path: Path) -> None:
    tokenizer = published.save_tokenizer(tmp_path / "tokenizer.pt")
    prior = published.save_prior(tmp_path / "prior.pt")
    assert dar("convert", "--tokenizer", tokenizer, "--prior", prior, "--out", tmp_path / "model") == 0
    assert dar("generate", "--model", tmp_path / "model", "--class", "2", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "sheet.png").exists()


def test_convert_refuses_in_one_sentence(dar, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tokenizer = published.save_tokenizer(tmp_path / "tokenizer.pt")
    (tmp_path / "page.pt").write_text("<!DOCTYPE html>")
    out = tmp_path / "model"
    for arguments, complaint in (
        (("--prior", tokenizer), "tokenizer.pt is a tokenizer, not a prior: give it as --tokenizer"),
        (("--tokenizer", tmp_path / "page.pt"), "page.pt is not a published .pt file but a web page"),
        (("--tokenizer", tmp_path / "none.pt"), "there is no file at"),
        ((), "nothing to convert"),
    ):
        said = refused(dar, capsys, "convert", *arguments, "--out", out)
        assert complaint in said
        assert said.count("\n") == 1
        assert not out.exists()


def test_a_prior_goes_out_as_a_llama_and_comes_back(dar, model: str, tmp_path: Path) -> None:
    assert dar("export", "llama", model, "--out", tmp_path / "llama") == 0
    assert dar("import", "llama", tmp_path / "llama", "--tokenizer", model, "--out", tmp_path / "back") == 0
    for part in ("tokenizer", "prior"):
        first, back = (Path(folder) / part for folder in (model, tmp_path / "back"))
        for name in ("config.json", "model.safetensors"):
            assert (first / name).read_bytes() == (back / name).read_bytes()


def test_export_and_import_overwrite_nothing(
    dar, capsys: pytest.CaptureFixture[str], model: str, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    assert "exists already" in refused(dar, capsys, "export", "llama", model, "--out", tmp_path / "there")
    arguments = ("import", "llama", model, "--tokenizer", model, "--out")
    assert "exists already" in refused(dar, capsys, *arguments, tmp_path / "there")
    assert "config.json does not exist" in refused(dar, capsys, *arguments, tmp_path / "new")
