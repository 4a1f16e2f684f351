"""``dar sample`` as people call it."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from dar.generation.provenance import read_provenance
from dar.images import read_image
from dar.model_folder import RECIPE
from dar.pipeline import DARPipeline
from dar.prior.guidance import Guidance
from dar.samples.opening import open_samples
from tests.cli.test_cli import refused


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, pipeline: DARPipeline) -> Path:
    folder = tmp_path_factory.mktemp("model")
    pipeline.save_pretrained(folder)
    (folder / RECIPE).write_text("steps: 1\n")
    return folder


def test_samples_pngs_and_record(dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "samples.npz"
    command = ["sample", "--model", model, "--num", "6", "--out", out, "--labels", "balanced", "--chunk", "4"]
    command += ["--class", "sea lion", "--class", "0", "--guidance", "2"]
    assert dar(*command, "--png", tmp_path / "pngs") == 0
    captured = capsys.readouterr()
    assert "complete: " in captured.out
    assert "6 of 6 images" in captured.err
    samples = open_samples(out)
    assert samples.labels.tolist() == [0, 2, 0, 2, 0, 2]
    assert sorted(path.name for path in (tmp_path / "pngs").iterdir()) == [f"00000{i}.png" for i in range(6)]
    for one, other in zip(samples.batches(6), open_samples(tmp_path / "pngs").batches(6), strict=True):
        assert torch.equal(one, other)
    record = json.loads((tmp_path / "samples.json").read_text())
    assert (record["model"], record["recipe"]) == (str(model), "steps: 1\n")
    assert record["settings"]["guidance_scale"] == [2.0, 2.0]
    assert record["settings"]["steps"] == 4  # the model's own number

    before = out.stat().st_mtime_ns
    assert dar(*command) == 0
    assert "complete: " in capsys.readouterr().out
    assert out.stat().st_mtime_ns == before
    assert dar(*command, "--png", tmp_path / "later") == 0
    for path in (tmp_path / "pngs").iterdir():
        assert path.read_bytes() == (tmp_path / "later" / path.name).read_bytes()
    assert "seed was 0, now 1" in refused(dar, capsys, *command, "--seed", "1")


def test_pngs_tell_how_they_were_made(dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sample", "--model", model, "--num", "4", "--seed", "7", "--chunk", "3", "--guidance", "2:3"]
    assert dar(*command, "--out", tmp_path / "a.npz", "--png", tmp_path / "a") == 0
    labels = open_samples(tmp_path / "a.npz").labels
    for i, label in enumerate(labels.tolist()):
        made = read_provenance(tmp_path / "a" / f"00000{i}.png")
        assert (made.seed, made.class_index) == (7 + i, label)
        assert (made.settings.guidance_scale, made.settings.steps) == (Guidance(2, 3), 4)
    capsys.readouterr()
    assert dar("info", tmp_path / "a" / "000003.png") == 0
    assert "seed        10" in capsys.readouterr().out
    assert dar("generate", "--model", model, "--like", tmp_path / "a" / "000003.png", "--out", tmp_path / "again") == 0
    (again,) = (tmp_path / "again").glob("0000-*.png")
    first, second = (read_image(path).tobytes() for path in (tmp_path / "a" / "000003.png", again))
    assert max(abs(x - y) for x, y in zip(first, second, strict=True)) <= 1

    assert dar(*command, "--out", tmp_path / "a.npz", "--png", tmp_path / "silent", "--no-metadata") == 0
    assert "does not tell how it was made" in refused(dar, capsys, "info", tmp_path / "silent" / "000000.png")


def test_launched_processes_do_their_parts(
    dar, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sample", "--model", model, "--num", "3", "--out", tmp_path / "a.npz", "--chunk", "2", "--steps", "1"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert dar(*command) == 0
    assert "process 0 joins all parts" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "0")
    assert dar(*command) == 0
    assert "complete: " in capsys.readouterr().out
    monkeypatch.setenv("RANK", "2")
    assert "RANK=2 and WORLD_SIZE=2 cannot be" in refused(dar, capsys, *command)


def test_ctrl_c_leaves_what_is_finished(dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = tmp_path / "a.npz.parts"

    def press() -> None:
        while len(list(parts.glob("chunk*"))) < 3:
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    command = ["sample", "--model", model, "--num", "100000", "--out", tmp_path / "a.npz", "--chunk", "1"]
    threading.Thread(target=press, daemon=True).start()
    assert dar(*command) == 130
    assert "interrupted; the same command goes on" in capsys.readouterr().out
    names = sorted(path.name for path in parts.iterdir())
    assert names == [*(f"chunk-{i:06d}.npy" for i in range(len(names) - 1)), "settings.json"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--num", "0"], "--num"),
        (["--num", "4", "--labels", "balanced"], "sample 3, or use random labels"),
        (["--num", "4", "--class", "great dan"], "did you mean great dane?"),
        (["--num", "4", "--guidance", "much"], "START:END"),
        (["--num", "4", "--top-k", "0"], "top-k must be at least 1"),
        (["--num", "4", "--rounding", "up"], "there is no rounding 'up'"),
        (["--num", "4", "--device", "nonsense"], "cannot compute on nonsense"),
    ],
)
def test_what_cannot_be_is_refused(
    dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in refused(dar, capsys, "sample", "--model", model, "--out", tmp_path / "a.npz", *arguments)
    assert not list(tmp_path.iterdir())


def test_png_folders_that_are_there_are_not_written_to(
    dar, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pngs").mkdir()
    command = ["sample", "--model", model, "--num", "2", "--out", tmp_path / "a.npz", "--png", tmp_path / "pngs"]
    assert "pngs exists already" in refused(dar, capsys, *command)
    assert not (tmp_path / "a.npz").exists()
