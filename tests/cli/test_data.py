"""``dar data`` as people call it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.test_cli import refused
from tests.data.making import write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "images")


def test_report_and_sheet(dar, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "notes.txt").write_text("hello")
    assert dar("data", folder, "--size", 16, "--out", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder}: 6 images of 2 classes (ape, bee); left out: 1 other file (notes.txt)"
    assert lines[-1].split() == ["sheet", str(tmp_path / "out" / "sheet.png")]
    record = json.loads((tmp_path / "out" / "data.json").read_text())
    assert record["summary"]["left_out"][0]["examples"] == ["notes.txt"]
    assert record["classes"] == {"ape": 3, "bee": 3}
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width > 6 * 128


def test_without_a_folder_nothing_is_written(
    dar, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dar("data", folder) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    assert capsys.readouterr().out.splitlines()[-1].split()[:2] == ["sheet", "--out"]


def test_what_training_refuses_is_refused_after_the_report(
    dar, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(12):
        (folder / "ape" / f"bad{i}.png").write_bytes(b"no picture")
    assert "12 of the first 18 images" in refused(dar, capsys, "data", folder, "--out", tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "data.json").read_text())["broken"]) == 12
    assert dar("data", folder, "--max-broken-share", "0.7") == 0


def test_an_earlier_report_is_not_overwritten(
    dar, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dar("data", folder, "--out", tmp_path / "out", "--streaming", "--num", 3) == 0
    assert "exists already" in refused(dar, capsys, "data", folder, "--out", tmp_path / "out")
    assert dar("data", folder, "--out", tmp_path / "out", "--overwrite") == 0


def test_no_data(dar, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert "holds no images" in refused(dar, capsys, "data", tmp_path)
