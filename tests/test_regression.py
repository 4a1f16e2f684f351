"""The models still compute what they computed when they agreed with the reference implementation."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests import tiny
from tests.fixtures import make


@pytest.mark.parametrize(
    ("path", "compute"), [(make.TOKENIZER, make.tokenizer_outputs), (make.PRIOR, make.prior_outputs)]
)
def test_outputs_are_those_recorded(path: Path, compute: Callable[[], dict[str, Tensor]]) -> None:
    recorded, computed = load_file(path), compute()
    assert recorded.keys() == computed.keys()
    for name, expected in recorded.items():
        if expected.dtype == torch.int64:
            assert torch.equal(computed[name], expected), name
        else:
            assert tiny.relative_error(computed[name], expected) < 1e-4, name


def test_every_weight_matters_to_what_is_recorded() -> None:
    """A model with a parameter that changes no output would let a bug there pass."""
    for model, compute in ((tiny.tokenizer(), _all_outputs), (tiny.prior(), _logits)):
        compute(model).backward()
        idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert not idle


def _all_outputs(model: torch.nn.Module) -> Tensor:
    output = model(tiny.pixels(4), torch.tensor([0.1, 0.3, 0.6, 0.9]), tiny.noise(4), quantised=False)
    return output.velocity.square().mean() + (output.entries - output.latents.detach()).square().mean()


def _logits(model: torch.nn.Module) -> Tensor:
    return model(torch.arange(4), tiny.tokens(4)).square().mean()
