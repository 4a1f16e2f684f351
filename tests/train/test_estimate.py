import pytest
import torch

from dar.prior.config import PRIOR_SIZES
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.estimate import Estimate, estimate_prior, estimate_tokenizer, matrix_rate
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


def test_the_estimate_in_words() -> None:
    lines = Estimate(10**6, 2 * 10**7, 10**9, 1e15, 10**6).lines(rate=1e12, processes=2)
    assert lines[0] == "parameters   1.00 M"
    assert "1.00 GFLOP an image, 1,000,000 images" in lines[2]
    assert "about 21 minutes" in lines[3]


def test_the_matrix_rate_is_a_rate() -> None:
    assert 1e8 < matrix_rate(torch.device("cpu"), torch.float32, size=256, seconds=0.05) < 1e15
