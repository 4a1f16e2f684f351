from pathlib import Path

import pytest
import torch

from dar.data import ImageDataset, MicroBatches
from dar.storage import load_tensors
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.distributed import Distributed
from dar.train.loop import Outcome
from dar.train.optimizer import make_optimizer
from dar.train.recipe import load_recipe
from dar.train.run_folder import RunFolder
from dar.train.tokenizer import TokenizerTask, train_tokenizer
from tests.train.photos import photo_folder, small_recipe


def test_run_leaves_a_model_that_encodes_and_decodes(photos: Path, tmp_path: Path) -> None:
    assert train_tokenizer(small_recipe(), photos, tmp_path / "run") is Outcome.FINISHED
    run = RunFolder(tmp_path / "run")
    tokenizer = SequentialDiffusionTokenizer.from_pretrained(run.model)
    pixels = torch.zeros(2, 3, 16, 16)
    assert tokenizer.decode(tokenizer.encode(pixels)).shape == pixels.shape
    assert run.picture(12).exists()
    entry = next(entry for entry in run.read_log() if "loss" in entry)
    assert 0 < entry["codebook_usage"] <= 1
    assert 1 <= entry["codebook_perplexity"] <= 64


def test_training_in_parts_equals_training_at_once(photos: Path, tmp_path: Path) -> None:
    recipe = small_recipe("tokenizer_training.decay_steps=0")
    start = small_recipe("tokenizer_training.decay_steps=0", "tokenizer_training.steps=7")
    train_tokenizer(recipe, photos, tmp_path / "whole")
    train_tokenizer(start, photos, tmp_path / "parts")
    train_tokenizer(recipe, photos, tmp_path / "parts", resume=True)
    whole, parts = (load_tensors(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_first_steps_are_continuous_then_the_codebook_is_fitted_to_features(photos: Path) -> None:
    task = TokenizerTask(small_recipe(), ImageDataset(photos), ImageDataset(photos), Distributed())
    batch = next(task.batches(0, 1, MicroBatches()))
    generator = torch.Generator().manual_seed(0)
    continuous = task.losses(task.model, batch, 3, range(4), generator)
    assert (continuous["codebook"], continuous["commitment"]) == (0, 0)
    quantised = task.losses(task.model, batch, 4, range(4), generator)
    assert all(quantised[name] > 0 for name in ("flow", "codebook", "commitment"))
    averaged = SequentialDiffusionTokenizer(task.tokenizer.config)
    task.after_step(make_optimizer(task.model, task.settings), averaged, 3, generator)
    codebook = task.tokenizer.quantizer.codebook
    torch.testing.assert_close(codebook.norm(dim=-1), torch.ones(64))
    assert torch.equal(codebook, averaged.quantizer.codebook)
    features = torch.nn.functional.normalize(task.tokenizer.encoder(batch.pixels), dim=-1).flatten(0, 1)
    assert (features @ codebook.T).max(-1).values.mean() > 0.99


def test_unused_codes_are_reseeded_with_fresh_optimiser_state(photos: Path) -> None:
    recipe = small_recipe("tokenizer_training.continuous_steps=0", "tokenizer_training.reseed_steps=1")
    task = TokenizerTask(recipe, ImageDataset(photos), ImageDataset(photos), Distributed())
    generator = torch.Generator().manual_seed(0)
    optimizer = make_optimizer(task.model, task.settings)
    piece = next(task.batches(0, 1, MicroBatches()))
    used = torch.bincount(task.tokenizer.encode(piece.pixels).flatten(), minlength=64) > 0
    sum(task.losses(task.model, piece, 0, range(4), generator).values()).backward()
    optimizer.step()
    codebook = task.tokenizer.quantizer.codebook
    before = codebook.detach().clone()
    averaged = SequentialDiffusionTokenizer(task.tokenizer.config)
    task.after_step(optimizer, averaged, 0, generator)
    assert 0 < used.sum() < 64
    assert torch.equal(codebook[used], before[used])
    assert not torch.equal(codebook[~used], before[~used])
    assert torch.equal(averaged.quantizer.codebook[~used], codebook[~used])
    assert optimizer.state[codebook]["exp_avg"][~used].abs().max() == 0
    assert task.extra["counts_since_reseed"].sum() == 0


def test_broken_image_is_named_once_and_training_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = photo_folder(tmp_path / "photos")
    (photos / "dark" / "torn.png").write_bytes(b"\x89PNG torn")
    assert train_tokenizer(small_recipe(), photos, tmp_path / "run") is Outcome.FINISHED
    said = capsys.readouterr()
    assert (said.out + said.err).count("torn.png") == 1


def test_the_model_keeps_its_recipe(photos: Path, tmp_path: Path) -> None:
    train_tokenizer(small_recipe(), photos, tmp_path / "run")
    assert load_recipe(tmp_path / "run" / "model" / "recipe.yaml") == small_recipe()
