"""Runs that begin, go on, and keep out of each other's way."""

from pathlib import Path

import pytest

from dar.errors import DARError
from dar.locking import LOCK
from dar.train.loop import Outcome
from dar.train.run_folder import RunFolder, append_line, read_lines
from dar.train.tokenizer import train_tokenizer
from tests.train.photos import small_recipe

BRIEF = ("tokenizer_training.steps=3", "tokenizer_training.continuous_steps=1")


@pytest.mark.parametrize("left", [[], ["samples"], ["samples", LOCK, ".recipe.yaml.abc"]])
def test_a_kill_at_the_very_beginning_leaves_a_folder_that_a_run_can_begin_in(
    photos: Path, tmp_path: Path, left: list[str]
) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    for name in left:
        (run.path / name).touch() if name == LOCK else (run.path / name).mkdir()
    with pytest.raises(DARError, match="holds no run to resume"):
        run.check(resume=True)
    recipe = small_recipe(*BRIEF)
    assert train_tokenizer(recipe, photos, run.path) is Outcome.FINISHED


@pytest.mark.parametrize("name", ["precious.txt", "samples/step-00000001.png", "model/config.json"])
def test_what_is_not_a_beginning_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(DARError, match="is not empty"):
        RunFolder(tmp_path).check(resume=False)


def test_a_line_after_a_torn_one_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "launches.jsonl"
    append_line(path, {"start": 1})
    with path.open("a") as file:
        file.write('{"start": 2, "ver')  # torn by a crash
    append_line(path, {"start": 3})
    append_line(path, {"start": 4})
    assert read_lines(path) == [{"start": 1}, {"start": 3}, {"start": 4}]


HOSTILE = b'null\n[]\n3\n"x"\n\xff\xfe\n{}\n{"step": null}\n{"step": [1], "loss": 1}\n{"step": 1, "loss": {}}\n'
DEEP = 100_000 * b"[" + b"\n" + 300 * b'{"step":' + b"1" + 300 * b"}" + b"\n" + b'{"step": ' + 5000 * b"9" + b"}\n"


def test_odd_lines_of_log_and_launches_keep_no_run_from_going_on(photos: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert train_tokenizer(small_recipe(*BRIEF), photos, run.path) is Outcome.FINISHED
    for path in (run.log, run.launches):
        path.write_bytes(HOSTILE + DEEP + path.read_bytes())
    longer = small_recipe(*BRIEF, "tokenizer_training.steps=4")
    assert train_tokenizer(longer, photos, run.path, resume=True) is Outcome.FINISHED
    assert [entry["step"] for entry in run.read_log() if "images" in entry][-1] == 4
