"""The log of a training: lines of JSON always, and trackers if asked for."""

import math
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from torch import Tensor

from dar.progress import say
from dar.train.distributed import Distributed
from dar.train.run_folder import RunFolder


class TrainingLog:
    """Averages over the steps between two lines of the log.

    Args:
        run: the folder whose ``log.jsonl`` gets the lines.
        batch_size: images a step.
        distributed: the processes, each of which adds its part of every loss.
        trackers: where the lines also go.
    """

    def __init__(self, run: RunFolder, batch_size: int, distributed: Distributed, trackers: "Trackers") -> None:
        self.run, self.batch_size, self.distributed, self.trackers = run, batch_size, distributed, trackers
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self._since, self._steps_since = time.monotonic(), 0

    def add(self, losses: Mapping[str, Tensor], gradient_norm: Tensor) -> None:
        """Take in one step: this process's part of each loss, and the norm of the whole gradient."""
        parts = {f"loss_{name}": value.detach() for name, value in losses.items()}
        parts |= {
            "loss": torch.stack(list(parts.values())).sum(),
            "gradient_norm": gradient_norm / self.distributed.world_size,
        }
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, torch.zeros_like(value)) + value
            self.counts[name] = self.counts.get(name, 0) + 1
        self._steps_since += 1

    def write(self, step: int, seconds: float, learning_rate: float, statistics: Mapping[str, float]) -> dict[str, Any]:
        """Write a line after ``step`` steps; all processes call this, the main one writes.

        Raises:
            DARError: if it cannot be written.
        """
        names = sorted(self.sums)  # terms may come and go, but with the step: they are the same everywhere
        totals = self.distributed.all_reduce_sum(torch.stack([self.sums[name].double() for name in names]))
        counts = [self.counts[name] for name in names]
        entry = {
            "step": step,
            "images": step * self.batch_size,
            "seconds": round(seconds, 1),
            "learning_rate": learning_rate,
            **{name: total / count for name, total, count in zip(names, totals.tolist(), counts, strict=True)},
            "images_per_second": self._steps_since * self.batch_size / (time.monotonic() - self._since),
            "memory_gb": round(peak_memory(self.distributed.device) / 1e9, 3),
            **statistics,
        }
        self.note(entry)
        self.sums, self.counts, self._steps_since, self._since = {}, {}, 0, time.monotonic()
        return entry

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what the block takes, such as drawing pictures, out of ``images_per_second``."""
        start = time.monotonic()
        yield
        self._since += time.monotonic() - start

    def note(self, entry: dict[str, Any]) -> None:
        """Write the main process's line as it is; all call this."""
        self.distributed.on_main(lambda: self._note(entry))

    def _note(self, entry: dict[str, Any]) -> None:
        self.run.append_log(entry)
        self.trackers.log(entry)

    def state(self) -> dict[str, Any]:
        """Return the sums so far, for a checkpoint; all processes call this."""
        sums = {name: self.distributed.all_reduce_sum(value).item() for name, value in self.sums.items()}
        return {"counts": self.counts, "sums": sums}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's ``state``."""
        device, size = self.distributed.device, self.distributed.world_size
        self.counts = dict(state["counts"])
        self.sums = {name: torch.tensor(total / size, device=device) for name, total in state["sums"].items()}


class Trackers:
    """Sends metrics to TensorBoard or Weights & Biases, through accelerate; one that fails is dropped with a warning.

    Args:
        names: of ``dar.extras.TRACKERS``, as ``check_trackers`` lets them pass.
        folder: where the run is; its name is the run's.
    """

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self._active: list[GeneralTracker] = []
        for name in names:
            self._try(name, lambda name=name: self._start(name, folder))

    def log(self, entry: Mapping[str, Any]) -> None:
        """Send the numbers of a line of the log."""
        values = {name: value for name, value in entry.items() if isinstance(value, int | float)}
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for tracker in list(self._active):
            self._try(tracker.name, lambda tracker=tracker: tracker.log(finite, step=entry["step"]), tracker)

    def finish(self) -> None:
        """Send what is waiting."""
        for tracker in list(self._active):
            self._try(tracker.name, tracker.finish, tracker)

    def _start(self, name: str, folder: Path) -> None:
        kind = LOGGER_TYPE_TO_CLASS[name]
        where = {"logging_dir": str(folder / name)} if kind.requires_logging_directory else {}
        tracker = kind(run_name=folder.name, **where)
        tracker.start()
        self._active.append(tracker)

    def _try(self, name: str, action: Any, tracker: GeneralTracker | None = None) -> None:
        try:
            action()
        except Exception as error:  # a tracker raises whatever its network and its disk raise
            say(f"the tracker {name} failed ({error}) and is left out; log.jsonl has everything")
            if tracker in self._active:
                self._active.remove(tracker)


def peak_memory(device: torch.device) -> int:
    """Measure the peak memory of this process in bytes: on the GPU if it computes there, else in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
