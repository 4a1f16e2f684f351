"""How much of a codebook is in use."""

import torch
from torch import Tensor


def usage(counts_V: Tensor) -> float:
    """Compute the share of the codebook that was used at all, 0 to 1."""
    return (counts_V > 0).double().mean().item()


def perplexity(counts_V: Tensor) -> float:
    """Compute the exponential of the codes' entropy: how many equally frequent codes would be as diverse, 1 to V."""
    shares = counts_V.double() / counts_V.sum()
    return torch.special.entr(shares).sum().exp().item()
