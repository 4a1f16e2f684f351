"""Which parameter is moved by which optimizer, and whether a run with two of them goes on where it stopped."""

import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dar.data import MicroBatches
from dar.storage import load_tensors
from dar.train.distributed import Distributed
from dar.train.loop import Outcome, fit
from dar.train.optimizer import hidden_matrices, make_optimizer
from dar.train.recipe import PriorTraining, TrainingRecipe
from dar.train.run_folder import RunFolder
from dar.train.task import Task

RECIPE = TrainingRecipe(
    steps=12, batch_size=4, learning_rate=0.02, warmup_steps=3, decay_steps=5, precision="fp32", sample_steps=100
)
MUON = dataclasses.replace(RECIPE, optimizer="muon", weight_decay=0.05)


class Blocks(nn.Module):
    """One layer, two in blocks, one layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(3, 8)
        self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)) for _ in range(2))
        self.last = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


class BlocksTask(Task):
    """The sum of three numbers."""

    recomputed = ()

    def __init__(self, stop_before: int | None = None) -> None:
        self.model, self.extra, self.stop_before = Blocks(), {}, stop_before

    def batches(self, first: int, last: int, micro_batches: MicroBatches) -> Iterator[Tensor]:
        for step in range(first, last):
            if step == self.stop_before:
                signal.raise_signal(signal.SIGINT)
            yield torch.randn(4, 3, generator=torch.Generator().manual_seed(step))

    def losses(
        self, model: nn.Module, batch: Tensor, step: int, rows: range, generator: torch.Generator
    ) -> dict[str, Tensor]:
        return {"square": (model(batch)[:, 0] - batch.sum(1)).square().mean()}

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        return {}

    def export(self, averaged: nn.Module, folder: Path, distributed: Distributed) -> None:
        pass


def test_only_matrices_decay() -> None:
    for recipe in (dataclasses.replace(RECIPE, weight_decay=0.05), MUON):
        groups = make_optimizer(Blocks(), recipe).param_groups
        decays = {(parameter.dim(), group["weight_decay"]) for group in groups for parameter in group["params"]}
        assert decays == {(2, 0.05), (1, 0.0)}


def test_muon_moves_the_matrices_of_blocks_and_nothing_else() -> None:
    model = Blocks()
    muon, adamw = make_optimizer(model, MUON).parts
    assert [id(one) for one in muon.param_groups[0]["params"]] == [id(block[1].weight) for block in model.blocks]
    own, others = ({id(p) for group in part.param_groups for p in group["params"]} for part in (muon, adamw))
    assert not own & others
    assert own | others == {id(p) for p in model.parameters()}


def test_a_rate_reaches_both_optimizers() -> None:
    together = make_optimizer(Blocks(), MUON)
    for group in together.param_groups:
        group["lr"] = 0.125
    assert {group["lr"] for part in together.parts for group in part.param_groups} == {0.125}


def test_a_model_without_blocks_has_adamw_alone() -> None:
    model = nn.Linear(3, 2)
    assert hidden_matrices(model) == []
    assert isinstance(make_optimizer(model, MUON), torch.optim.AdamW)


@pytest.mark.parametrize("recipe", [RECIPE, MUON], ids=["adamw", "muon"])
def test_interrupted_and_resumed_equals_uninterrupted(recipe: TrainingRecipe, tmp_path: Path) -> None:
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    assert fit(BlocksTask(), recipe, whole, Distributed(), resume=False) is Outcome.FINISHED
    assert fit(BlocksTask(stop_before=6), recipe, parts, Distributed(), resume=False) is Outcome.INTERRUPTED
    assert fit(BlocksTask(), recipe, parts, Distributed(), resume=True) is Outcome.FINISHED
    for part in ("model", "ema", "optimizer"):
        one, other = (load_tensors(run.checkpoints()[-1] / f"{part}.safetensors") for run in (whole, parts))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_muon_learns(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    fit(BlocksTask(), dataclasses.replace(MUON, steps=60, weight_decay=0.0), run, Distributed(), resume=False)
    losses = [entry["loss"] for entry in run.read_log() if "loss" in entry]
    assert losses[-1] < losses[0] / 5


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="optimizer must be 'adamw' or 'muon'"):
        dataclasses.replace(RECIPE, optimizer="sgd")
    with pytest.raises(ValueError, match="Muon needs whole matrices"):
        PriorTraining(steps=200, batch_size=4, learning_rate=0.1, optimizer="muon", sharded=True)
