import dataclasses
from pathlib import Path

import pytest
import torch

from dar import DARPipeline
from dar.data import ImageDataset, Share
from dar.errors import DARError
from dar.storage import load_tensors
from dar.train.loop import Outcome
from dar.train.prior import PriorTask, add_dropout, cross_entropy, held_out_cross_entropy, train_prior
from dar.train.tokens import TokenSet, cached_tokens, tokenize, weights_hash
from tests import tiny
from tests.train.photos import CLASSES, photo_folder, small_recipe

RECIPE = dataclasses.replace(small_recipe(), tokenizer=tiny.TOKENIZER)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny.tokenizer().save_pretrained(folder)
    return folder


def test_run_leaves_a_pipeline_that_generates(photos: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    outcome = train_prior(RECIPE, photos, tokenizer_folder, tmp_path / "run", validation=photos)
    assert outcome is Outcome.FINISHED
    pipe = DARPipeline.from_pretrained(tmp_path / "run" / "model")
    assert pipe.prior.config.class_names == CLASSES
    assert pipe(["dark"]).images[0].size == (16, 16)
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert "validation_cross_entropy" in log


def test_training_in_parts_equals_training_at_once(photos: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    def recipe(steps: int):
        training = dataclasses.replace(RECIPE.prior_training, steps=steps, dropout=0.3)
        return dataclasses.replace(RECIPE, prior_training=training)

    train_prior(recipe(9), photos, tokenizer_folder, tmp_path / "whole")
    train_prior(recipe(4), photos, tokenizer_folder, tmp_path / "parts")
    train_prior(recipe(9), photos, tokenizer_folder, tmp_path / "parts", resume=True)
    path = Path("model") / "prior" / "model.safetensors"
    whole, parts = load_tensors(tmp_path / "whole" / path), load_tensors(tmp_path / "parts" / path)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_tokens_hold_each_image_and_its_mirror(photos: Path) -> None:
    tokenizer, data = tiny.tokenizer(), ImageDataset(photos)
    found = tokenize(tokenizer, data, flips=True)
    assert found.tokens.shape == (24, 8)
    assert found.labels.tolist() == [0] * 12 + [1] * 12
    plain = tokenize(tokenizer, data, flips=False)
    assert torch.equal(found.tokens[::2], plain.tokens)
    assert not torch.equal(found.tokens[1::2], plain.tokens)


def test_broken_images_are_skipped_named_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = photo_folder(tmp_path / "photos")
    (photos / "bright" / "torn.png").write_bytes(b"\x89PNG torn")
    assert len(tokenize(tiny.tokenizer(), ImageDataset(photos), flips=False)) == 12
    said = "".join(capsys.readouterr())
    assert "torn.png" in said
    assert "1 of 13 images" in said


def test_tokens_are_computed_once_for_the_same_images_and_weights(photos: Path, tmp_path: Path) -> None:
    tokenizer, data, path = tiny.tokenizer(), ImageDataset(photos), tmp_path / "tokens.safetensors"
    first = cached_tokens(tokenizer, data, path, flips=True)
    written = path.stat().st_mtime_ns
    assert torch.equal(cached_tokens(tokenizer, data, path, flips=True).tokens, first.tokens)
    assert path.stat().st_mtime_ns == written
    with torch.no_grad():
        tokenizer.encoder.out.weight.neg_()
    assert not torch.equal(cached_tokens(tokenizer, data, path, flips=True).tokens, first.tokens)
    assert path.stat().st_mtime_ns != written


def test_weights_hash_tells_weights_apart() -> None:
    assert weights_hash(tiny.prior()) == weights_hash(tiny.prior())
    changed = tiny.prior()
    with torch.no_grad():
        changed.llama.lm_head.weight[0, 0] += 1e-3
    assert weights_hash(changed) != weights_hash(tiny.prior())


def test_held_out_cross_entropy_is_the_mean_over_all_tokens() -> None:
    prior = tiny.prior()
    labels, tokens = torch.arange(130) % 3, tiny.tokens(130)
    expected = cross_entropy(prior(labels, tokens), tokens).item()
    assert held_out_cross_entropy(prior, TokenSet(tokens.int(), labels.int())) == pytest.approx(expected, rel=1e-5)


def test_labels_are_dropped_at_the_recipe_s_rate() -> None:
    seen: list[torch.Tensor] = []
    tokens = TokenSet(tiny.tokens(4).int(), torch.zeros(4, dtype=torch.int32))
    training = dataclasses.replace(RECIPE.prior_training, batch_size=400, label_dropout=0.25)
    task = PriorTask(dataclasses.replace(RECIPE, prior_training=training), tiny.tokenizer(), CLASSES, tokens, None)
    task.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    task.losses(task.model, next(task.batches(0, 1, Share())), 0, range(400), torch.Generator().manual_seed(0))
    assert set(seen[0].tolist()) == {0, task.prior.config.null_class}
    assert (seen[0] != 0).double().mean().item() == pytest.approx(0.25, abs=0.07)


def test_dropout_acts_in_training_only() -> None:
    prior, plain = tiny.prior(), tiny.prior()
    add_dropout(prior, 0.5)
    arguments = torch.tensor([0]), tiny.tokens(1)
    assert torch.equal(prior(*arguments), plain(*arguments))
    prior.train()
    assert not torch.equal(prior(*arguments), prior(*arguments))


def test_tokenizer_of_another_recipe_is_refused(photos: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DARError, match=r"the tokenizer's \w+ is \d+, the recipe's \d+"):
        train_prior(small_recipe(), photos, tokenizer_folder, tmp_path / "run")


def test_images_without_classes_are_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    flat = photo_folder(tmp_path / "photos") / "dark"
    with pytest.raises(DARError, match="no class labels"):
        train_prior(RECIPE, flat, tokenizer_folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()
