"""Random models of the smallest sizes at which every part still matters, and random inputs for them."""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from dar.prior import Prior, PriorConfig
from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig

Model = TypeVar("Model", bound=nn.Module)

TOKENIZER = TokenizerConfig(
    image_size=16,
    encoder_patch_size=4,
    encoder_width=64,
    encoder_depth=2,
    num_tokens=8,
    num_groups=4,
    codebook_size=32,
    latent_decoder_depth=2,
    decoder_patch_size=4,
    decoder_width=64,
    decoder_depth=1,
    num_steps=4,
)
PRIOR = PriorConfig(
    class_names=("cat", "great dane", "sea_lion"),
    codebook_size=32,
    num_tokens=8,
    width=64,
    depth=2,
    num_heads=2,
    mlp_width=128,
)


def tokenizer(config: TokenizerConfig = TOKENIZER) -> SequentialDiffusionTokenizer:
    return randomise(SequentialDiffusionTokenizer(config), seed=1)


def prior(config: PriorConfig = PRIOR) -> Prior:
    return randomise(Prior(config), seed=2)


@torch.no_grad()
def randomise(model: Model, seed: int) -> Model:
    """Replace all parameters, those too that start at zero or one; the same on every platform and version."""
    chance = np.random.RandomState(seed)
    for name, parameter in sorted(model.named_parameters()):
        values = torch.from_numpy(chance.standard_normal(tuple(parameter.shape)))
        if parameter.dim() > 1:
            parameter.copy_(values / parameter[0].numel() ** 0.5)
        else:
            parameter.copy_(0.3 * values + name.endswith("norm.weight"))
    return model.eval()


def pixels(count: int, seed: int = 3, size: int = TOKENIZER.image_size) -> Tensor:
    """Images in [-1, 1]."""
    return torch.from_numpy(np.random.RandomState(seed).uniform(-1, 1, (count, 3, size, size))).float()


def noise(count: int, seed: int = 4, size: int = TOKENIZER.image_size) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).standard_normal((count, 3, size, size))).float()


def tokens(count: int, seed: int = 5, length: int = TOKENIZER.num_tokens) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randint(0, TOKENIZER.codebook_size, (count, length))).long()


def uniforms(count: int, seed: int = 6, length: int = TOKENIZER.num_tokens) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).uniform(0, 1, (count, length)))


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()
