"""Killed, terminated, torn, out of space: no run is lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dar.errors import DARError
from dar.storage import load_tensors
from dar.train.checkpoint import damage, newest_whole
from dar.train.loop import Outcome
from dar.train.run_folder import RunFolder
from dar.train.tokenizer import train_tokenizer
from tests.train.launching import command, environment, train
from tests.train.photos import small_recipe

EVERY_STEP = "tokenizer_training.checkpoint_minutes=1e-9"


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_tensors(out / "model" / "model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    assert all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


def wait_for_checkpoint(process: "subprocess.Popen[bytes]", out: Path, beside: set[Path]) -> None:
    deadline = time.monotonic() + 100
    while not set((out / "checkpoints").glob("step-*")) - beside:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_killed_it_ends_as_if_left_alone(photos: Path, tmp_path: Path, kills: int) -> None:
    options = ("tokenizer_training.steps=60", EVERY_STEP, "tokenizer_training.sample_steps=1000")
    train("tokenizer", photos, tmp_path / "whole", *options)
    rng, run = random.Random(0), tmp_path / "killed"
    for kill in range(kills):
        arguments = command("tokenizer", photos, run, *options, *(["--resume"] if kill else []))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(arguments, env=environment(), **quiet)
        wait_for_checkpoint(process, run, set((run / "checkpoints").glob("step-*")))
        time.sleep(rng.uniform(0, 0.2))
        assert process.poll() is None
        process.kill()
        process.wait()
    train("tokenizer", photos, run, *options, "--resume")
    assert_same_weights(tmp_path / "whole", run)
    assert not list((run / "checkpoints").glob(".*"))


def test_sigterm_saves_and_exits_with_0(photos: Path, tmp_path: Path) -> None:
    arguments = command("tokenizer", photos, tmp_path / "run", "tokenizer_training.steps=100000", EVERY_STEP)
    process = subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_for_checkpoint(process, tmp_path / "run", set())
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"pre-empted, with a checkpoint" in said
    assert not damage(RunFolder(tmp_path / "run").checkpoints()[-1])


def test_sigterm_to_all_processes_of_a_run_lets_it_read_on_to_its_checkpoint(photos: Path, tmp_path: Path) -> None:
    options = ("tokenizer_training.steps=100000", "tokenizer_training.gradient_accumulation=2", "data.workers=1")
    arguments = command("tokenizer", photos, tmp_path / "run", *options, EVERY_STEP)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(arguments, env=environment(), start_new_session=True, **quiet)
    wait_for_checkpoint(process, tmp_path / "run", set())
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    assert not damage(RunFolder(tmp_path / "run").checkpoints()[-1])


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "no manifest"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used(
    photos: Path, tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small_recipe(EVERY_STEP)
    train_tokenizer(recipe, photos, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    newest = run.checkpoints()[-1]
    file = newest / ("manifest.json" if harm == "no manifest" else "ema.safetensors")
    content = bytearray(file.read_bytes())
    content[-7] ^= 1
    if harm == "flip":
        file.write_bytes(content)
    elif harm == "truncate":
        file.write_bytes(content[:100])
    else:
        file.unlink()
    before = weights(run.path)
    assert train_tokenizer(recipe, photos, run.path, resume=True) is Outcome.FINISHED
    said = "".join(capsys.readouterr())
    assert "step-00000012 is damaged" in said
    assert "the one before is used" in said
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(run.path).items())
    assert not damage(run.checkpoint(12))
    assert [path.name[:21] for path in (run.path / "checkpoints").glob("damaged-*")] == ["damaged-step-00000012"]


def test_where_all_checkpoints_are_damaged_the_run_stops(photos: Path, tmp_path: Path) -> None:
    train_tokenizer(small_recipe(), photos, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    (run.checkpoints()[-1] / "state.json").write_text("{}")
    with pytest.raises(DARError, match=r"all checkpoints in .* are damaged: start again in another folder"):
        train_tokenizer(small_recipe(), photos, run.path, resume=True)


def test_a_full_disk_stops_the_run_and_keeps_the_last_checkpoint(photos: Path, tmp_path: Path) -> None:
    program = f"""
import resource, sys
from dar.cli import main
from dar.train import checkpoint
from dar.train.checkpoint import write_checkpoint
import dar.train.loop

def fill_up(path, *rest):
    if path.name == "step-00000003":
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
    write_checkpoint(path, *rest)

dar.train.loop.write_checkpoint = fill_up
sys.argv = {command("tokenizer", photos, tmp_path / "run", EVERY_STEP)[2:]!r}
main()
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert result.returncode == 2
    assert "cannot write" in result.stderr
    assert "Traceback" not in result.stderr
    run = RunFolder(tmp_path / "run")
    assert newest_whole(run) == run.checkpoint(2)
    train("tokenizer", photos, run.path, "tokenizer_training.steps=20", EVERY_STEP, "--resume")


def test_old_checkpoints_are_retired_but_for_those_to_keep(photos: Path, tmp_path: Path) -> None:
    settings = ("keep_checkpoints=3", "keep_every_steps=4")
    train_tokenizer(
        small_recipe(EVERY_STEP, *(f"tokenizer_training.{setting}" for setting in settings)), photos, tmp_path / "run"
    )
    kept = RunFolder(tmp_path / "run").checkpoints()
    assert [int(path.name.removeprefix("step-")) for path in kept] == [1, 4, 8, 10, 11, 12], (
        "the first: few steps followed"
    )
    state = json.loads((kept[1] / "state.json").read_text())
    assert state["step"] == 4
    assert state["recipe"]["keep_every_steps"] == 4
    assert state["versions"]["torch"] == torch.__version__


def test_a_tracker_that_fails_is_left_out(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "run" / "tensorboard"
    recipe = small_recipe("tokenizer_training.steps=6")
    train_tokenizer(recipe, photos, tmp_path / "run")
    blocked.write_text("in the way")
    longer = small_recipe()
    assert train_tokenizer(longer, photos, tmp_path / "run", resume=True, trackers=["tensorboard"]) is Outcome.FINISHED
    assert "the tracker tensorboard failed" in "".join(capsys.readouterr())


def test_a_tracker_gets_every_figure(photos: Path, tmp_path: Path) -> None:
    train_tokenizer(small_recipe(), photos, tmp_path / "run", trackers=["tensorboard"])
    events = b"".join(path.read_bytes() for path in (tmp_path / "run" / "tensorboard").rglob("events*"))
    for name in (b"loss_flow", b"codebook_usage", b"gradient_norm", b"images_per_second", b"psnr"):
        assert name in events


@pytest.mark.parametrize(("name", "complaint"), [("nothing", "there is no tracker"), ("wandb", "is not installed")])
def test_a_tracker_that_cannot_be_had_is_refused_at_the_start(
    photos: Path, tmp_path: Path, name: str, complaint: str
) -> None:
    with pytest.raises(DARError, match=complaint):
        train_tokenizer(small_recipe(), photos, tmp_path / "run", trackers=[name])
    assert not (tmp_path / "run").exists()


def test_the_run_folder_tells_what_was_run(photos: Path, tmp_path: Path) -> None:
    train("tokenizer", photos, tmp_path / "run", "tokenizer_training.steps=4")
    train("tokenizer", photos, tmp_path / "run", "tokenizer_training.steps=6", "--resume")
    first, second = map(json.loads, (tmp_path / "run" / "launches.jsonl").read_text().splitlines())
    assert "dar" in first["command"]
    assert "--resume" in second["command"]
    assert {"torch", "dar", "python"} <= first["versions"].keys()
    assert first["data"] == second["data"]
    assert first["hardware"]["cores"] == os.cpu_count()
    assert first["processes"] == 1
