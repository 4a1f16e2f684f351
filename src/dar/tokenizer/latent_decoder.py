"""Codebook entries to conditions of the diffusion decoder (docs/architecture.md, step 3)."""

import torch
from torch import Tensor, nn

from dar.fields import HEAD_WIDTH
from dar.nn import Block, init_linear, layer_norm
from dar.packed_linear import Linear
from dar.token_cache import Place, TokenCache
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

    def new_cache(self, rows: int) -> TokenCache:
        """Make an empty cache of R rows, for calling ``forward`` group by group."""
        weight, (room, width) = self.inward.weight, self.positions.shape
        return TokenCache(weight.new_zeros(len(self.blocks), 2, rows, width // HEAD_WIDTH, room, HEAD_WIDTH))

    def forward(self, entries_BTC: Tensor, cache: TokenCache | None = None) -> Tensor:
        """Compute conditions of T consecutive tokens: B x T x codebook_dim -> B x T x D.

        Args:
            entries_BTC: codebook entries of the tokens after those that each row has seen.
            cache: what they have seen before, extended in place; None means nothing.
        """
        rows, new = entries_BTC.shape[:2]
        place = Place.of([0] * rows, new, new, entries_BTC.device) if cache is None else cache.place(new)
        x = self.inward(entries_BTC) + self.positions[place.positions]
        for i, block in enumerate(self.blocks):
            x = block(x, mask=place.mask, kept=None if cache is None else (cache.tensors[i], place))
        if cache is not None:
            cache.extend([new] * rows)
        return layer_norm(x)
