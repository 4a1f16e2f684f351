import dataclasses
from pathlib import Path

import pytest

from dar.errors import DARError
from dar.train.recipe import load_recipe, recipe_names
from dar.train.recipe_files import save_recipe
from tests.train.photos import small_recipe


def test_the_package_brings_the_promised_recipes() -> None:
    assert {"debug", "cifar10", "cifar10-cpu", "imagenet256-L", "imagenet256-XL", "imagenet256-XXL"} <= set(
        recipe_names()
    )


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_are_valid(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.prior_config(["a", "b"]).num_tokens == recipe.tokenizer.num_tokens


@pytest.mark.parametrize(
    ("size", "width", "depth"), [("B", 768, 12), ("L", 1024, 24), ("XL", 1280, 36), ("XXL", 1536, 48)]
)
def test_prior_sizes_are_chosen_by_name(size: str, width: int, depth: int) -> None:
    config = load_recipe("imagenet256-L", [f"prior.size={size}"]).prior_config(["a"])
    assert (config.width, config.depth) == (width, depth)


def test_the_tokenizer_too_can_be_chosen_by_name() -> None:
    config = load_recipe("imagenet256-L", ["tokenizer.size=v1", "tokenizer.decoder_depth=10"]).tokenizer
    assert (config.encoder_width, config.num_tokens, config.decoder_depth) == (768, 256, 10)


def test_saved_recipe_reads_the_same(tmp_path: Path) -> None:
    recipe = load_recipe("debug", ["tokenizer_training.steps=1477", "tokenizer_training.betas=[0.8, 0.9]"])
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("tokenizer_training.step=3", "did you mean steps"),
        ("tokenizer_training.steps=0", "steps must be at least 1"),
        ("tokenizer_training.steps=many", "steps must be a whole number"),
        ("tokenizer_training.learning_rate=-1", "learning_rate must be positive"),
        ("tokenizer_training.learning_rate=.nan", "learning_rate must be positive"),
        ("tokenizer_training.precision=fp8", "precision must be"),
        ("tokenizer_training.ema_decay=1", "ema_decay must lie"),
        ("tokenizer_training.perceptual_weight=-0.5", "perceptual_weight must be at least 0"),
        ("tokenizer_training.alignment_weight=.inf", "alignment_weight must be at least 0"),
        ("tokenizer_training.alignment_layer=-1", "alignment_layer must be at least 0"),
        ("tokenizer_training.alignment_weight=0.5", "alignment_layer 8 must be one of the 1 blocks"),
        ("tokenizer_training.adversarial_weight=-1", "adversarial_weight must be at least 0"),
        ("tokenizer_training.adversarial_start=-1", "adversarial_start must be at least 0"),
        ("tokenizer_training.perceptual_weights=3", "perceptual_weights must be text"),
        ("tokenizer_training.alignment_model=", "alignment_model must be text"),
        ("prior_training.label_dropout=1.5", "label_dropout must lie"),
        ("tokenizer.image_size=30", "not a multiple"),
        ("data.crop=left", "crop must be"),
        ("data.flip=maybe", "flip must be true or false"),
        ("tokenizer_training.learning_rate=[1, 2]", "learning_rate must be a number"),
        ("tokenizer_training.steps=20", "do not fit into 20 steps"),
        ("tokenizer_training.continuous_steps=1200", "must be fewer than the 1200 steps"),
        ("prior.size=huge", "prior has no size 'huge'"),
        ("tokenizer.size=v9", "tokenizer has no size 'v9': choose one of v1"),
        ("steps=3", "section.field=value"),
        ("tokenizer_training.steps", "section.field=value"),
        ("optimizer.name=sgd", "the recipe has no field 'optimizer'"),
    ],
)
def test_wrong_overrides_are_named(override: str, named: str) -> None:
    with pytest.raises(DARError, match="recipe debug") as caught:
        load_recipe("debug", [override])
    assert named in str(caught.value)


def test_the_published_recipe_weighs_how_images_look_and_what_they_show() -> None:
    recipe = load_recipe("imagenet256-L")
    training = recipe.tokenizer_training
    assert (training.perceptual_weight, training.alignment_weight, training.adversarial_weight) == (0.5, 0.5, 0)
    assert training.alignment_layer == 8 < recipe.tokenizer.decoder_depth


@pytest.mark.parametrize("layer", [0, 1])
def test_every_block_of_the_decoder_can_be_aligned(layer: int) -> None:
    overrides = ["tokenizer.decoder_depth=2", "tokenizer_training.alignment_weight=0.5"]
    overrides.append(f"tokenizer_training.alignment_layer={layer}")
    assert load_recipe("debug", overrides).tokenizer_training.alignment_layer == layer


def test_images_too_small_to_look_at_are_refused() -> None:
    small = ["tokenizer.image_size=8", "tokenizer_training.perceptual_weight=0.5"]
    with pytest.raises(DARError, match="perceptual_weight needs images of at least 16 pixels"):
        load_recipe("debug", small)


def test_unknown_recipe_lists_the_known() -> None:
    known = (
        "cifar10, cifar10-cpu, cifar10-decoder, cifar10-finetune, debug, imagenet256-L, imagenet256-XL, imagenet256-XXL"
    )
    with pytest.raises(DARError, match=known):
        load_recipe("nothing")


def test_file_that_is_not_a_recipe(tmp_path: Path) -> None:
    for content, named in (("a: [", "not valid YAML"), ("- 1", "mapping of sections"), ("tokenizer: {}", "steps")):
        (tmp_path / "r.yaml").write_text(content)
        with pytest.raises(DARError, match=named):
            load_recipe(tmp_path / "r.yaml")


def test_learning_rate_warms_up_stays_and_decays() -> None:
    settings = dataclasses.replace(
        load_recipe("debug").tokenizer_training,
        steps=100,
        continuous_steps=0,
        warmup_steps=10,
        decay_steps=20,
        learning_rate=1.0,
        final_learning_rate=0.1,
    )
    assert settings.learning_rate_at(0) == pytest.approx(0.1)
    assert settings.learning_rate_at(9) == settings.learning_rate_at(79) == 1.0
    assert settings.learning_rate_at(90) == pytest.approx(0.1 + 0.9 / 2)
    assert settings.learning_rate_at(99) == pytest.approx(0.1 + 0.9 / 20)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.max_broken_share=2", "max_broken_share must lie in 0 to 1, not 2"),
        ("data.max_broken_share=.nan", "max_broken_share must lie in 0 to 1, not nan"),
        ("data.shuffle_buffer=0", "shuffle_buffer must be at least 1"),
        ("data.streaming=maybe", "streaming must be true or false"),
    ],
)
def test_settings_of_data_are_checked(override: str, said: str) -> None:
    with pytest.raises(DARError, match=said):
        load_recipe("debug", [override])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("own_state_share=1", "own_state_share must lie in 0 to 1"),
        ("own_state_share=0.1", "needs a loss on the predicted image"),
        ("train=encoder", "train must be 'all' or 'decoder'"),
        ("adversarial_halvings=4", "adversarial_halvings must be 1, 2 or 3"),
    ],
)
def test_settings_of_a_tokenizer_training_are_checked(override: str, said: str) -> None:
    with pytest.raises(DARError, match=said):
        small_recipe(f"tokenizer_training.{override}")


@pytest.mark.parametrize(
    "text",
    ["a: !!bool x", "a: !!timestamp x", "a: !!int ''", "a: !!float ''", "a: " + 20_000 * "[", "a: " + "9" * 6000],
)
def test_values_that_a_yaml_library_stumbles_over_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(DARError, match="recipe"):
        load_recipe(str(path))
    with pytest.raises(DARError, match="recipe debug"):
        load_recipe("debug", [f"tokenizer.image_size={text.removeprefix('a: ')}"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"tokenizer: \xff\xfe", "codec can't decode"),
        (b"a: &a [1]\nb: [*a, *a]", "has an alias"),
        (b"a: " + 200 * b"[" + 200 * b"]", "nested too deep"),
        (b"a: 1\n" * 100_000, "longer than 262144 bytes"),
        (b"tokenizer: 5", "tokenizer must be a mapping of fields to values, not 5"),
        (b"prior: [a]", "prior must be a mapping"),
        (b"prior: {size: [a]}", "prior has no size"),
        (b"prior: {norm_eps: true}", "norm_eps must be a number, not True"),
    ],
)
def test_files_that_are_no_recipe_are_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    start = b"" if content.startswith(b"a") else b"tokenizer_training: {steps: 1000, batch_size: 1, learning_rate: 1}\n"
    start += start.replace(b"tokenizer", b"prior")
    path.write_bytes(start + content)
    with pytest.raises(DARError, match=said):
        load_recipe(str(path))


def test_names_that_are_too_long_for_the_system_are_no_recipes() -> None:
    with pytest.raises(DARError, match="there is no recipe 'xxx"):
        load_recipe("x" * 5000)
