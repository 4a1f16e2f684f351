"""The training loop, the same for all models, for one process and for many."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dar.checks import real_number, whole_number
from dar.data import MicroBatches
from dar.device import full_tensor, use_bf16
from dar.environment import versions
from dar.errors import DARError
from dar.progress import progress_bar, say
from dar.randomness import derived_seed, step_generator
from dar.train.checkpoint import newest_whole, read_part, read_state, tensor_names, write_checkpoint
from dar.train.distributed import Distributed, recompute_activations
from dar.train.ema import AveragedModel
from dar.train.interruption import stop_requested
from dar.train.log import Trackers, TrainingLog
from dar.train.log_panels import plot_log
from dar.train.optimizer import make_optimizer
from dar.train.recipe import TrainingRecipe
from dar.train.run_folder import RunFolder
from dar.train.task import Task

LOG_STEPS = 10


class Outcome(Enum):
    """How a training ended."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    """By Ctrl-C; there is a checkpoint."""
    PREEMPTED = "pre-empted"
    """By SIGTERM; there is a checkpoint."""


def fit(
    task: Task,
    recipe: TrainingRecipe,
    run: RunFolder,
    distributed: Distributed,
    *,
    resume: bool,
    trackers: Sequence[str] = (),
) -> Outcome:
    """Train from the start or from the newest whole checkpoint.

    Ctrl-C or SIGTERM finishes the step, saves a checkpoint and returns. Checkpoints are also written by time.

    Args:
        task: the model and all that is particular to it.
        recipe: steps, rates and so on.
        run: where everything goes.
        distributed: the processes that train together; each calls this.
        resume: whether to go on from the newest checkpoint in ``run``.
        trackers: where the log also goes; see ``dar.train.log.Trackers``.

    Returns:
        How it ended. When all steps are done, the model has been exported.

    Raises:
        DARError: if the gradient is no longer finite (it names a checkpoint that is good, where there is one), data
            cannot be read, no checkpoint is whole, or something cannot be written.
    """
    outcome = _Training(task, recipe, run, distributed, trackers).run(resume=resume)
    distributed.shutdown()
    return outcome


class _Training:
    """A training in progress."""

    def __init__(
        self, task: Task, recipe: TrainingRecipe, run: RunFolder, distributed: Distributed, trackers: Sequence[str] = ()
    ) -> None:
        self.task, self.recipe, self.folder, self.distributed = task, recipe, run, distributed
        bf16 = use_bf16(recipe.precision)
        self.autocast: Callable[[], AbstractContextManager[Any]] = lambda: torch.autocast(
            distributed.device.type, torch.bfloat16, enabled=bf16
        )
        task.model.to(distributed.device).train()
        self.averaged = AveragedModel(task.model, recipe.ema_decay)
        sharded = list(task.shard_units(task.model))
        if sharded:
            distributed.shard(sharded)
            distributed.shard(task.shard_units(self.averaged.model))
        self.optimizer = make_optimizer(task.model, recipe)
        if recipe.recompute_activations:
            recompute_activations(task.model, task.recomputed)
        compiled: Any = torch.compile(task.model) if recipe.compile else task.model
        self.model: nn.Module = compiled if sharded else distributed.replicate(compiled)
        self.sharded = bool(sharded) and distributed.world_size > 1
        self.trackers = Trackers(trackers if distributed.is_main else (), run.path)
        self.log = TrainingLog(run, recipe.batch_size, distributed, self.trackers)
        self.step, self.seconds_before = 0, 0.0
        self.started = self.saved = time.monotonic()

    def run(self, *, resume: bool) -> Outcome:
        if resume:
            self._resume()
        self.distributed.on_main(lambda: self.folder.rewind_log(self.step))
        first = self.step
        micro_batches = self.distributed.micro_batches(self.recipe.gradient_accumulation)
        batches = self.task.batches(first, self.recipe.steps, micro_batches)
        with stop_requested() as stop, _progress(self.recipe, first, shown=self.distributed.is_main) as bar:
            while self.step < self.recipe.steps:
                self._take_step(batches, micro_batches)
                self._report(bar)
                interrupted, preempted, due = self.distributed.any(stop.interrupted, stop.preempted, self._is_due())
                if (interrupted or preempted) and self.distributed.is_main:
                    say("stopping, with a checkpoint")
                if interrupted or preempted or due or self.step == self.recipe.steps:
                    with self.log.paused():
                        self._save()
                if (interrupted or preempted) and self.step < self.recipe.steps:
                    self.trackers.finish()
                    return Outcome.INTERRUPTED if interrupted else Outcome.PREEMPTED
        self.task.export(self.averaged.model, self.folder.model, self.distributed)
        self.trackers.finish()
        return Outcome.FINISHED

    def _take_step(self, batches: Iterator[Any], micro_batches: MicroBatches) -> None:
        """Compute gradients of all micro-batches, take one optimiser step, and do what follows it."""
        step, recipe, parameters = self.step, self.recipe, list(self.task.model.parameters())
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(step)
        sums: dict[str, Tensor] = {}
        places = micro_batches.positions(recipe.batch_size, 0)
        for i, rows in enumerate(places):
            generator = step_generator(recipe.seed, step, self.distributed.device)
            torch.manual_seed(derived_seed(recipe.seed, "dropout", step, rows.start))
            last = i == len(places) - 1
            with self.distributed.accumulate(self.model, last=last):
                with self.autocast():
                    losses = self.task.losses(self.model, next(batches), step, rows, generator)
                # Gradients are averaged over the processes, while the parts of the loss add up.
                (self.distributed.world_size * torch.stack(list(losses.values())).sum()).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()
        norm = full_tensor(nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip))
        if not torch.isfinite(norm):
            raise DARError(self.distributed.on_main(lambda: _diverged(step, self.folder)))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.averaged.update(step)
        generator = step_generator(recipe.seed, step, self.distributed.device, "after")
        self.task.after_step(self.optimizer, self.averaged.model, step, generator)
        self.log.add(sums, norm)
        self.step += 1

    def _report(self, bar: "tqdm[Any]") -> None:
        step, last = self.step, self.step == self.recipe.steps
        bar.update()
        if step % LOG_STEPS == 0 or last:
            rate = self.recipe.learning_rate_at(step - 1)
            entry = self.log.write(step, self._seconds(), rate, self.task.statistics())
            bar.set_postfix_str(f"loss {entry['loss']:.4f}, {entry['images_per_second']:.0f} images/s")
        if step % self.recipe.sample_steps == 0 or last:
            with self.log.paused():
                # Where the model is sharded, all take part.
                figures = self._evaluate() if self.sharded else self.distributed.on_main(self._evaluate)
                self.log.note({"step": step, **figures})
                self.distributed.on_main(lambda: plot_log(self.folder.read_log(), self.folder.curves))

    def _evaluate(self) -> dict[str, float]:
        return self.task.evaluate(self.averaged.model, self.folder.picture(self.step))

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _is_due(self) -> bool:
        return time.monotonic() - self.saved > 60 * self.recipe.checkpoint_minutes

    def _save(self) -> None:
        path = self.folder.checkpoint(self.step)
        state = {
            "step": self.step,
            "seconds": self._seconds(),
            "log": self.log.state(),
            "recipe": asdict(self.recipe),
            "versions": versions(),
        }
        write_checkpoint(path, self._parts(), state, self.distributed)
        self.saved = time.monotonic()
        keep = self.recipe.keep_checkpoints, self.recipe.keep_every_steps
        self.distributed.on_main(lambda: self.folder.retire_checkpoints(*keep))

    def _resume(self) -> None:
        path = self.distributed.on_main(lambda: newest_whole(self.folder))
        if path is None:
            return
        names = tensor_names(path, "optimizer")
        for part, tensors in (self._parts() | {"optimizer": self._blank_moments(names)}).items():
            read_part(path, part, tensors)
        state = read_state(path)
        try:
            self.step, self.seconds_before = (
                whole_number("step", state["step"]),
                real_number("seconds", state["seconds"]),
            )
            self.log.restore(state["log"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DARError(f"{path} does not tell how far training was ({error!r}): remove this checkpoint") from error

    def _parts(self) -> dict[str, Mapping[str, Tensor]]:
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.task.model.named_parameters()}
        moments = {
            f"{names[parameter]}/{key}": value
            for parameter, values in self.optimizer.state.items()
            for key, value in values.items()
        }
        return {
            "model": self.task.model.state_dict(),
            "ema": self.averaged.model.state_dict(),
            "optimizer": moments,
            "task": self.task.extra,
        }

    def _blank_moments(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Allocate the optimiser's moments of each parameter."""
        parameters = dict(self.task.model.named_parameters())
        found: dict[str, Tensor] = {}
        for path in names:
            name, key = path.rsplit("/", 1)
            if name not in parameters:
                raise DARError(f"the checkpoint has moments of {name}, which this training has not")
            parameter = parameters[name].detach()
            blank = torch.zeros((), device=self.distributed.device) if key == "step" else torch.zeros_like(parameter)
            self.optimizer.state[parameters[name]][key] = found[path] = blank
        return found


def _progress(recipe: TrainingRecipe, step: int, *, shown: bool) -> "tqdm[Any]":
    return progress_bar(recipe.steps, "step", initial=step, shown=shown)


def _diverged(step: int, run: RunFolder) -> str:
    """Explain that a training diverged; checkpoints that are bad already are put aside."""
    good = run.put_aside_after(step)
    if good is None:
        then = "no checkpoint was followed by finite steps: start again with a lower learning rate"
    else:
        then = (
            f"{good[0]} is the last checkpoint that is good, with {good[1]} finite steps after it: --resume goes on "
            "from there, with a lower learning rate"
        )
    return f"the loss or gradient of step {step} is not a finite number and training stopped; {then}"
