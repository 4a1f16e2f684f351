"""What ``dar generate`` shows, writes and remembers."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dar.generation.provenance import read_provenance
from dar.generation.settings import GenerationSettings
from dar.images import save_image
from dar.pipeline import DARPipeline, Preview
from dar.storage import weights_hash
from tests import tiny
from tests.cli.test_cli import refused
from tests.on_sheets import positions


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


@pytest.fixture
def command(model: str) -> list[str]:
    return ["generate", "--model", model, "--class", "cat"]


def test_pictures_tell_what_was_used(dar, command: list[str], tmp_path: Path, pipeline: DARPipeline) -> None:
    wanted = ["--class", "sea_lion", "--num", "2", "--seed", "7", "--guidance", "1:2", "--top-k", "9", "--steps", "3"]
    assert dar(*command, *wanted, "--out", tmp_path) == 0
    made = read_provenance(tmp_path / "0003-sea-lion.png")
    assert (made.class_name, made.class_index, made.seed) == ("sea_lion", 2, 10)
    assert (made.tokenizer, made.prior) == (weights_hash(pipeline.tokenizer), weights_hash(pipeline.prior))
    assert made.settings == GenerationSettings(guidance_scale=(1.0, 2.0), top_k=9, steps=3)
    assert made.kept_tokens == ()
    image = pipeline(["sea_lion"], seed=10, guidance_scale=(1.0, 2.0), top_k=9, steps=3).images[0]
    difference = zip(image.tobytes(), opened(tmp_path / "0003-sea-lion.png").tobytes(), strict=True)
    assert max(abs(first - second) for first, second in difference) <= 1


def test_pictures_tell_nothing_where_that_is_wanted(dar, command: list[str], tmp_path: Path) -> None:
    assert dar(*command, "--out", tmp_path / "with") == 0
    assert dar(*command, "--no-metadata", "--out", tmp_path / "without") == 0
    told, silent = (opened(tmp_path / name / "0000-cat.png") for name in ("with", "without"))
    assert told.tobytes() == silent.tobytes()
    assert told.text
    assert not silent.text


def test_info_tells_of_a_picture(dar, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dar(*command, "--out", tmp_path) == 0
    capsys.readouterr()
    assert dar("info", tmp_path / "0000-cat.png") == 0
    said = capsys.readouterr().out
    assert "class       cat (0)" in said
    assert "guidance    1:3" in said
    assert dar("info", tmp_path / "sheet.png") == 2
    assert "does not tell how it was made" in capsys.readouterr().err


def test_the_same_picture_is_made_again(
    dar, command: list[str], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.effect_noise((30, 20), 50).convert("RGB").save(tmp_path / "layout.png")
    layout = ["--layout", tmp_path / "layout.png", "--layout-tokens", "3"]
    settings = ["--num", "3", "--guidance", "4", "--temperature", "0.7", "--solver", "euler", "--top-p", "0.9"]
    assert dar(*command, *settings, *layout, "--out", tmp_path / "first") == 0
    (tmp_path / "layout.png").unlink()
    picture = tmp_path / "first" / "0002-cat.png"
    assert dar("generate", "--model", model, "--like", picture, "--out", tmp_path / "again") == 0
    assert "0000-cat.png equals" in (said := capsys.readouterr().out) or "at most 1 of 255" in said
    again = tmp_path / "again" / "0000-cat.png"
    difference = zip(opened(picture).tobytes(), opened(again).tobytes(), strict=True)
    assert max(abs(first - second) for first, second in difference) <= 1
    assert read_provenance(again) == read_provenance(picture)
    assert len(read_provenance(again).kept_tokens) == 3


def test_another_model_makes_no_picture_again(
    dar, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], pipeline: DARPipeline
) -> None:
    other = DARPipeline(pipeline.tokenizer, tiny.randomise(tiny.prior(), seed=9))
    other.save_pretrained(tmp_path / "other")
    assert dar(*command, "--out", tmp_path / "out") == 0
    like = ["generate", "--model", tmp_path / "other", "--like", tmp_path / "out" / "0000-cat.png"]
    assert dar(*like, "--out", tmp_path / "again") == 2
    said = capsys.readouterr().err
    assert weights_hash(pipeline.prior)[:12] in said
    assert weights_hash(other.prior)[:12] in said
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "pass --class with a name or an index, or --like"),
        (["--like", "none.png"], "there is no picture at none.png"),
        (["--like", "a.png", "--seed", "0"], "--seed does not go with it"),
        (["--like", "a.png", "--class", "cat"], "--class does not go with it"),
        (["--like", "a.png", "--layout-tokens", "3"], "--layout-tokens does not go with it"),
        (["--class", "cat", "--animate", "a.mp4"], "a.mp4 does not end in .gif, .png, .webp"),
        (["--class", "cat", "--animate", "{out}/sheet.png"], "choose another name for the animation"),
    ],
)
def test_what_cannot_be_is_refused(
    dar, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    out = tmp_path / "out"
    filled = [argument.format(out=out) for argument in arguments]
    assert dar("generate", "--model", model, *filled, "--out", out) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_picture_is_not_replaced_by_its_copy(
    dar, command: list[str], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dar(*command, "--out", tmp_path) == 0
    picture = tmp_path / "0000-cat.png"
    assert dar("generate", "--model", model, "--like", picture, "--out", tmp_path, "--overwrite") == 2
    assert "would be replaced by its copy" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["webp", "gif", "png"])
def test_an_animation_sharpens_all_images(dar, command: list[str], tmp_path: Path, ending: str) -> None:
    path = tmp_path / "moving" / f"a.{ending}"
    assert dar(*command, "--num", "3", "--batch-size", "2", "--animate", path, "--out", tmp_path / "out") == 0
    with Image.open(path) as animation:
        assert animation.n_frames == 4
        animation.seek(3)
        last = animation.convert("RGB")
    if ending != "gif":  # which has too few colours
        assert all(positions(last, opened(tmp_path / "out" / f"000{i}-cat.png")) for i in range(3))
    assert dar(*command, "--animate", path, "--out", tmp_path / "other") == 2


def test_a_layout_has_its_reference_on_the_sheets(dar, command: list[str], tmp_path: Path) -> None:
    reference = Image.effect_noise((16, 16), 50).convert("RGB")
    reference.save(tmp_path / "ref.png")
    layout = ["--layout", tmp_path / "ref.png", "--layout-tokens", "4"]
    assert dar(*command, "--num", "2", *layout, "--previews", "--out", tmp_path / "out") == 0
    for name in ("sheet.png", "previews.png"):
        sheet = opened(tmp_path / "out" / name)
        ((left, top),) = positions(sheet, reference)
        assert positions(sheet, opened(tmp_path / "out" / "0000-cat.png"))[0] > (left, top)


def test_ctrl_c_keeps_what_is_finished(
    dar, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = DARPipeline.stream
    batches: list[int] = []

    def interrupted(self: DARPipeline, classes: Any, **settings: Any) -> Iterator[Preview]:
        batches.append(len(classes))
        for preview in whole(self, classes, **settings):
            if len(batches) == 4 and preview.step == 2:  # the first call checks the settings
                raise KeyboardInterrupt
            yield preview

    monkeypatch.setattr(DARPipeline, "stream", interrupted)
    out = tmp_path / "out"
    assert dar(*command, "--num", "9", "--batch-size", "2", "--previews", "--out", out) == 130
    said = capsys.readouterr().out
    assert "interrupted: " in said
    finished = sorted(path.name for path in out.glob("0*.png"))
    assert f"{len(finished)} of 9 images" in said
    assert finished == [f"{i:04d}-cat.png" for i in range(len(finished))]
    assert 0 < len(finished) < 9
    record = json.loads((out / "generation.json").read_text())
    assert [image["file"] for image in record["images"]] == finished
    assert all(positions(opened(out / "sheet.png"), opened(out / name)) for name in finished)


def test_ctrl_c_while_files_are_written_loses_none_of_the_batch(
    dar, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def interrupted(image: Image.Image, path: Path, texts: dict[str, str] | None = None) -> None:
        save_image(image, path, texts)
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("dar.cli.album.save_image", interrupted)
    assert dar(*command, "--num", "8", "--batch-size", "4", "--out", tmp_path) == 130
    assert "4 of 8 images" in capsys.readouterr().out
    assert (
        len(list(tmp_path.glob("0*.png"))) == len(json.loads((tmp_path / "generation.json").read_text())["images"]) == 4
    )


def test_a_log_has_a_line_a_batch(dar, command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert dar(*command, "--num", "5", "--batch-size", "2", "--out", tmp_path / "out") == 0
    said = capfd.readouterr().err
    assert [line.split(",")[0] for line in said.splitlines()] == [f"{n} of 5 images" for n in (2, 4, 5)]
    assert "\r" not in said


def test_show_draws_in_a_pipe_too(dar, command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert dar(*command, "--num", "3", "--batch-size", "2", "--show", "--out", tmp_path / "out") == 0
    said = capfd.readouterr()
    assert said.out.count("seed 2") == 1
    assert "▀" in said.out
    assert said.err == ""


@pytest.mark.parametrize(("colours", "option"), [("truecolor", []), ("truecolor", ["--no-show"]), ("", [])])
def test_a_terminal_of_many_colours_shows_pictures_in_place(
    command: list[str], tmp_path: Path, colours: str, option: list[str]
) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 80))
    environment = os.environ | {"COLORTERM": colours, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    arguments = [*command, *option, "--num", "2", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "dar", *arguments], stdout=theirs, stderr=theirs, env=environment, close_fds=True
    )
    os.close(theirs)
    said = b""
    while chunk := _read(ours):
        said += chunk
    assert process.wait() == 0
    shown = colours == "truecolor" and not option
    assert ("▀".encode() in said) == shown
    assert (said.count(b"step 1 of 4") == 1) == shown
    assert (b"\x1b[1A" in said) == shown  # the cursor goes up, so that steps replace each other
    assert (b"2/2" in said) != shown  # the bar


def _read(terminal: int) -> bytes:
    """What comes next; nothing at the end, which Linux tells by an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


@pytest.mark.parametrize("size", ["1", "AUTO", "99"])
def test_batches_change_no_picture(dar, command: list[str], tmp_path: Path, size: str) -> None:
    assert dar(*command, "--num", "3", "--out", tmp_path / "one", "--batch-size", size) == 0
    assert dar(*command, "--num", "3", "--out", tmp_path / "other") == 0
    for path in sorted((tmp_path / "one").glob("000*.png")):
        pair = zip(opened(path).tobytes(), opened(tmp_path / "other" / path.name).tobytes(), strict=True)
        assert max(abs(first - second) for first, second in pair) <= 1


def test_sizes_of_batches_that_cannot_be_are_refused(
    dar, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ["--out", tmp_path / "out"]
    for size in ("0", "many", "1.5"):
        said = refused(dar, capsys, *command, *out, "--batch-size", size)
        assert said == f"error: --batch-size must be a whole number from 1 to 100000, or auto, not {size}\n"
    monkeypatch.setattr("dar.generation.memory.free_memory", lambda device: 2 * 10**6)
    said = refused(dar, capsys, *command, *out, "--num", "20", "--batch-size", "20")
    assert re.search(r"20 images at a time need .* compute at most [1-9] at a time \(batch_size\)", said)
    assert not (tmp_path / "out").exists()
    assert dar(*command, *out, "--num", "20", "--batch-size", "auto") == 0


def test_samples_that_do_not_fit_are_refused_before_anything_is_written(
    dar, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dar.generation.memory.free_memory", lambda device: 2 * 10**6)
    command = ["sample", "--model", model, "--num", "100", "--out", tmp_path / "a.npz"]
    assert "50 images at a time need" in refused(dar, capsys, *command)
    assert not list(tmp_path.iterdir())
    assert dar(*command, "--chunk", "3") == 0
