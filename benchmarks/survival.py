"""Kill a training over and over, and see whether it ends with the same weights as one that was left alone.

    python benchmarks/survival.py --data photos/ --kills 20
    python benchmarks/survival.py --data photos/ --kills 20 --processes 2

SIGKILL comes at random moments. The debug recipe writes a checkpoint after every step here, so many kills hit one.
"""

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

SETTINGS = (
    "tokenizer_training.checkpoint_minutes=1e-9",
    "tokenizer_training.sample_steps=1000",
    "tokenizer_training.warmup_steps=1",  # these three for any number of steps
    "tokenizer_training.continuous_steps=3",
    "tokenizer_training.decay_steps=0",
)


def start(data: Path, out: Path, steps: int, processes: int, *options: str) -> "list[subprocess.Popen[bytes]]":
    """One launch: the processes of a training, told about each other as a launcher does it."""
    command = [sys.executable, "-m", "dar", "train", "tokenizer", "--recipe", "debug", "--data", str(data)]
    command += ["--out", str(out), f"tokenizer_training.steps={steps}", *SETTINGS, *options]
    common = {"OMP_NUM_THREADS": "1"}
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        common |= {"WORLD_SIZE": str(processes)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    ranks = [{"RANK": str(i), "LOCAL_RANK": str(i)} if processes > 1 else {} for i in range(processes)]
    return [subprocess.Popen(command, env=os.environ | common | rank, **quiet) for rank in ranks]


def finish(team: "list[subprocess.Popen[bytes]]") -> bool:
    """Wait for a launch; whether all went well."""
    return all(code == 0 for code in [process.wait() for process in team])


def steps_done(out: Path) -> int:
    names = [path.name for path in (out / "checkpoints").glob("step-*")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def kill_after_a_while(team: "list[subprocess.Popen[bytes]]", out: Path, rng: random.Random) -> bool:
    """Wait until the run makes progress, then some more, then kill one after the other; whether they still ran."""
    before = steps_done(out)
    while team[0].poll() is None and steps_done(out) == before:
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 0.8))
    running = team[0].poll() is None
    for process in rng.sample(team, len(team)):
        process.kill()
        time.sleep(rng.uniform(0, 0.05))
    finish(team)
    return running


def main(
    data: Annotated[Path, typer.Option(help="Images to train on.")],
    kills: Annotated[int, typer.Option(help="How often to kill.")] = 20,
    processes: Annotated[int, typer.Option(help="Processes that train together.")] = 1,
    steps: Annotated[int, typer.Option(help="Steps of the whole training.")] = 240,
    seed: Annotated[int, typer.Option(help="Chooses the moments.")] = 0,
) -> None:
    """Compare a run that is killed with one that is not."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        if not finish(start(data, whole, steps, processes)):
            raise SystemExit("the run that was left alone failed")
        done, torn = 0, 0
        while done < kills:
            team = start(data, killed, steps, processes, *(["--resume"] if done else []))
            if not kill_after_a_while(team, killed, rng):
                break
            done += 1
            torn += any((killed / "checkpoints").glob(".*"))
        if not finish(start(data, killed, steps, processes, "--resume")):
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
