import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dar import DARPipeline
from dar.data import MicroBatches
from dar.errors import DARError
from dar.generation.settings import SAMPLING
from dar.storage import load_tensors, weights_hash
from dar.train.loop import Outcome
from dar.train.prior import PriorTask, add_dropout, initial_prior, train_prior
from dar.train.recipe import Recipe
from dar.train.tokens import TokenSet
from tests import tiny
from tests.train.photos import CLASSES, small_recipe

RECIPE = dataclasses.replace(small_recipe(), tokenizer=tiny.TOKENIZER)


def test_run_leaves_a_pipeline_that_generates(photos: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    outcome = train_prior(RECIPE, photos, tokenizer_folder, tmp_path / "run", validation=photos)
    assert outcome is Outcome.FINISHED
    pipe = DARPipeline.from_pretrained(tmp_path / "run" / "model")
    assert pipe.prior.config.class_names == CLASSES
    assert pipe(["dark"]).images[0].size == (16, 16)
    assert (tmp_path / "run" / "model" / SAMPLING).is_file()
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


def test_weights_hash_tells_weights_apart() -> None:
    assert weights_hash(tiny.prior()) == weights_hash(tiny.prior())
    changed = tiny.prior()
    with torch.no_grad():
        changed.llama.lm_head.weight[0, 0] += 1e-3
    assert weights_hash(changed) != weights_hash(tiny.prior())


def prior_task(recipe: Recipe, class_names: tuple[str, ...], tokens: TokenSet) -> PriorTask:
    tokenizer = tiny.tokenizer()
    prior, _ = initial_prior(recipe, class_names, tokenizer)
    return PriorTask(recipe, tokenizer, prior, tokens, None)


def test_labels_are_dropped_at_the_recipe_s_rate() -> None:
    seen: list[torch.Tensor] = []
    tokens = TokenSet(tiny.tokens(4).int(), torch.zeros(4, dtype=torch.int32))
    training = dataclasses.replace(RECIPE.prior_training, batch_size=400, label_dropout=0.25)
    task = prior_task(dataclasses.replace(RECIPE, prior_training=training), CLASSES, tokens)
    task.model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    task.losses(task.model, next(task.batches(0, 1, MicroBatches())), 0, range(400), torch.Generator().manual_seed(0))
    assert set(seen[0].tolist()) == {0, task.prior.config.null_class}
    assert (seen[0] != 0).double().mean().item() == pytest.approx(0.25, abs=0.07)


def seen(
    task: PriorTask, first: int, last: int, share: MicroBatches | None = None
) -> list[tuple[list[int], list[int]]]:
    return [
        (labels.tolist(), tokens[:, 0].tolist())
        for labels, tokens in task.batches(first, last, share or MicroBatches())
    ]


@pytest.fixture(scope="module")
def many_views() -> PriorTask:
    """Image i has label i and tokens 10 i + view, so that batches tell what they hold."""
    tokens = (10 * torch.arange(5)[:, None, None] + torch.arange(10)[:, None]).expand(5, 10, 8)
    names = tuple("abcde")
    return prior_task(RECIPE, names, TokenSet(tokens.int(), torch.arange(5).int()))


def test_each_visit_of_an_image_draws_one_of_its_views(many_views: PriorTask) -> None:
    pairs = [pair for labels, tokens in seen(many_views, 0, 100) for pair in zip(labels, tokens, strict=True)]
    assert all(token // 10 == label for label, token in pairs)
    assert len(set(pairs)) == 50
    assert all(sorted(label for label, _ in pairs[i : i + 5]) == list(range(5)) for i in range(0, 400, 5))


def test_views_do_not_depend_on_processes_or_resuming(many_views: PriorTask) -> None:
    whole = seen(many_views, 0, 6)
    assert seen(many_views, 4, 6) == whole[4:]
    shares = [seen(many_views, 0, 6, MicroBatches(index, 2, 2)) for index in range(2)]
    for step, (labels, tokens) in enumerate(whole):
        pieces = [piece for share in shares for piece in share[2 * step : 2 * step + 2]]
        assert [label for piece, _ in pieces for label in piece] == labels
        assert [token for _, piece in pieces for token in piece] == tokens


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


def test_noise_is_in_what_the_prior_sees_and_not_in_what_it_predicts() -> None:
    training = dataclasses.replace(RECIPE.prior_training, token_noise=0.5)
    recipe = dataclasses.replace(RECIPE, prior_training=training)
    tokens, labels = tiny.tokens(4), torch.tensor([0, 1, 1, 0])
    task = prior_task(recipe, ("bright", "dark"), TokenSet(tokens, labels.int()))
    given: list[Tensor] = []

    def model(classes: Tensor, seen: Tensor) -> Tensor:
        given.append(seen)
        return F.one_hot(tokens, 32) * 100.0

    losses = task.losses(model, (labels, tokens), 0, range(4), torch.Generator().manual_seed(0))
    assert losses["cross_entropy"].item() == pytest.approx(0)
    assert 0 < (given[0] != tokens).double().mean() < 1
