from dataclasses import replace

import pytest
import torch

from dar.errors import DARError
from dar.features.classifier import ImageClassifier
from dar.prior.config import PRIOR_SIZES
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.classifier_recipe import load_classifier_recipe
from dar.train.estimate import (
    Estimate,
    duration,
    estimate_classifier,
    estimate_prior,
    estimate_tokenizer,
    matrix_rate,
)
from dar.train.hardware import Hardware
from dar.train.recipe import load_recipe
from tests.train.photos import small_recipe


def test_operations_of_a_llama_are_those_of_the_formula() -> None:
    """Six operations a weight and token, and attention's two products, forward and twice backward."""
    recipe = load_recipe("imagenet256-L", ["prior_training.precision=fp32"])
    size, length = PRIOR_SIZES["L"], recipe.tokenizer.num_tokens
    weights = size["depth"] * size["width"] * (4 * size["width"] + 3 * size["mlp_width"])
    weights += (recipe.tokenizer.codebook_size + 1001) * size["width"]
    attention = 12 * size["depth"] * size["width"] * length**2
    estimate = estimate_prior(recipe, 1000)
    assert estimate.operations / estimate.images == pytest.approx(6 * weights * length + attention, rel=0.05)
    assert estimate.images == 375_000 * 1024


def test_counting_needs_neither_memory_nor_weights() -> None:
    estimate = estimate_tokenizer(load_recipe("imagenet256-L"))
    assert estimate.parameters == 299_503_808
    assert estimate.state_bytes == 20 * 299_503_808


def test_activations_are_those_that_a_real_pass_keeps() -> None:
    recipe = small_recipe("tokenizer_training.batch_size=2")
    model = SequentialDiffusionTokenizer(recipe.tokenizer)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    pixels = torch.zeros(2, 3, 16, 16)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model(pixels, torch.rand(2), torch.zeros_like(pixels))
    assert output.velocity.requires_grad
    assert estimate_tokenizer(recipe).activation_bytes == pytest.approx(sum(kept.values()), rel=0.2)


def test_shards_and_pieces_divide_memory() -> None:
    whole = estimate_prior(small_recipe(), 2)
    shared = estimate_prior(small_recipe("prior_training.sharded=true", "prior_training.gradient_accumulation=2"), 2, 2)
    assert shared.state_bytes == whole.state_bytes // 2
    assert shared.activation_bytes == pytest.approx(whole.activation_bytes / 4, rel=0.01)
    assert shared.operations == whole.operations


ESTIMATE = Estimate(
    section="prior_training",
    parameters=10**6,
    state_bytes=2 * 10**7,
    kept_bytes=10**9,
    recomputed_bytes=10**8,
    images_at_once=32,
    images_a_process=32,
    recomputes=False,
    operations=1e15,
    images=10**6,
)
ROOMY = Hardware("this machine", 2, rate=1e12, memory=64e9, bf16=False, is_measured=True)


def test_the_estimate_in_words() -> None:
    lines = ESTIMATE.lines(ROOMY)
    assert lines[0] == "parameters   1.00 M"
    assert "32.00 GB of activations, per process; there are 64 GB" in lines[1]
    assert "1.00 GFLOP an image, 1,000,000 images" in lines[2]
    assert "an estimate: about 21 minutes with 2 processes on this machine" in lines[3]
    assert len(lines) == 4


def test_what_does_not_fit_is_told_with_the_remedy() -> None:
    told = ESTIMATE.lines(replace(ROOMY, memory=10e9))[1]
    assert "there are 10 GB, TOO LITTLE: prior_training.gradient_accumulation=4 needs 8.00 GB of activations or" in told
    recomputing = "prior_training.gradient_accumulation=1 with prior_training.recompute_activations=true"
    assert f"{recomputing} (a third more computing) needs 3.20 GB" in told
    assert "TOO LITTLE: not even one image" in ESTIMATE.lines(replace(ROOMY, memory=1e8))[1]
    told = ESTIMATE.lines(replace(ROOMY, memory=2e7))[1]
    assert "TOO LITTLE for the model alone: choose a smaller one, or spread it over more processes" in told


def test_what_takes_too_long_is_pointed_elsewhere() -> None:
    slow = replace(ROOMY, rate=1e6)
    assert "about 40 years" in ESTIMATE.lines(slow)[3]
    assert "--on h100x8" in ESTIMATE.lines(slow)[4]
    assert len(ESTIMATE.lines(replace(slow, is_measured=False))) == 4


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, "1 minute"), (5000, "83 minutes"), (7200, "2 hours"), (4e5, "5 days"), (7e6, "3 months"), (7e8, "22 years")],
)
def test_times_are_told_in_units_that_people_use(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_recomputing_keeps_what_goes_into_blocks_and_one_block() -> None:
    recipe = small_recipe("prior.depth=8")
    kept, recomputed = (
        estimate_prior(recipe if not change else small_recipe("prior.depth=8", change), 2)
        for change in ("", "prior_training.recompute_activations=true")
    )
    deeper = estimate_prior(small_recipe("prior.depth=16"), 2)
    width = recipe.prior_config(("any",)).width
    assert recomputed.activation_bytes < 0.5 * kept.activation_bytes
    assert deeper.recomputed_bytes - kept.recomputed_bytes == 8 * recipe.tokenizer.num_tokens * width * 4
    assert recomputed.operations == pytest.approx(kept.operations * 4 / 3)


def test_a_classifier_is_counted() -> None:
    estimate = estimate_classifier(load_classifier_recipe("classifier-cifar10"), 10)
    model = ImageClassifier(load_classifier_recipe("classifier-cifar10").config([str(i) for i in range(10)]))
    assert estimate.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert estimate.operations > 0
    assert estimate.kept_bytes == estimate.recomputed_bytes > 0


def test_a_batch_that_the_processes_cannot_share_is_refused() -> None:
    with pytest.raises(DARError, match="cannot be divided among 3 processes"):
        estimate_prior(small_recipe(), 2, processes=3)


def test_the_matrix_rate_is_a_rate() -> None:
    assert 1e8 < matrix_rate(torch.device("cpu"), torch.float32, size=256, seconds=0.05) < 1e15
