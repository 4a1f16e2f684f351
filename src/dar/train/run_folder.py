"""What a training leaves behind: one folder with recipe, log, curves, pictures, checkpoints and the model."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from dar.environment import run_record
from dar.errors import DARError
from dar.files import writing
from dar.locking import LOCK, owned
from dar.train.recipe import Recipe
from dar.train.recipe_files import read_recipe, save_recipe

if TYPE_CHECKING:
    from dar.data import DataSummary
    from dar.train.classifier_recipe import ClassifierRecipe
    from dar.train.distributed import Distributed


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
        """All whole lines of the log."""
        return read_lines(self.log)

    def progress(self) -> dict[str, Any]:
        """How far training came, from the log's last line that tells it: step, images, seconds, loss."""
        last = next(entry for entry in reversed(self.read_log()) if "images" in entry)
        return {key: last[key] for key in ("step", "images", "seconds", "loss")}

    def rewind_log(self, step: int) -> None:
        """Forget what was logged after ``step``, which a resumed run is going to log again."""
        entries = [entry for entry in self.read_log() if entry["step"] <= step]
        with writing(self.log) as aside:
            aside.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint after ``step`` steps is."""
        return self.path / "checkpoints" / f"step-{step:08d}"

    def checkpoints(self) -> list[Path]:
        """Named checkpoints, oldest first; a crash may have damaged them since they were written."""
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
    """After how many steps a checkpoint was written."""
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
    """All whole lines of a file of JSON objects; one that a crash has torn is left out."""
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


@contextmanager
def begun(
    run: RunFolder,
    recipe: "Recipe | ClassifierRecipe",
    distributed: "Distributed",
    data: str,
    found: "Mapping[str, DataSummary | None]",
    *,
    resume: bool,
    init: str | None = None,
) -> Iterator[None]:
    """Own a run's folder within the block: a new one is made, an old one checked; either way it then holds the recipe.

    Rates, steps and weights of losses may change when a run is resumed; sizes, seed, batch and which networks train may
    not.
    Each start adds a line to ``launches.jsonl``: what was run, where, by which version, on which data.

    Args:
        run: the folder.
        recipe: of this start.
        distributed: the processes; the main one writes, and all stop if it cannot.
        data: fingerprint of the training data.
        found: what was found of each set of images, by what it is for.
        resume: whether the run is an old one.
        init: the model whose weights it begins with, or None.

    Raises:
        DARError: if a new run's folder is not empty, the old run's is none or was begun with other sizes, or another
            training is at work in it.
    """
    images = {name: summary.as_dict() for name, summary in found.items() if summary is not None}
    record = {"data": data, "images": images, "processes": distributed.world_size, "init": init}
    with ExitStack() as stack:
        distributed.on_main(lambda: _begin(run, recipe, record, stack, resume=resume))
        yield


def _begin(
    run: RunFolder,
    recipe: "Recipe | ClassifierRecipe",
    record: Mapping[str, Any],
    stack: ExitStack,
    *,
    resume: bool,
) -> None:
    if resume:
        run.check(resume=True)
        stack.enter_context(owned(run.path))
        _check_same(run, recipe, record)
        for folder in (run.path, run.path / "checkpoints", run.path / "samples"):
            for left in folder.glob(".*/"):  # a crash in the middle of writing
                shutil.rmtree(left, ignore_errors=True)
    else:
        _make(run.path)
        stack.enter_context(owned(run.path))
        run.create()
    save_recipe(recipe, run.recipe)
    append_line(run.launches, {**run_record(), **record})


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DARError(f"cannot write to {path} ({error.strerror}): choose another output folder") from error


def _check_same(run: RunFolder, recipe: "Recipe | ClassifierRecipe", record: Mapping[str, Any]) -> None:
    """Make sure that the run was begun with the same sizes; say if its data are others."""
    parse: Callable[[Mapping[str, Any]], Recipe | ClassifierRecipe] = type(recipe).from_dict
    before = read_recipe(run.recipe, (), (), parse).fixed_settings()
    changed = [name for name, value in recipe.fixed_settings().items() if before[name] != value]
    if changed:
        raise DARError(f"the run in {run.path} cannot be resumed with another {', '.join(changed)}")
    if any(launch["data"] != record["data"] for launch in read_lines(run.launches)):
        tqdm.write("the data is not quite what the run began with (other files, times or place): results may differ")
