"""Trainings in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.train.photos import SMALL

QUICK = (
    "tokenizer_training.steps=60",
    "prior_training.steps=60",
    "tokenizer_training.batch_size=8",
    "prior_training.batch_size=8",
    "tokenizer_training.continuous_steps=3",
    "tokenizer_training.decay_steps=0",
    "prior_training.decay_steps=0",
    "tokenizer_training.reseed_steps=10",
    "prior_training.dropout=0",
)
"""Long enough to be stopped, interrupted and resumed."""


def command(kind: str, data: Path, out: Path, *options: str | Path, processes: int = 1) -> list[str]:
    launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={processes}"] if processes > 1 else []
    fixed = ["--recipe", str(SMALL), "--data", str(data), "--out", str(out), *QUICK]
    return [sys.executable, *launcher, "-m", "dar", "train", kind, *fixed, *map(str, options)]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def train(kind: str, data: Path, out: Path, *options: str | Path, processes: int = 1) -> str:
    """Train to the end; returns what was said."""
    arguments = command(kind, data, out, *options, processes=processes)
    result = subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=200)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def losses(out: Path) -> dict[int, float]:
    """The logged loss by step."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}
