"""What a training leaves behind: one folder with recipe, log, curves, pictures, checkpoints and the model."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dar.errors import DARError
from dar.storage import load_tensors, load_weights, read_json, save_tensors, write_json, writing
from dar.train.ema import AveragedModel
from dar.train.recipe import Recipe, load_recipe, save_recipe

KEPT_CHECKPOINTS = 2


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
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """All whole lines of the log."""
        entries = []
        for line in self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []:
            try:
                entries.append(json.loads(line))
            except ValueError:  # torn by a crash in mid-write
                continue
        return entries

    def rewind_log(self, step: int) -> None:
        """Forget what was logged after ``step``, which a resumed run is going to log again."""
        entries = [entry for entry in self.read_log() if entry["step"] <= step]
        with writing(self.log) as aside:
            aside.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*"))


def begin(run: RunFolder, recipe: Recipe, *, resume: bool) -> None:
    """Make a new run's folder, or check that an old one can go on; either way it then holds the recipe.

    Rates, steps and weights of losses may change when a run is resumed; sizes, seed and batch may not.

    Raises:
        DARError: if a new run's folder is not empty, or the old run's is none or was begun with other sizes.
    """
    if resume:
        if not run.recipe.is_file():
            raise DARError(f"{run.path} holds no run to resume: check the folder, or leave --resume out")
        changed = _fixed_changes(load_recipe(run.recipe), recipe)
        if changed:
            raise DARError(f"the run in {run.path} cannot be resumed with another {', '.join(changed)}")
    else:
        run.create()
    save_recipe(recipe, run.recipe)


def _fixed_changes(old: Recipe, new: Recipe) -> list[str]:
    """Names of the settings that differ and may not."""
    names = [f"tokenizer.{f.name}" for f in fields(old.tokenizer)] + [f"data.{name}" for name in ("crop", "flip")]
    names += [f"{model}_training.{name}" for model in ("tokenizer", "prior") for name in ("seed", "batch_size")]
    before, after = asdict(old), asdict(new)
    changed = []
    for name in names:
        section, key = name.split(".")
        if before[section][key] != after[section][key]:
            changed.append(name)
    return changed + (["prior"] if old.prior_config(("any",)) != new.prior_config(("any",)) else [])


@dataclass(frozen=True)
class Checkpoint:
    """All that a training needs in order to go on as if it had never stopped.

    Randomness and data order are functions of the step, so the step stands for them.

    Attributes:
        model: the model in training.
        averaged: its running average.
        optimizer: AdamW.
        extra: tensors that the task keeps from step to step; filled in place on loading.
    """

    model: nn.Module
    averaged: AveragedModel
    optimizer: torch.optim.Optimizer
    extra: Mapping[str, Tensor]

    def save(self, run: RunFolder, step: int, seconds: float) -> Path:
        """Write a checkpoint after ``step`` steps and remove all but the newest few; returns its folder."""
        folder = run.path / "checkpoints" / f"step-{step:08d}"
        if not folder.exists():
            with writing(folder) as aside:
                save_tensors(aside / "model.safetensors", self.model.state_dict())
                save_tensors(aside / "ema.safetensors", self.averaged.model.state_dict())
                save_tensors(aside / "optimizer.safetensors", self._optimizer_tensors())
                save_tensors(aside / "task.safetensors", self.extra)
                write_json(aside / "state.json", {"step": step, "seconds": seconds})
        for old in run.checkpoints()[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old)
        return folder

    def load(self, folder: Path) -> tuple[int, float]:
        """Take everything from a checkpoint; returns its steps and the seconds that they took.

        Raises:
            DARError: if a file is missing, damaged or of another model.
        """
        state = read_json(folder / "state.json")
        load_weights(self.model, folder / "model.safetensors")
        load_weights(self.averaged.model, folder / "ema.safetensors")
        self._load_optimizer(load_tensors(folder / "optimizer.safetensors"))
        for name, tensor in load_tensors(folder / "task.safetensors").items():
            self.extra[name].copy_(tensor)
        return state["step"], state["seconds"]

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
        return {
            f"{names[parameter]}/{key}": value
            for parameter, state in self.optimizer.state.items()
            for key, value in state.items()
        }

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        parameters = dict(self.model.named_parameters())
        for path, tensor in tensors.items():
            name, key = path.rsplit("/", 1)
            self.optimizer.state[parameters[name]][key] = tensor.to(parameters[name].device)
