"""What a training leaves behind: one folder with recipe, log, curves, pictures, checkpoints and the model."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dar.data import DataSummary
from dar.environment import run_record
from dar.errors import DARError
from dar.files import writing
from dar.train.classifier_recipe import ClassifierRecipe
from dar.train.recipe import Recipe, read_recipe, save_recipe
from dar.train.team import Team


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

    def create(self) -> None:
        """Make the folder.

        Raises:
            DARError: if it holds anything already, or cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise DARError(f"{self.path} is not empty: choose another folder, or --resume the run that is in it")
            (self.path / "samples").mkdir()
        except OSError as error:
            raise DARError(f"cannot write to {self.path} ({error.strerror}): choose another output folder") from error

    def append_log(self, entry: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        append_line(self.log, entry)

    def read_log(self) -> list[dict[str, Any]]:
        """All whole lines of the log."""
        return read_lines(self.log)

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
        """Remove checkpoints, but for the newest few and those of every so many steps (0: none of these)."""
        for path in self.checkpoints()[:-newest]:
            if not every or int(path.name.removeprefix("step-")) % every:
                shutil.rmtree(path, ignore_errors=True)


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a JSON object to a file of lines.

    Raises:
        DARError: if it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
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


def begin(
    run: RunFolder,
    recipe: Recipe | ClassifierRecipe,
    team: Team,
    data: str,
    found: Mapping[str, DataSummary | None],
    *,
    resume: bool,
) -> None:
    """Make a new run's folder, or check that an old one can go on; either way it then holds the recipe.

    Rates, steps and weights of losses may change when a run is resumed; sizes, seed, batch and which networks train may
    not.
    Each start adds a line to ``launches.jsonl``: what was run, where, by which version, on which data.

    Args:
        run: the folder.
        recipe: of this start.
        team: the processes; the main one writes, and all stop if it cannot.
        data: fingerprint of the training data.
        found: what was found of each set of images, by what it is for.
        resume: whether the run is an old one.

    Raises:
        DARError: if a new run's folder is not empty, or the old run's is none or was begun with other sizes.
    """
    images = {name: summary.as_dict() for name, summary in found.items() if summary is not None}
    record = {"data": data, "images": images, "processes": team.size}
    team.by_main(lambda: _begin(run, recipe, record, resume=resume))


def _begin(run: RunFolder, recipe: Recipe | ClassifierRecipe, record: Mapping[str, Any], *, resume: bool) -> None:
    if resume:
        if not run.recipe.is_file():
            raise DARError(f"{run.path} holds no run to resume: check the folder, or leave --resume out")
        parse: Callable[[Mapping[str, Any]], Recipe | ClassifierRecipe] = type(recipe).from_dict
        before = read_recipe(run.recipe, (), (), parse).fixed_settings()
        changed = [name for name, value in recipe.fixed_settings().items() if before[name] != value]
        if changed:
            raise DARError(f"the run in {run.path} cannot be resumed with another {', '.join(changed)}")
        if any(launch["data"] != record["data"] for launch in read_lines(run.launches)):
            tqdm.write(
                "the data is not quite what the run began with (other files, times or place): results may differ"
            )
        for folder in (run.path, run.path / "checkpoints", run.path / "samples"):
            for left in folder.glob(".*"):  # a crash in the middle of writing
                shutil.rmtree(left, ignore_errors=True)
    else:
        run.create()
    save_recipe(recipe, run.recipe)
    append_line(run.launches, {**run_record(), **record})
