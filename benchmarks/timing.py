"""Times of repeated runs, and their spread."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypedDict

import torch


class Spread(TypedDict):
    """Median, least and largest of several runs, and the runs themselves in their order."""

    median: float
    min: float
    max: float
    runs: list[float]


def spread(runs: Sequence[float]) -> Spread:
    return {"median": statistics.median(runs), "min": min(runs), "max": max(runs), "runs": list(runs)}


def wait(device: torch.device) -> None:
    """Wait until a GPU has computed all that it was told to; a CPU has already."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(action: Callable[[], object], device: torch.device) -> float:
    wait(device)
    start = time.perf_counter()
    action()
    wait(device)
    return time.perf_counter() - start


def repeated(action: Callable[[], object], device: torch.device, budget: float) -> list[float]:
    """Seconds of each run, after one that is not counted: for so many seconds in all, at least 2 runs."""
    action()
    runs: list[float] = []
    while len(runs) < 2 or sum(runs) < budget:
        runs.append(seconds(action, device))
    return runs
