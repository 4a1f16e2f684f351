"""Pipes and devices where files are expected: one sentence, at once, instead of a wait without end."""

import os
from pathlib import Path

import pytest
from PIL import Image

from dar.pipeline import DARPipeline

STATISTICS = ("evaluate", "statistics", "--image-size", 32)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def folder(pipeline: DARPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a picture, named pipes under all kinds of names, and folders that hold such."""
    folder = tmp_path_factory.mktemp("pipes")
    pipeline.save_pretrained(folder / "model")
    (folder / "samples").mkdir()
    Image.new("RGB", (16, 16)).save(folder / "samples" / "a.png")
    for name in ("x.png", "x.npz", "x.safetensors", "x.pth", "x.json", "x.pt", "x.yaml", "samples/b.png"):
        os.mkfifo(folder / name)
    for name in ("vision", "report", "no-weights/tokenizer"):
        (folder / name).mkdir(parents=True)
    for name in ("vision/config.json", "report/report.json", "no-weights/tokenizer/model.safetensors"):
        os.mkfifo(folder / name)
    config = (folder / "model" / "tokenizer" / "config.json").read_bytes()
    (folder / "no-weights" / "tokenizer" / "config.json").write_bytes(config)
    return folder


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (("reconstruct", "x.png"), "x.png"),
        (("reconstruct", "/dev/zero"), "/dev/zero"),
        (("reconstruct", "samples/a.png", "--model", "no-weights"), "model.safetensors"),
        (
            ("generate", "--model", "model", "--class", "cat", "--layout", "x.png", "--layout-tokens", 4),
            "x.png",
        ),
        (("evaluate", "samples", "x.npz", "--reference", "cifar10"), "x.npz"),
        (("evaluate", "samples", "/dev/zero", "--reference", "cifar10"), "/dev/zero"),
        ((*STATISTICS, "x.npz", "--extractor", "cifar10"), "x.npz"),
        ((*STATISTICS, "x.safetensors", "--extractor", "cifar10"), "x.safetensors"),
        ((*STATISTICS, "samples", "--extractor", "x.pth"), "x.pth"),
        ((*STATISTICS, "samples", "--extractor", "vision"), "config.json"),
        (("evaluate", "compare", "x.json", "report"), "x.json"),
        (("evaluate", "compare", "report", "x.json"), "report.json"),
        (("convert", "--tokenizer", "x.pt"), "x.pt"),
        (("convert", "--prior", "/dev/zero"), "/dev/zero"),
        (("train", "tokenizer", "--recipe", "x.yaml", "--data", "samples"), "x.yaml"),
        (("train", "tokenizer", "--recipe", "debug", "--data", "x.png"), "x.png"),
    ],
)
def test_pipes_and_devices_are_refused_at_once(
    dar,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str | int, ...],
    named: str,
) -> None:
    monkeypatch.chdir(folder)
    out = tmp_path / (
        "statistics.safetensors" if "statistics" in command else "out.md" if "compare" in command else "out"
    )
    assert dar(*command, "--out", out) == 2
    said = capsys.readouterr().err
    assert named in said
    assert "Traceback" not in said
    assert said.count("\n") == 1
    assert not out.is_file()
