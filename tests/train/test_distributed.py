"""Many processes train as one does."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from dar import DARPipeline
from dar.errors import DARError
from dar.nn import Block
from dar.pipeline import load_tokenizer
from dar.storage import load_tensors
from dar.tokenizer.diffusion_decoder import DiffusionBlock
from dar.train.distributed import Distributed, recompute_activations
from dar.train.prior import train_prior
from dar.train.run_folder import RunFolder
from dar.train.tokenizer import train_tokenizer
from tests import tiny
from tests.train.launching import losses, train
from tests.train.photos import small_recipe


def close(one: Path, other: Path, steps: list[int]) -> None:
    """The same losses, to rounding, which grows where it tips the choice of a code."""
    assert list(losses(one)) == list(losses(other)) == steps
    for step in steps:
        assert losses(one)[step] == pytest.approx(losses(other)[step], rel=1e-4 if step == steps[0] else 2e-3), step


def test_two_processes_train_as_one_and_hand_over_to_each_other(photos: Path, tmp_path: Path) -> None:
    def until(steps: int) -> str:
        return f"tokenizer_training.steps={steps}"

    one, mixed = tmp_path / "one", tmp_path / "mixed"
    train("tokenizer", photos, one, until(30))
    train("tokenizer", photos, mixed, until(10), processes=2)
    train("tokenizer", photos, mixed, until(20), "--resume")
    train("tokenizer", photos, mixed, until(30), "--resume", processes=2)
    close(one, mixed, [10, 20, 30])


@pytest.fixture(scope="module")
def tokenizer(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tokenizer") / "run"
    train("tokenizer", photos, out, "tokenizer_training.steps=12")
    return out / "model"


@pytest.mark.slow
def test_a_sharded_prior_trains_as_a_whole_one(photos: Path, tokenizer: Path, tmp_path: Path) -> None:
    one, sharded = tmp_path / "one", tmp_path / "sharded"
    given = ("--tokenizer", tokenizer)
    train("prior", photos, one, *given, "prior_training.steps=30")
    both = ("prior_training.sharded=true", "prior_training.sample_steps=4")
    train("prior", photos, sharded, *given, *both, "prior_training.steps=10", processes=2)
    halves = [load_tensors(RunFolder(sharded).checkpoints()[-1] / f"optimizer-000{i}.safetensors") for i in range(2)]
    whole = DARPipeline.from_pretrained(sharded / "model").prior
    for name, parameter in whole.named_parameters():
        rows = [len(half[f"{name}/exp_avg"]) for half in halves]
        assert sum(rows) == len(parameter)
        assert max(rows) <= -(-len(parameter) // 2), name
    train("prior", photos, sharded, *given, *both, "prior_training.steps=20", "--resume")
    train("prior", photos, sharded, *given, *both, "prior_training.steps=30", "--resume", processes=2)
    close(one, sharded, [10, 20, 30])
    expected = load_tensors(one / "model" / "prior" / "model.safetensors")
    found = load_tensors(sharded / "model" / "prior" / "model.safetensors")
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)


def test_accumulated_pieces_train_as_whole_batches(photos: Path, tmp_path: Path) -> None:
    for name, pieces in (("whole", 1), ("pieces", 4)):
        recipe = small_recipe(f"tokenizer_training.gradient_accumulation={pieces}")
        train_tokenizer(recipe, photos, tmp_path / name)
    close(tmp_path / "whole", tmp_path / "pieces", [10, 12])


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_written(photos: Path, tmp_path: Path) -> None:
    recipe = small_recipe("tokenizer_training.gradient_accumulation=3")
    with pytest.raises(DARError, match="a batch of 4 cannot be divided among 1 processes in 3 micro-batches"):
        train_tokenizer(recipe, photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_sharding_by_the_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(DARError, match="leave the launcher's FSDP out"):
        Distributed()


def test_recomputed_activations_give_the_same_gradients() -> None:
    def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
        model.train()
        output = model(tiny.pixels(2), torch.tensor([0.2, 0.7]), tiny.noise(2))
        (output.velocity - output.target_velocity).square().mean().backward()
        return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}

    plain, frugal = tiny.tokenizer(), tiny.tokenizer()
    recompute_activations(frugal, (Block, DiffusionBlock))
    expected, found = gradients(plain), gradients(frugal)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert frugal.state_dict().keys() == plain.state_dict().keys()


def test_a_prior_that_recomputes_trains_the_same(photos: Path, tokenizer: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(small_recipe(), tokenizer=load_tokenizer(tokenizer).config)
    for name, recomputes in (("plain", False), ("frugal", True)):
        training = dataclasses.replace(recipe.prior_training, recompute_activations=recomputes, dropout=0.0)
        train_prior(dataclasses.replace(recipe, prior_training=training), photos, tokenizer, tmp_path / name)
    close(tmp_path / "plain", tmp_path / "frugal", [10, 12])
