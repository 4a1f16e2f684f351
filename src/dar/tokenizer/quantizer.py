"""Latents to codes and back (docs/architecture.md, step 2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dar.tokenizer.config import TokenizerConfig


class Quantizer(nn.Module):
    """A codebook on the unit sphere.

    Args:
        config: sizes.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.codebook = nn.Parameter(F.normalize(torch.randn(config.codebook_size, config.codebook_dim), dim=-1))

    def nearest(self, latents: Tensor) -> Tensor:
        """Find the nearest codebook entry's code for each latent: ... x codebook_dim -> ..., int64.

        On the unit sphere the nearest entry is the one with the largest inner product.
        """
        with torch.autocast(latents.device.type, enabled=False):  # training must choose the codes that encoding does
            unit = F.normalize(latents.detach().float(), dim=-1).flatten(0, -2)
            entries = F.normalize(self.codebook.detach().float(), dim=-1)
            return (unit @ entries.T).argmax(-1).view(latents.shape[:-1])

    def lookup(self, codes: Tensor) -> Tensor:
        """Look up codebook entries, of unit length: ... int64 -> ... x codebook_dim."""
        return F.normalize(F.embedding(codes, self.codebook), dim=-1)
