"""The loop on a task small enough to see through: a line fitted to noisy points."""

import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dar.data import MicroBatches
from dar.errors import DARError
from dar.storage import load_tensors
from dar.train import run_folder
from dar.train.distributed import Distributed
from dar.train.loop import Outcome, fit
from dar.train.recipe import TrainingRecipe
from dar.train.run_folder import RunFolder, step_of
from dar.train.task import Task

RECIPE = TrainingRecipe(
    steps=20, batch_size=4, learning_rate=0.1, warmup_steps=3, decay_steps=5, precision="fp32", sample_steps=10
)


class LineTask(Task):
    """y = 3x - 1, seen through noise; ``before_step`` may interfere."""

    recomputed = ()

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1)
        self.extra = {"seen": torch.zeros(1, dtype=torch.int64)}

    def before_step(self, step: int) -> float:
        return 1.0

    def batches(self, first: int, last: int, micro_batches: MicroBatches) -> Iterator[Tensor]:
        for step in range(first, last):
            for positions in micro_batches.positions(RECIPE.batch_size, 0):
                yield torch.tensor(positions, dtype=torch.float32)[:, None] + step % 3

    def shard_units(self, model: nn.Module) -> list[nn.Module]:
        return []

    def losses(
        self, model: nn.Module, batch: Tensor, step: int, rows: range, generator: torch.Generator
    ) -> dict[str, Tensor]:
        self.extra["seen"] += len(batch)
        noise = torch.randn(RECIPE.batch_size, 1, generator=generator)[rows.start : rows.stop]
        error = (model(batch) - (3 * batch - 1) - 0.1 * noise).square()
        return {"square": self.before_step(step) * error.sum() / RECIPE.batch_size}

    def after_step(
        self, optimizer: torch.optim.Optimizer, averaged: nn.Module, step: int, generator: torch.Generator
    ) -> None:
        pass

    def statistics(self) -> dict[str, float]:
        return {"weight": self.model.weight.item()}

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        picture.touch()
        return {"averaged_weight": averaged.weight.item()}

    def export(self, averaged: nn.Module, folder: Path, distributed: Distributed) -> None:
        folder.mkdir(exist_ok=True)


def new_run(path: Path) -> RunFolder:
    run = RunFolder(path)
    run.create()
    return run


def final_tensors(run: RunFolder) -> dict[str, Tensor]:
    newest = run.checkpoints()[-1]
    names = ("model", "ema", "optimizer", "task")
    return {
        f"{name}/{key}": value for name in names for key, value in load_tensors(newest / f"{name}.safetensors").items()
    }


def test_it_learns_and_leaves_all_it_promises(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    assert fit(LineTask(), dataclasses.replace(RECIPE, steps=200), run, Distributed(), resume=False) is Outcome.FINISHED
    log = run.read_log()
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[-1] < 0.1 * losses[0]
    assert log[-1] == {"step": 200, "averaged_weight": pytest.approx(3, abs=0.3)}
    assert {"step", "images", "seconds", "learning_rate", "gradient_norm", "images_per_second", "weight"} <= log[
        0
    ].keys()
    assert run.curves.read_bytes().startswith(b"\x89PNG")
    assert run.model.is_dir()
    assert run.picture(10).exists()


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    class Interrupted(LineTask):
        def before_step(self, step: int) -> float:
            if step == 7:
                os.kill(os.getpid(), signal.SIGINT)
            return 1.0

    whole, parts = new_run(tmp_path / "whole"), new_run(tmp_path / "parts")
    assert fit(LineTask(), RECIPE, whole, Distributed(), resume=False) is Outcome.FINISHED
    assert fit(Interrupted(), RECIPE, parts, Distributed(), resume=False) is Outcome.INTERRUPTED
    assert [folder.name for folder in parts.checkpoints()] == ["step-00000008"]
    assert not parts.model.exists()
    assert fit(LineTask(), RECIPE, parts, Distributed(), resume=True) is Outcome.FINISHED
    expected, found = final_tensors(whole), final_tensors(parts)
    assert expected.keys() == found.keys()
    for name in expected:
        assert torch.equal(expected[name], found[name]), name


def test_sigterm_saves_too(tmp_path: Path) -> None:
    class Terminated(LineTask):
        def before_step(self, step: int) -> float:
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return 1.0

    before = signal.getsignal(signal.SIGTERM)
    run = new_run(tmp_path / "run")
    assert fit(Terminated(), RECIPE, run, Distributed(), resume=False) is Outcome.PREEMPTED
    assert len(run.checkpoints()) == 1
    assert signal.getsignal(signal.SIGTERM) is before


class Spoilt(LineTask):
    """A step that is still finite spoils the weights, so that the next loss is not."""

    def __init__(self, spoilt_at: int) -> None:
        super().__init__()
        self.spoilt_at = spoilt_at

    def after_step(
        self, optimizer: torch.optim.Optimizer, averaged: nn.Module, step: int, generator: torch.Generator
    ) -> None:
        if step == self.spoilt_at:
            with torch.no_grad():
                self.model.weight.fill_(1e30)


FREQUENT = dataclasses.replace(RECIPE, checkpoint_minutes=1e-9, sample_steps=1000)


def test_nan_loss_stops_and_keeps_a_good_checkpoint(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    with pytest.raises(DARError, match=r"step 12 .*step-00000001 is the last .* good, with 11 finite steps after it"):
        fit(Spoilt(11), FREQUENT, run, Distributed(), resume=False)
    assert [path.name for path in run.checkpoints()] == ["step-00000001"]
    assert len(list((run.path / "checkpoints").glob("diverged-step-*"))) == 2  # older ones are removed


@pytest.mark.parametrize("keep", [1, 2])
def test_a_diverged_run_goes_on_from_before_the_step_that_spoilt_it(
    tmp_path: Path, keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "PROVEN_STEPS", 5)
    run = new_run(tmp_path / "run")
    longer = dataclasses.replace(FREQUENT, keep_checkpoints=keep)
    for resume in (False, True):
        with pytest.raises(DARError, match=r"step 16 .*step-000000(0[5-9]|1[01]) is the last .* good"):
            fit(Spoilt(15), longer, run, Distributed(), resume=resume)
    assert fit(LineTask(), longer, run, Distributed(), resume=True) is Outcome.FINISHED


def test_divergence_at_once_leaves_nothing_to_resume(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    with pytest.raises(DARError, match=r"step 1 .* no checkpoint was followed by finite steps: start again"):
        fit(Spoilt(0), FREQUENT, run, Distributed(), resume=False)
    assert not run.checkpoints()


def test_few_checkpoints_are_kept_beside_the_newest(tmp_path: Path) -> None:
    run, most = new_run(tmp_path / "run"), 0
    for step in range(1, 300):
        run.checkpoint(step).mkdir(parents=True)
        run.retire_checkpoints(2, every=0)
        most = max(most, len(run.checkpoints()))
        assert step <= 50 or any(50 <= step - step_of(path) <= 150 for path in run.checkpoints())
    assert most <= 4
    run.checkpoint(1000).mkdir()
    run.retire_checkpoints(2, every=0)
    assert [step_of(path) for path in run.checkpoints()] == [299, 1000], "far apart, none is needed beside them"


def test_images_per_second_leave_pictures_out(tmp_path: Path) -> None:
    class Slow(LineTask):
        def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
            time.sleep(3)
            return {}

    run = new_run(tmp_path / "run")
    fit(Slow(), dataclasses.replace(RECIPE, steps=20), run, Distributed(), resume=False)
    rates = [entry["images_per_second"] for entry in run.read_log() if "loss" in entry]
    assert rates[1] > 10 * RECIPE.batch_size / 3, "10 steps and a picture take 3 seconds"


def test_an_infinite_gradient_never_reaches_the_weights(tmp_path: Path) -> None:
    class Steep(LineTask):
        def before_step(self, step: int) -> float:
            if step == RECIPE.steps - 1:
                self.model.weight.register_hook(lambda gradient: gradient * float("inf"))
            return 1.0

    run = new_run(tmp_path / "run")
    with pytest.raises(DARError, match="gradient of step 19"):
        fit(Steep(), dataclasses.replace(RECIPE, checkpoint_minutes=1e-9), run, Distributed(), resume=False)
    assert all(tensor.isfinite().all() for tensor in final_tensors(run).values())
    assert not run.model.exists()


def test_precision_may_change_within_a_process(tmp_path: Path) -> None:
    for precision in ("bf16", "fp32"):
        run = new_run(tmp_path / precision)
        assert (
            fit(LineTask(), dataclasses.replace(RECIPE, precision=precision), run, Distributed(), resume=False)
            is Outcome.FINISHED
        )


def test_resuming_forgets_what_was_logged_after_the_checkpoint(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    fit(LineTask(), RECIPE, run, Distributed(), resume=False)
    run.append_log({"step": 30, "loss": 1.0})
    with run.log.open("a") as file:
        file.write('{"step": 31, "lo')  # torn by a crash
    fit(LineTask(), dataclasses.replace(RECIPE, steps=40), run, Distributed(), resume=True)
    steps = [entry["step"] for entry in run.read_log() if "loss" in entry]
    assert steps == [10, 20, 30, 40]


def test_a_folder_with_anything_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(DARError, match="not empty"):
        RunFolder(tmp_path).create()
    (tmp_path / "file").touch()
    with pytest.raises(DARError, match="cannot write"):
        RunFolder(tmp_path / "file" / "run").create()
