import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from dar.errors import DARError
from dar.locking import LOCK, owned
from dar.train.loop import Outcome
from dar.train.run_folder import RunFolder
from dar.train.tokenizer import train_tokenizer
from tests.train.launching import command, environment
from tests.train.photos import small_recipe

BRIEF = ("tokenizer_training.steps=3", "tokenizer_training.continuous_steps=1")


def test_existing_run_is_never_overwritten(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_text("precious")
    with pytest.raises(DARError, match="not empty"):
        train_tokenizer(small_recipe(), photos, run)
    assert (run / "log.jsonl").read_text() == "precious"


@pytest.mark.parametrize("change", ["tokenizer.codebook_size=32", "tokenizer_training.seed=1", "data.flip=false"])
def test_resuming_with_other_sizes_seed_or_data_is_refused(photos: Path, tmp_path: Path, change: str) -> None:
    train_tokenizer(small_recipe("tokenizer_training.steps=6"), photos, tmp_path / "run")
    before = (tmp_path / "run" / "recipe.yaml").read_text()
    with pytest.raises(DARError, match=f"another {change.split('=')[0]}"):
        train_tokenizer(small_recipe(change), photos, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "recipe.yaml").read_text() == before


def test_there_must_be_a_run_to_resume(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("precious")
    with pytest.raises(DARError, match="holds no run to resume"):
        train_tokenizer(small_recipe(), photos, tmp_path, resume=True)
    assert (tmp_path / "log.jsonl").read_text() == "precious"


def test_two_runs_on_one_folder_keep_out_of_each_others_way(photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    frequent = "tokenizer_training.checkpoint_minutes=1e-9"
    arguments = command("tokenizer", photos, run, "tokenizer_training.steps=100000", frequent)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(arguments, env=environment(), **quiet)
    try:
        deadline = time.monotonic() + 100
        while not RunFolder(run).checkpoints():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for resume in (True, False):
            with pytest.raises(DARError, match=rf"is in use by process {process.pid}|is not empty"):
                train_tokenizer(small_recipe(), photos, run, resume=resume)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (run / LOCK).exists()
    with owned(run):
        assert str(os.getpid()) in (run / LOCK).read_text()


def test_a_kill_right_after_the_recipe_leaves_a_run_to_resume(photos: Path, tmp_path: Path) -> None:
    recipe = small_recipe(*BRIEF)
    train_tokenizer(recipe, photos, tmp_path / "whole")
    run = RunFolder(tmp_path / "run")
    (run.path / "samples").mkdir(parents=True)
    run.recipe.write_bytes((tmp_path / "whole" / "recipe.yaml").read_bytes())
    with pytest.raises(DARError, match="is not empty: choose another folder, or --resume"):
        run.check(resume=False)
    assert train_tokenizer(recipe, photos, run.path, resume=True) is Outcome.FINISHED


def test_a_batch_that_cannot_be_divided_is_refused_before_the_data_is_opened(tmp_path: Path) -> None:
    recipe = small_recipe("tokenizer_training.gradient_accumulation=3", "tokenizer_training.batch_size=8")
    with pytest.raises(DARError, match="make batch_size a multiple of 3"):
        train_tokenizer(recipe, tmp_path / "nowhere", tmp_path / "run")
    assert not (tmp_path / "run").exists()
