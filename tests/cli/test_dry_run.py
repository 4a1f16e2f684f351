"""``--dry-run`` tells what a training would take, of this machine and of others, and writes nothing."""

from pathlib import Path

import pytest

from tests.cli.test_cli import refused
from tests.train.photos import photo_folder

TRAININGS = {
    "tokenizer": ["--recipe", "debug"],
    "prior": ["--recipe", "debug", "--tokenizer", "a tokenizer that is yet to be trained"],
    "classifier": ["--recipe", "classifier-cifar10"],
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(params=TRAININGS)
def dry_run(request: pytest.FixtureRequest, photos: Path, tmp_path: Path) -> list[str | Path]:
    name: str = request.param
    return ["train", name, *TRAININGS[name], "--data", photos, "--out", tmp_path / "run", "--dry-run"]


def test_it_tells_what_was_found_and_what_it_takes_here(
    dar, dry_run: list[str | Path], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dar(*dry_run, "--validation", photos) == 0
    found, held_out, *told = capsys.readouterr().out.splitlines()
    for line in (found, held_out):
        assert "photos: 12 images of 2 classes (bright, dark)" in line
    assert [line.split()[0] for line in told] == ["parameters", "memory", "operations", "time"]
    assert "1 process on" in told[-1]
    assert "(measured now)" in told[-1]
    assert not list(tmp_path.iterdir())


def test_it_tells_what_it_takes_elsewhere(
    dar, dry_run: list[str | Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dar(*dry_run, "--on", "h100x8") == 0
    _, *told = capsys.readouterr().out.splitlines()
    assert "there are 80 GB" in told[1]
    assert told[3].startswith("time         an estimate: about ")
    assert "8 processes on H100" in told[3]
    assert "(as published)" in told[3]
    assert not list(tmp_path.iterdir())


def test_a_training_runs_here_alone(
    dar, dry_run: list[str | Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = [argument for argument in dry_run if argument != "--dry-run"]
    assert "--on goes with --dry-run" in refused(dar, capsys, *training, "--on", "h100x8")
    assert not list(tmp_path.iterdir())
