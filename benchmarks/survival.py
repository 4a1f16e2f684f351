"""Kill a training over and over, and see whether it ends with the same weights as one that was left alone.

    python benchmarks/survival.py --data photos/ --kills 20
    python benchmarks/survival.py --data photos/ --kills 20 --processes 2

SIGKILL comes at random moments. The debug recipe writes a checkpoint after every step here, so many kills hit one.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

SETTINGS = ("tokenizer_training.checkpoint_minutes=1e-9", "tokenizer_training.sample_steps=1000")


def start(data: Path, out: Path, steps: int, processes: int, *options: str) -> "subprocess.Popen[bytes]":
    """One launch, in a process group of its own."""
    launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, "-m", "dar", "train", "tokenizer", "--recipe", "debug", "--data", str(data)]
    command += ["--out", str(out), f"tokenizer_training.steps={steps}", *SETTINGS, *options]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, **quiet)


def steps_done(out: Path) -> int:
    names = [path.name for path in (out / "checkpoints").glob("step-*")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def kill_after_a_while(process: "subprocess.Popen[bytes]", out: Path, seconds: float) -> bool:
    """Wait until the run makes progress, then some more, then kill it; whether it was still running."""
    before = steps_done(out)
    while process.poll() is None and steps_done(out) == before:
        time.sleep(0.02)
    time.sleep(seconds)
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def main(
    data: Annotated[Path, typer.Option(help="Images to train on.")],
    kills: Annotated[int, typer.Option(help="How often to kill.")] = 20,
    processes: Annotated[int, typer.Option(help="Processes that train together.")] = 1,
    steps: Annotated[int, typer.Option(help="Steps of the whole training.")] = 240,
    seed: Annotated[int, typer.Option(help="Chooses the moments.")] = 0,
) -> None:
    """Compare a run that is killed with one that is not."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        if start(data, whole, steps, processes).wait():
            raise SystemExit("the run that was left alone failed")
        done, torn = 0, 0
        while done < kills:
            resume = ["--resume"] if done else []
            process = start(data, killed, steps, processes, *resume)
            if not kill_after_a_while(process, killed, chance.uniform(0, 0.8)):
                break
            done += 1
            torn += any((killed / "checkpoints").glob(".*"))
        if start(data, killed, steps, processes, "--resume").wait():
            raise SystemExit("the killed run could not be finished")
        weights = [(run / "model" / "model.safetensors").read_bytes() for run in (whole, killed)]
        verdict = "bit-identical" if weights[0] == weights[1] else "DIFFERENT"
        typer.echo(
            f"{processes} process(es), {steps} steps, {done} kills, {torn} of them in the writing of a checkpoint"
        )
        typer.echo(f"weights of the killed run and of the one left alone: {verdict}")
        raise SystemExit(weights[0] != weights[1])


if __name__ == "__main__":
    typer.run(main)
