"""How threads that wait for each other fare where other processes keep cores busy, by how they wait.

    python benchmarks/busy_machine.py

Each setting computes in a process of its own, in turn with the others and several times, alone and beside processes
that keep all cores but one busy. The best of the times counts: others may be at work on the machine too.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

SETTINGS = {
    "as PyTorch comes": {},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "GOMP_SPINCOUNT=1000 (what dar sets)": {"GOMP_SPINCOUNT": "1000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}

WORKER = """
import json, time
import torch
from dar import DARPipeline

def best(action, repeats):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)

size = 1024
left, right = torch.randn(2, size, size)
left @ right
rate = 2 * size**3 / best(lambda: left @ right, 10) / 1e9
pipe = DARPipeline.from_pretrained()
pipe(["ship"])
one, many = best(lambda: pipe(["ship"]), 5), best(lambda: pipe(["ship"] * 16), 2)
print(json.dumps({"GFLOP/s": rate, "one image, s": one, "16 images, s": many}))
"""
HIGHER_IS_BETTER = {"GFLOP/s"}


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep cores busy within the block."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measured(setting: dict[str, str]) -> dict[str, float]:
    """One process's times."""
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    result = subprocess.run([sys.executable, "-c", WORKER], env=clean | setting, capture_output=True, check=True)
    return json.loads(result.stdout)


def better(name: str, one: float, other: float) -> float:
    return max(one, other) if name in HIGHER_IS_BETTER else min(one, other)


def line(name: str, others: int, times: dict[str, float]) -> str:
    return f"{others} cores busy, {name}: " + ", ".join(f"{key} {value:.3g}" for key, value in times.items())


def main(repeats: Annotated[int, typer.Option(help="The best of so many counts.")] = 3) -> None:
    """Measure, and print a table."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for _ in range(repeats):
        for others in (0, (os.cpu_count() or 2) - 1):
            for name, setting in SETTINGS.items():
                with busy(others):
                    times = measured(setting)
                before = found.setdefault((name, others), times)
                found[name, others] = {key: better(key, before[key], value) for key, value in times.items()}
                typer.echo(line(name, others, times), err=True)
    for (name, others), times in found.items():
        typer.echo(line(name, others, times))


if __name__ == "__main__":
    typer.run(main)
