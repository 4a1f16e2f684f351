"""Codebook entries to conditions of the diffusion decoder (docs/architecture.md, step 3)."""

import torch
from torch import Tensor, nn

from dar.nn import Block, KeyValueCache, init_linear, layer_norm
from dar.packed_linear import Linear
from dar.tokenizer.config import TokenizerConfig


class LatentDecoder(nn.Module):
    """A causal transformer: the condition of token i depends on the tokens up to i alone.

    Args:
        config: sizes.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.inward = Linear(config.codebook_dim, width, bias=False)
        self.positions = nn.Parameter(0.02 * torch.randn(config.num_tokens, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(config.latent_decoder_depth))
        self.apply(init_linear)

    def new_cache(self) -> list[KeyValueCache]:
        """Make an empty cache, one entry a block, for calling ``forward`` group by group."""
        return [KeyValueCache() for _ in self.blocks]

    def forward(self, entries_BTC: Tensor, start: int = 0, cache: list[KeyValueCache] | None = None) -> Tensor:
        """Compute conditions of T consecutive tokens: B x T x codebook_dim -> B x T x D.

        Args:
            entries_BTC: codebook entries of the tokens ``start`` to ``start + T``.
            start: how many tokens came before; needs the ``cache`` that saw them.
            cache: from ``new_cache``; extended in place.
        """
        length = entries_BTC.shape[1]
        x = self.inward(entries_BTC) + self.positions[start : start + length]
        mask = torch.ones(length, start + length, dtype=torch.bool, device=x.device).tril(diagonal=start)
        for i, block in enumerate(self.blocks):
            x = block(x, mask_TS=mask, cache=cache[i] if cache else None)
        return layer_norm(x)
