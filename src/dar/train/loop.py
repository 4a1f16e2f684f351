"""The training loop, the same for both models."""

import random
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from dar.errors import DARError
from dar.train.ema import AveragedModel
from dar.train.plots import plot_log
from dar.train.recipe import TrainingRecipe
from dar.train.run_folder import Checkpoint, RunFolder

LOG_STEPS = 10


class Task(Protocol):
    """What is particular to training one kind of model.

    Attributes:
        model: the model in training.
        extra: tensors to keep in checkpoints; changed in place.
    """

    model: nn.Module
    extra: Mapping[str, Tensor]

    def batches(self, first: int, last: int) -> Iterator[Any]:
        """Batches of steps ``first`` to ``last`` (excluded), on the CPU."""

    def losses(self, model: nn.Module, batch: Any, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted terms of the loss, to be summed; randomness comes from ``generator`` alone."""

    def after_step(
        self, optimizer: torch.optim.Optimizer, averaged: nn.Module, step: int, generator: torch.Generator
    ) -> None:
        """Whatever must happen after an optimiser step."""

    def statistics(self) -> dict[str, float]:
        """Further figures for the log, since the last call."""

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        """Write a picture that shows how the averaged model does; return figures for the log."""

    def export(self, averaged: nn.Module, folder: Path) -> None:
        """Write the averaged model for ``from_pretrained``."""


def fit(task: Task, recipe: TrainingRecipe, run: RunFolder, *, resume: bool) -> bool:
    """Train from the start or from the newest checkpoint.

    Ctrl-C or SIGTERM finishes the step, saves a checkpoint and returns. Checkpoints are also written by time.

    Args:
        task: the model and all that is particular to it.
        recipe: steps, rates and so on.
        run: where everything goes.
        resume: whether to go on from the newest checkpoint in ``run``.

    Returns:
        Whether all steps are done; the model has then been exported.

    Raises:
        DARError: if the loss is no longer a finite number; the last good checkpoint stays.
    """
    accelerator = Accelerator()
    autocast = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=use_bf16(recipe.precision))
    task.model.to(accelerator.device).train()
    optimizer = make_optimizer(task.model, recipe)
    averaged = AveragedModel(task.model, recipe.ema_decay)
    checkpoint = Checkpoint(task.model, averaged, optimizer, task.extra)
    step, seconds_before = checkpoint.load(run.checkpoints()[-1]) if resume and run.checkpoints() else (0, 0.0)
    run.rewind_log(step)
    model = accelerator.prepare(torch.compile(task.model) if recipe.compile else task.model)

    started = saved = time.monotonic()
    log = _Log(run, recipe.batch_size)
    with _stop_requested() as stop, _progress(recipe, step) as bar:
        for batch in task.batches(step, recipe.steps):
            generator = step_generator(recipe.seed, step, accelerator.device)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(step)
            with autocast:
                losses = task.losses(model, batch, step, generator)
            total = torch.stack(list(losses.values())).sum()
            accelerator.backward(total)
            gradient_norm = accelerator.clip_grad_norm_(task.model.parameters(), recipe.gradient_clip)
            if not torch.isfinite(total.detach() + gradient_norm):
                raise DARError(_diverged(step, run))
            optimizer.step()
            optimizer.zero_grad()
            averaged.update(step)
            task.after_step(optimizer, averaged.model, step, generator)
            step += 1

            log.add(losses, gradient_norm)
            bar.update()
            if step % LOG_STEPS == 0 or step == recipe.steps:
                seconds = seconds_before + time.monotonic() - started
                entry = log.write(step, seconds, recipe.learning_rate_at(step - 1), task.statistics())
                bar.set_postfix_str(f"loss {entry['loss']:.4f}, {entry['images_per_second']:.0f} images/s")
            if step % recipe.sample_steps == 0 or step == recipe.steps:
                run.append_log({"step": step, **task.evaluate(averaged.model, run.picture(step))})
            due = time.monotonic() - saved > 60 * recipe.checkpoint_minutes
            stopping = stop()
            if due or stopping or step == recipe.steps:
                checkpoint.save(run, step, seconds_before + time.monotonic() - started)
                plot_log(run.read_log(), run.curves)
                saved = time.monotonic()
            if stopping:
                break
    if step < recipe.steps:
        return False
    task.export(averaged.model, run.model)
    return True


def use_bf16(precision: str) -> bool:
    """Whether to compute in bfloat16: as told, or for "auto" where the hardware has it."""
    if precision == "auto":
        if torch.cuda.is_available():
            return torch.cuda.is_bf16_supported()
        return bool(torch.cpu._is_avx512_bf16_supported())
    return precision == "bf16"


def make_optimizer(model: nn.Module, recipe: TrainingRecipe) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves vectors alone."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The randomness of one training step; dropout's global generators are seeded alike."""
    number = random.Random(f"{seed}/step {step}").getrandbits(63)
    torch.manual_seed(number)
    return torch.Generator(device).manual_seed(number)


class _Log:
    """Averages over the steps between two lines of the log."""

    def __init__(self, run: RunFolder, batch_size: int) -> None:
        self.run, self.batch_size = run, batch_size
        self._start()

    def _start(self) -> None:
        self.sums: dict[str, float] = {}
        self.count, self.since = 0, time.monotonic()

    def add(self, losses: dict[str, Tensor], gradient_norm: Any) -> None:
        terms = {f"loss_{name}": value.item() for name, value in losses.items()}
        for name, value in {**terms, "loss": sum(terms.values()), "gradient_norm": float(gradient_norm)}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def write(self, step: int, seconds: float, learning_rate: float, statistics: dict[str, float]) -> dict[str, Any]:
        entry = {
            "step": step,
            "images": step * self.batch_size,
            "seconds": round(seconds, 1),
            "learning_rate": learning_rate,
            **{name: total / self.count for name, total in self.sums.items()},
            "images_per_second": self.count * self.batch_size / (time.monotonic() - self.since),
            **statistics,
        }
        self.run.append_log(entry)
        self._start()
        return entry


def _progress(recipe: TrainingRecipe, step: int) -> "tqdm[Any]":
    return tqdm(total=recipe.steps, initial=step, unit="step", dynamic_ncols=True)


def _diverged(step: int, run: RunFolder) -> str:
    kept = run.checkpoints()
    remedy = "--resume it with a lower learning rate" if kept else "start again with a lower learning rate"
    where = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
    return f"the loss or gradient of step {step} is not a finite number and training stopped; {where}: {remedy}"


@contextmanager
def _stop_requested() -> Iterator[Any]:
    """A function that tells whether Ctrl-C or SIGTERM came; a second one interrupts at once."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        tqdm.write("stopping after this step, with a checkpoint")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
