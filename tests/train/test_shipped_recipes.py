"""Every recipe of the package runs, with sizes shrunk."""

from pathlib import Path

import pytest

from dar import DARPipeline
from dar.train.loop import Outcome
from dar.train.prior import train_prior
from dar.train.recipe import load_recipe, recipe_names
from dar.train.tokenizer import train_tokenizer
from tests.train.photos import photo_folder

SHRUNK = (
    "data.workers=0",
    "tokenizer.image_size=16",
    "tokenizer.encoder_patch_size=4",
    "tokenizer.decoder_patch_size=4",
    "tokenizer.encoder_width=64",
    "tokenizer.decoder_width=64",
    "tokenizer.encoder_depth=1",
    "tokenizer.latent_decoder_depth=1",
    "tokenizer.decoder_depth=2",
    "tokenizer.num_tokens=16",
    "tokenizer.codebook_size=32",
    "tokenizer_training.train=all",  # there is no model to begin with here
    "tokenizer_training.steps=2",
    "tokenizer_training.batch_size=8",
    "tokenizer_training.warmup_steps=1",
    "tokenizer_training.decay_steps=0",
    "tokenizer_training.continuous_steps=0",
    "tokenizer_training.compile=false",
    "tokenizer_training.perceptual_weight=0",  # their networks have tests of their own, and are large
    "tokenizer_training.alignment_weight=0",
    "prior.width=64",
    "prior.depth=1",
    "prior.num_heads=2",
    "prior.mlp_width=64",
    "prior_training.steps=2",
    "prior_training.batch_size=8",
    "prior_training.warmup_steps=1",
    "prior_training.decay_steps=0",
    "prior_training.compile=false",
)


@pytest.mark.parametrize("name", recipe_names())
def test_two_steps_of_a_shipped_recipe(name: str, tmp_path: Path) -> None:
    recipe, photos = load_recipe(name, SHRUNK), photo_folder(tmp_path / "photos")
    tokenizer = tmp_path / "tokenizer"
    assert train_tokenizer(recipe, photos, tokenizer) is Outcome.FINISHED
    assert train_prior(recipe, photos, tokenizer / "model", tmp_path / "prior") is Outcome.FINISHED
    assert DARPipeline.from_pretrained(tmp_path / "prior" / "model")(["dark"]).images[0].size == (16, 16)


@pytest.mark.parametrize("name", ["cifar10-decoder", "cifar10-finetune"])
def test_what_begins_with_the_bundled_model_has_its_sizes(name: str) -> None:
    recipe, pipe = load_recipe(name), DARPipeline.from_pretrained()
    assert recipe.tokenizer == pipe.tokenizer.config
    assert recipe.prior_config(pipe.prior.config.class_names) == pipe.prior.config
