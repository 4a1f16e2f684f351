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
