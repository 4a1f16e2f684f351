"""The velocity network on pixels (docs/architecture.md, step 5)."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from dar.fields import HEAD_WIDTH
from dar.nn import (
    Attention,
    FeedForward,
    KeysValues,
    Rotary,
    grid_rotary,
    init_linear,
    init_zero,
    keep,
    layer_norm,
    modulate,
)
from dar.packed_linear import Linear
from dar.token_cache import TokenCache, seen_mask
from dar.tokenizer.config import TokenizerConfig


def sinusoid(t_B: Tensor, width: int) -> Tensor:
    """Compute cosines, then sines, of 1000 t at width / 2 frequencies 10000^(-2i / width): B -> B x width, float32."""
    exponents = torch.arange(width // 2, dtype=torch.float64, device=t_B.device) / (width // 2)
    angles = 1000 * t_B.float()[:, None] * torch.pow(10000, -exponents).float()
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """Embeds a time in [0, 1] as a vector of width D."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(Linear(width, width), nn.SiLU(), Linear(width, width))

    def forward(self, t_B: Tensor) -> Tensor:
        """B -> B x D: a sinusoid through two linear layers."""
        return self.mlp(sinusoid(t_B, self.width).to(self.dtype))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.parameters()).dtype


class DiffusionBlock(nn.Module):
    """A transformer block over patches that time and condition tokens modulate, patch by patch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.time = TimeEmbedding(width)
        self.condition_mlp = nn.Sequential(Linear(width, width), nn.SiLU(), Linear(width, width))
        self.cross_attention = Attention(width)
        last = Linear(width, 6 * width)
        self.modulation = nn.Sequential(nn.SiLU(), last)
        self.attention = Attention(width)
        self.mlp = FeedForward(width)
        self.apply(init_linear)
        init_zero(last)  # the block starts as the identity

    def forward(
        self, h_BTD: Tensor, t_B: Tensor, condition_BSD: Tensor, rotary: Rotary, visible_BS: Tensor | None = None
    ) -> Tensor:
        """Transform B x T x D patch tokens, given B times, or one, and B x S x D conditions."""
        mask = None if visible_BS is None else visible_BS[:, None, None]
        return self.transform(h_BTD, t_B, self.keys_values(condition_BSD), rotary, mask)

    def keys_values(self, condition_BSD: Tensor) -> KeysValues:
        """Compute what patches look at of the conditions; it depends neither on them nor on the time."""
        return self.cross_attention.keys_values(layer_norm(self.condition_mlp(condition_BSD)))

    def transform(
        self, h_BTD: Tensor, t_B: Tensor, seen: KeysValues, rotary: Rotary, mask: Tensor | None = None
    ) -> Tensor:
        """Do as ``forward``, given what it looks at."""
        normed = layer_norm(h_BTD)
        guide = self.cross_attention.look(normed, seen, rotary, mask)
        modulation = self.modulation(self.time(t_B)[:, None] + guide)  # B T 6D
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
        modulated = modulate(normed, shift1, scale1)
        attended = self.attention(modulated, modulated, query_rotary=rotary, key_rotary=rotary)
        h_BTD = torch.addcmul(h_BTD, gate1, attended)
        return torch.addcmul(h_BTD, gate2, self.mlp(modulate(layer_norm(h_BTD), shift2, scale2)))


class DiffusionDecoder(nn.Module):
    """Predicts the velocity of the flow at a noisy image, given the conditions of a step.

    Args:
        config: sizes.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.patch = config.decoder_patch_size
        self.grid = config.image_size // self.patch
        self.condition_in = Linear(width, width)
        self.inward = Linear(3 * self.patch**2, width)
        self.blocks = nn.ModuleList(DiffusionBlock(width) for _ in range(config.decoder_depth))
        self.out = Linear(width, 3 * self.patch**2)
        init_linear(self.condition_in)
        init_linear(self.inward)
        init_zero(self.out)  # the velocity starts at zero
        cos, sin = grid_rotary(self.grid, self.grid, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @property
    def _typed_blocks(self) -> Sequence[DiffusionBlock]:
        return cast("Sequence[DiffusionBlock]", self.blocks)

    def new_cache(self, rows: int, room: int) -> TokenCache:
        """Make an empty cache of what R rows have seen, of at most ``room`` conditions each."""
        weight = self.inward.weight
        return TokenCache(weight.new_zeros(len(self.blocks), 2, rows, len(weight) // HEAD_WIDTH, room, HEAD_WIDTH))

    def forward(self, x_B3HW: Tensor, t_B: Tensor, condition_BSD: Tensor) -> Tensor:
        """Predict the velocity.

        Args:
            x_B3HW: noisy images.
            t_B: their times, or one for all.
            condition_BSD: conditions that all patches see.

        Returns:
            B x 3 x H x W.
        """
        last = deque(self._states(x_B3HW, t_B, condition_BSD), maxlen=1).pop()  # earlier ones are freed as it goes
        return self._end(last)

    def see(self, condition_BSD: Tensor, cache: TokenCache) -> None:
        """Compute, once for all steps, what patches look at of S more conditions."""
        condition = layer_norm(self.condition_in(condition_BSD))
        place = cache.place(condition.shape[1])
        for block, kept in zip(self._typed_blocks, cache.tensors, strict=True):
            keep((kept, place), block.keys_values(condition))
        cache.extend([condition.shape[1]] * len(condition))

    def velocity(self, x_B3HW: Tensor, t_B: Tensor, cache: TokenCache) -> Tensor:
        """Do as ``forward``, given what each row has seen."""
        h, mask = self.inward(self._to_patches(x_B3HW)), seen_mask(cache.lengths, x_B3HW.device)
        for block, (key, value) in zip(self._typed_blocks, cache.tensors[..., : max(cache.lengths), :], strict=True):
            h = block.transform(h, t_B, (key, value), (self.cos, self.sin), mask)
        return self._end(h)

    def compile_steps(self) -> None:
        """Let ``velocity`` compile the blocks, all by the same code, at its first call."""
        for block in self._typed_blocks:
            block.transform = torch.compile(block.transform)  # type: ignore[method-assign]

    def forward_with_hidden(
        self, x_B3HW: Tensor, t_B: Tensor, condition_BSD: Tensor, visible_BS: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Do as ``forward``; also return the patch tokens that each block was given, B x T x D each, row by row.

        ``visible_BS`` is False for the conditions that an image's patches may not look at; None lets them see all.
        """
        *hidden, last = self._states(x_B3HW, t_B, condition_BSD, visible_BS)
        return self._end(last), tuple(hidden)

    def _states(
        self, x_B3HW: Tensor, t_B: Tensor, condition_BSD: Tensor, visible_BS: Tensor | None = None
    ) -> Iterator[Tensor]:
        """Yield the patch tokens that each block is given, then those that the last one gives."""
        h, condition = self.inward(self._to_patches(x_B3HW)), layer_norm(self.condition_in(condition_BSD))
        yield h
        for block in self.blocks:
            h = block(h, t_B, condition, (self.cos, self.sin), visible_BS)
            yield h

    def _end(self, h_BTD: Tensor) -> Tensor:
        """Turn the last block's patch tokens into the velocity."""
        return self._to_pixels(self.out(layer_norm(h_BTD)))

    def _to_patches(self, x_B3HW: Tensor) -> Tensor:
        """B x 3 x H x W -> B x T x 3pp; a patch's channels run over colour, row, column."""
        x = x_B3HW.unflatten(3, (self.grid, self.patch)).unflatten(2, (self.grid, self.patch))  # B 3 g p g p
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def _to_pixels(self, x_BTP: Tensor) -> Tensor:
        x = x_BTP.unflatten(2, (3, self.patch, self.patch)).unflatten(1, (self.grid, self.grid))  # B g g 3 p p
        return x.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
