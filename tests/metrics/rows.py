"""Rows of features, drawn."""

import torch
from torch import Tensor


def line(*places: float) -> Tensor:
    return torch.tensor(places).float()[:, None]


def normal(count: int, width: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def whole(count: int, seed: int = 0) -> Tensor:
    """Rows whose norms, products and distances are exact in float16, with many ties."""
    return torch.randint(-4, 5, (count, 4), generator=torch.Generator().manual_seed(seed)).float()
