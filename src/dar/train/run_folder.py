"""The folder of a training: recipe, log, curves, pictures, checkpoints and the model."""

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dar.errors import DARError
from dar.fields import is_whole
from dar.files import writing
from dar.json_text import parse_json
from dar.locking import LOCK

PROVEN_STEPS = 50
"""A checkpoint that so many finite steps followed is one to go back to when a training diverges."""


@dataclass(frozen=True)
class RunFolder:
    """The layout of a training's folder.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe, as YAML."""
        return self.path / "recipe.yaml"

    @property
    def log(self) -> Path:
        """One JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def launches(self) -> Path:
        """One JSON object for each time that the training was started."""
        return self.path / "launches.jsonl"

    @property
    def curves(self) -> Path:
        """The log as a picture."""
        return self.path / "curves.png"

    @property
    def model(self) -> Path:
        """The averaged model, for ``from_pretrained``."""
        return self.path / "model"

    def picture(self, step: int) -> Path:
        """Sample picture after ``step`` steps."""
        return self.path / "samples" / f"step-{step:08d}.png"

    def check(self, *, resume: bool) -> None:
        """Make sure that a run can begin here, or that there is one to go on with; changes nothing.

        Raises:
            DARError: if it can't, or there is none.
        """
        if resume and not self.recipe.is_file():
            raise DARError(f"{self.path} holds no run to resume: check the folder, or leave --resume out")
        if not resume and self.path.is_dir() and not self._is_unbegun():
            raise DARError(f"{self.path} is not empty: choose another folder, or --resume the run that is in it")

    def create(self) -> None:
        """Make the folder.

        Raises:
            DARError: if it holds anything already, or cannot be written to.
        """
        self.check(resume=False)
        try:
            (self.path / "samples").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DARError(f"cannot write to {self.path} ({error.strerror}): choose another output folder") from error

    def _is_unbegun(self) -> bool:
        """Whether it holds nothing but what a run makes before its recipe, after which it can be resumed."""
        aside = f".{self.recipe.name}."
        return all(
            entry.name == LOCK
            or entry.name.startswith(aside)
            or (entry.name == "samples" and entry.is_dir() and not any(entry.iterdir()))
            for entry in self.path.iterdir()
        )

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        append_line(self.log, entry)

    def read_log(self) -> list[dict[str, Any]]:
        """Read all whole lines of the log that tell their step."""
        return [entry for entry in read_lines(self.log) if is_whole(entry.get("step"))]

    def progress(self) -> dict[str, Any]:
        """Read how far training came: step, images, seconds and loss of the log's last line that has them."""
        last = next(entry for entry in reversed(self.read_log()) if "images" in entry)
        return {key: last[key] for key in ("step", "images", "seconds", "loss")}

    def rewind_log(self, step: int) -> None:
        """Drop what was logged after ``step``, which a resumed run is going to log again."""
        entries = [entry for entry in self.read_log() if entry["step"] <= step]
        with writing(self.log) as aside:
            aside.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint after ``step`` steps is."""
        return self.path / "checkpoints" / f"step-{step:08d}"

    def checkpoints(self) -> list[Path]:
        """List the named checkpoints, oldest first; a crash may have damaged them since they were written."""
        there = (self.path / "checkpoints").glob("step-*")
        return sorted(path for path in there if path.name.removeprefix("step-").isdecimal())

    def retire_checkpoints(self, newest: int, every: int) -> None:
        """Remove checkpoints, but for the newest few and those of every so many steps (0: none of these).

        One that ``PROVEN_STEPS`` finite steps followed is kept too, and the one that is to take its place, so that
        there is a good one to go back to when a training diverges.
        """
        found = self.checkpoints()
        last = step_of(found[-1]) if found else 0
        proven = [path for path in found if last - step_of(path) >= PROVEN_STEPS]
        unproven = found[len(proven) :]
        kept = {*found[-newest:], *proven[-1:], *unproven[:1]}
        for path in found:
            if path not in kept and not (every and step_of(path) % every == 0):
                shutil.rmtree(path, ignore_errors=True)

    def put_aside_after(self, step: int) -> tuple[Path, int] | None:
        """After a training diverged at ``step``, leave only checkpoints that enough finite steps followed.

        Where none has ``PROVEN_STEPS``, the oldest counts. Others get new names, so that nothing goes on from them.

        Returns:
            The newest that is left, and the finite steps that followed it; None if no step followed any.
        """
        found = [path for path in self.checkpoints() if step_of(path) < step]
        good = [path for path in found if step - step_of(path) >= PROVEN_STEPS][-1:] or found[:1]
        for path in self.checkpoints():
            if not good or step_of(path) > step_of(good[0]):
                path.rename(path.with_name(f"diverged-{path.name}-{time.time_ns()}"))
        return (good[0], step - step_of(good[0])) if good else None


def step_of(checkpoint: Path) -> int:
    """Read from a checkpoint's name after how many steps it was written."""
    return int(checkpoint.name.removeprefix("step-"))


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a JSON object to a file of lines; a last line that a crash has torn is ended first.

    Raises:
        DARError: if it cannot be written.
    """
    try:
        with path.open("a+b") as file:
            file.seek(max(0, file.tell() - 1))
            start = b"\n" if file.read(1) not in (b"", b"\n") else b""
            file.write(start + json.dumps(entry).encode() + b"\n")
    except OSError as error:
        raise DARError(f"cannot write {path} ({error.strerror}): is the disk full, or the place read-only?") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read all whole lines of a file of JSON objects; what is none, as one that a crash has torn, is left out."""
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        with suppress(ValueError):
            entries.append(parse_json(line))
    return [entry for entry in entries if isinstance(entry, dict)]
