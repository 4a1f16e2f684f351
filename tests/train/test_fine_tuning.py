import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from dar import DARPipeline
from dar.errors import DARError
from dar.pipeline import load_prior, load_tokenizer
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.fine_tuning import start_prior, start_tokenizer
from dar.train.prior import train_prior
from dar.train.recipe import Recipe
from dar.train.tokenizer import train_tokenizer
from tests import tiny
from tests.train.photos import small_recipe


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    DARPipeline(tiny.tokenizer(), tiny.prior()).save_pretrained(folder)
    return folder


def recipe(*overrides: str) -> Recipe:
    """A few gentle steps at the tiny model's sizes."""
    chosen = small_recipe("tokenizer_training.learning_rate=1e-6", "tokenizer_training.reseed_steps=0", *overrides)
    prior = {"width": 64, "depth": 2, "num_heads": 2, "mlp_width": 128}
    return dataclasses.replace(chosen, tokenizer=tiny.TOKENIZER, prior=prior)


def state(tokenizer: SequentialDiffusionTokenizer, part: str) -> list[torch.Tensor]:
    return [tensor for name, tensor in tokenizer.state_dict().items() if name.startswith(part)]


def equal(one: SequentialDiffusionTokenizer, other: SequentialDiffusionTokenizer, part: str) -> bool:
    return all(torch.equal(a, b) for a, b in zip(state(one, part), state(other, part), strict=True))


def test_a_tokenizer_goes_on_from_a_model_with_its_codebook(photos: Path, model: Path, tmp_path: Path) -> None:
    train_tokenizer(recipe(), photos, tmp_path / "run", init=model)
    before, after = load_tokenizer(model), load_tokenizer(tmp_path / "run" / "model")
    assert not equal(before, after, "encoder")
    for part in ("encoder", "quantizer", "latent_decoder", "diffusion_decoder"):
        for old, new in zip(state(before, part), state(after, part), strict=True):
            torch.testing.assert_close(old, new, atol=1e-4, rtol=0)


def test_train_decoder_leaves_encoder_and_codebook(photos: Path, model: Path, tmp_path: Path) -> None:
    chosen = recipe("tokenizer_training.train=decoder", "tokenizer_training.learning_rate=1e-3")
    train_tokenizer(chosen, photos, tmp_path / "run", init=model)
    before, after = load_tokenizer(model), load_tokenizer(tmp_path / "run" / "model")
    assert equal(before, after, "encoder")
    assert equal(before, after, "quantizer")
    assert not equal(before, after, "latent_decoder")
    assert not equal(before, after, "diffusion_decoder")


def test_train_decoder_needs_a_model_to_begin_with(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DARError, match="--init"):
        train_tokenizer(recipe("tokenizer_training.train=decoder"), photos, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_clock_may_begin_with_the_same_weights(model: Path) -> None:
    config = dataclasses.replace(tiny.TOKENIZER, time_shift=0.7, final_steps=2)
    tokenizer, said = start_tokenizer(model, config)
    assert tokenizer.config == config
    assert equal(tokenizer, tiny.tokenizer(), "diffusion_decoder")
    assert "time_shift 0.7 instead of 2.0" in said[-1]
    assert "final_steps 2 instead of 1" in said[-1]


def test_other_sizes_are_refused_by_name(model: Path) -> None:
    with pytest.raises(DARError, match="decoder_depth 1, the recipe 3"):
        start_tokenizer(model, dataclasses.replace(tiny.TOKENIZER, decoder_depth=3))
    with pytest.raises(DARError, match="mlp_width 128, the recipe 64"):
        start_prior(model, dataclasses.replace(tiny.PRIOR, mlp_width=64), tiny.tokenizer())


def test_known_classes_keep_their_rows_and_new_ones_begin_as_none(model: Path) -> None:
    config = dataclasses.replace(tiny.PRIOR, class_names=("newt", "cat", "sea_lion"))
    prior, said = start_prior(model, config, tiny.tokenizer())
    old, tokens = tiny.prior(), tiny.tokens(2)

    def logits(of: torch.nn.Module, index: int) -> torch.Tensor:
        return of(torch.tensor([index, index]), tokens)

    for new_index, old_index in ((1, 0), (2, 2), (0, 3), (3, 3)):
        torch.testing.assert_close(logits(prior, new_index), logits(old, old_index))
    assert said[1:] == ["classes kept: cat, sea_lion", "classes begun anew: newt", "classes left out: great dane"]


def test_a_prior_of_other_tokens_is_told(model: Path) -> None:
    other = tiny.tokenizer()
    with torch.no_grad():
        other.quantizer.codebook[0] += 1
    _, said = start_prior(model, tiny.PRIOR, other)
    assert "has to learn what is different" in said[-1]


def test_a_prior_goes_on_from_a_model(photos: Path, model: Path, tmp_path: Path) -> None:
    chosen = recipe("prior_training.learning_rate=1e-6", "prior_training.dropout=0")
    train_prior(chosen, photos, model, tmp_path / "run", init=model)
    after, before = load_prior(tmp_path / "run" / "model"), tiny.prior()
    assert after.config.class_names == ("bright", "dark")
    for name, tensor in before.llama.model.layers.state_dict().items():
        torch.testing.assert_close(after.llama.model.layers.state_dict()[name], tensor, atol=1e-4, rtol=0)


def test_a_resumed_run_goes_on_as_it_was_begun(photos: Path, model: Path, tmp_path: Path) -> None:
    flat = ("tokenizer_training.decay_steps=0", "tokenizer_training.continuous_steps=3")
    train_tokenizer(recipe(*flat), photos, tmp_path / "whole", init=model)
    train_tokenizer(recipe(*flat, "tokenizer_training.steps=5"), photos, tmp_path / "parts", init=model)
    other = tmp_path / "other"
    tiny.tokenizer().save_pretrained(other)
    with pytest.raises(DARError, match=r"was begun with .*model.*leave --init out"):
        train_tokenizer(recipe(*flat), photos, tmp_path / "parts", init=other, resume=True)
    train_tokenizer(recipe(*flat), photos, tmp_path / "parts", resume=True)
    whole, parts = (load_tokenizer(tmp_path / name / "model") for name in ("whole", "parts"))
    assert equal(whole, parts, "")


def test_a_run_begun_with_random_weights_is_not_resumed_with_others(photos: Path, model: Path, tmp_path: Path) -> None:
    train_tokenizer(recipe("tokenizer_training.steps=5"), photos, tmp_path / "run")
    with pytest.raises(DARError, match="begun with random weights"):
        train_tokenizer(recipe(), photos, tmp_path / "run", init=model, resume=True)


def test_a_run_ended_before_its_first_checkpoint_still_begins_with_the_same_weights(
    photos: Path, model: Path, tmp_path: Path
) -> None:
    train_tokenizer(recipe(), photos, tmp_path / "whole", init=model)
    shutil.copytree(tmp_path / "whole", tmp_path / "ended")
    shutil.rmtree(tmp_path / "ended" / "checkpoints")
    shutil.rmtree(tmp_path / "ended" / "model")
    train_tokenizer(recipe(), photos, tmp_path / "ended", resume=True)
    whole, ended = (load_tokenizer(tmp_path / name / "model") for name in ("whole", "ended"))
    assert equal(whole, ended, "")
