"""Image to token latents (docs/architecture.md, step 1)."""

import torch
from torch import Tensor, nn

from dar.nn import Block, grid_rotary, init_linear, layer_norm
from dar.packed_linear import Linear
from dar.tokenizer.config import TokenizerConfig


class Encoder(nn.Module):
    """Learned queries read the image's patches, each seeing all patches and the queries before it.

    Args:
        config: sizes.
    """

    cos: Tensor
    sin: Tensor
    mask: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        patch, width = config.encoder_patch_size, config.encoder_width
        grid = config.image_size // patch
        self.num_tokens = config.num_tokens
        self.patchify = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.queries = nn.Parameter(torch.randn(config.num_tokens, config.codebook_dim))
        self.query_in = Linear(config.codebook_dim, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(config.encoder_depth))
        self.out = Linear(width, config.codebook_dim, bias=False)
        self.apply(init_linear)
        cos, sin = grid_rotary(grid, grid, config.rope_theta, num_extra=config.num_tokens)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.register_buffer("mask", _visibility(grid * grid, config.num_tokens), persistent=False)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """Encode images to latents, before quantisation: B x 3 x H x W in [-1, 1] -> B x N x codebook_dim."""
        patches = layer_norm(self.patchify(image_B3HW).flatten(2).transpose(1, 2))
        queries = self.query_in(self.queries).expand(len(patches), -1, -1)
        x = torch.cat([patches, queries], dim=1)
        for block in self.blocks:
            x = block(x, rotary=(self.cos, self.sin), mask=self.mask)
        return self.out(layer_norm(x[:, -self.num_tokens :]))


def _visibility(patches: int, queries: int) -> Tensor:
    """Mark where a token (row) sees another (column): all see the patches, queries also see earlier queries."""
    total = patches + queries
    mask = torch.ones(total, total, dtype=torch.bool).tril()
    mask[:, :patches] = True
    return mask
