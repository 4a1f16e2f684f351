"""Attention, rotary embedding and transformer blocks, shared by every part of the tokenizer.

Shape legend: B images, T tokens, S context tokens, D width, H heads, C channels of a head (always 64).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dar.fields import HEAD_WIDTH
from dar.packed_linear import KeptPacking, Linear, products
from dar.token_cache import Place

NORM_EPS = 1e-6

SHORT_CONTEXT = 256
"""Up to so many context tokens, attention on a CPU is written out in training."""

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines, each T x C/2: the angle by which each adjacent channel pair of a token turns."""


def layer_norm(x: Tensor) -> Tensor:
    """Apply LayerNorm over the last dimension, without learned scale and shift."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Scale by 1 + ``scale``, then shift."""
    return torch.addcmul(x + shift, x, scale)


def init_linear(module: nn.Module) -> None:
    """Start a linear layer with Xavier-uniform weights and no bias; leave other modules alone."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_zero(module: nn.Linear) -> None:
    """Start a linear layer at zero."""
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)


def grid_rotary(height: int, width: int, theta: float, num_extra: int = 0) -> Rotary:
    """Make the two-dimensional rotary table of a grid in row-major order (docs/architecture.md, "Parts").

    The first half of a head's channels turns with the row, the second half with the column.

    Args:
        height: rows of the grid.
        width: columns of the grid.
        theta: base of the geometric series of frequencies.
        num_extra: tokens that follow the grid and have no place in it; they are not rotated.

    Returns:
        Cosines and sines, each (height * width + num_extra) x 32, float32.
    """
    half = HEAD_WIDTH // 2
    frequencies = theta ** (-torch.arange(0, half, 2, dtype=torch.float64) / half)  # 16
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64), indexing="ij"
    )
    places = torch.stack([rows, columns], dim=-1).reshape(-1, 2, 1)  # T 2 1
    angles = (places * frequencies).flatten(1)  # T 32
    angles = torch.cat([angles, angles.new_zeros(num_extra, half)])
    return angles.cos().float(), angles.sin().float()


def rotate(x_BHTC: Tensor, rotary: Rotary) -> Tensor:
    """Turn adjacent channel pairs of each token by its angles."""
    cos, sin = rotary  # float32, whatever the weights are
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        even, odd = x_BHTC[..., ::2], x_BHTC[..., 1::2]  # unbind, compiled by torch 2.13 for CPUs, has gradients of NaN
        turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    else:  # one pass over memory instead of seven: a tenth of the time on a CPU
        precise = torch.promote_types(x_BHTC.dtype, torch.float32)
        pairs = torch.view_as_complex(x_BHTC.to(precise).unflatten(-1, (-1, 2)))
        turned = torch.view_as_real(pairs * torch.complex(cos.to(precise), sin.to(precise)))
    return turned.flatten(-2).type_as(x_BHTC)


KeysValues = tuple[Tensor, Tensor]
"""Keys and values of S context tokens, each B x H x S x C."""

Kept = tuple[Tensor, Place]
"""Keys and values that a layer keeps, 2 x B x H x S x C, and where new ones go."""


class Attention(nn.Module):
    """Multi-head attention with biased projections and per-head LayerNorm on queries and keys.

    Args:
        width: D, a multiple of 64; the number of heads is D / 64.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % HEAD_WIDTH:
            raise ValueError(f"attention width must be a multiple of {HEAD_WIDTH}, not {width}")
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.out = Linear(width, width)
        self.query_norm = nn.LayerNorm(HEAD_WIDTH, eps=NORM_EPS)
        self.key_norm = nn.LayerNorm(HEAD_WIDTH, eps=NORM_EPS)
        self._packing = KeptPacking()

    def forward(
        self,
        x_BTD: Tensor,
        context_BSD: Tensor,
        *,
        query_rotary: Rotary | None = None,
        key_rotary: Rotary | None = None,
        mask: Tensor | None = None,
        kept: Kept | None = None,
    ) -> Tensor:
        """Let each of T tokens look at S context tokens.

        Args:
            x_BTD: tokens that ask.
            context_BSD: tokens that answer; pass ``x_BTD`` itself for self-attention.
            query_rotary: rotation of the queries, or None.
            key_rotary: rotation of the keys, or None.
            mask: boolean, T x S or B x 1 x T or 1 x S, True where token t may see context token s; None lets all see
                all.
            kept: keys and values of tokens before the context's own, which are stored beside them.

        Returns:
            B x T x D.
        """
        query, *projected = self._project(x_BTD, context_BSD)
        key, value = self._keys_values(projected[0], projected[1], key_rotary)
        if kept is not None:
            key, value = keep(kept, (key, value))
        return self._mix(query, (key, value), query_rotary, mask)

    def keys_values(self, context_BSD: Tensor) -> KeysValues:
        """Compute the keys and values of context tokens, for ``look``."""
        key, value = products([self.key, self.value], context_BSD, self._packing)
        return self._keys_values(key, value, None)

    def look(
        self, x_BTD: Tensor, seen: KeysValues, query_rotary: Rotary | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Let each of T tokens look at tokens whose keys and values are there: B x T x D; see ``forward``."""
        return self._mix(self.query(x_BTD), seen, query_rotary, mask)

    def _project(self, x_BTD: Tensor, context_BSD: Tensor) -> tuple[Tensor, ...]:
        """Compute queries, keys and values, those of the same input in one product."""
        if context_BSD is x_BTD:
            return products([self.query, self.key, self.value], x_BTD, self._packing)
        return self.query(x_BTD), *products([self.key, self.value], context_BSD, self._packing)

    def _keys_values(self, key_BSD: Tensor, value_BSD: Tensor, rotary: Rotary | None) -> KeysValues:
        key, value = (_heads(each) for each in (key_BSD, value_BSD))
        key = self.key_norm(key)
        return key if rotary is None else rotate(key, rotary), value

    def _mix(self, query_BTD: Tensor, seen: KeysValues, rotary: Rotary | None, mask: Tensor | None) -> Tensor:
        query = self.query_norm(_heads(query_BTD))
        if rotary is not None:
            query = rotate(query, rotary)
        key, value = seen
        mixed = attend(query, key.type_as(query), value.type_as(query), mask)
        return self.out(mixed.transpose(1, 2).flatten(2))


def keep(kept: Kept, new: KeysValues) -> KeysValues:
    """Store new keys and values; return those of all tokens up to them."""
    tensors, place = kept
    key, value = (each.transpose(1, 2)[:, :, None] for each in new)  # B T 1 H C
    return place.store(tensors[:1], key)[0], place.store(tensors[1:], value)[0]


def _heads(x_BTD: Tensor) -> Tensor:
    """B x T x D -> B x H x T x C."""
    return x_BTD.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2)


def attend(query_BHTC: Tensor, key_BHSC: Tensor, value_BHSC: Tensor, mask: Tensor | None) -> Tensor:
    """Compute softmax attention: B x H x T x C.

    A CPU's fused kernel is slow going back through short sequences: plain products make a whole training step up to
    1.6 times as fast (benchmarks/training_speed.py).
    """
    short = key_BHSC.shape[2] <= SHORT_CONTEXT
    if query_BHTC.device.type == "cpu" and short and query_BHTC.requires_grad:
        scores = (HEAD_WIDTH**-0.5 * query_BHTC) @ key_BHSC.transpose(2, 3)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        return scores.softmax(-1).type_as(value_BHSC) @ value_BHSC
    return F.scaled_dot_product_attention(query_BHTC, key_BHSC, value_BHSC, attn_mask=mask)


class FeedForward(nn.Sequential):
    """D -> 4D -> D with SiLU."""

    def __init__(self, width: int) -> None:
        super().__init__(Linear(width, 4 * width), nn.SiLU(), Linear(4 * width, width))


class Block(nn.Module):
    """Pre-norm transformer block whose two residual branches start closed, behind learned per-channel gates.

    Args:
        width: D, a multiple of 64.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = Attention(width)
        self.attention_gate = nn.Parameter(torch.zeros(width))
        self.mlp_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = FeedForward(width)
        self.mlp_gate = nn.Parameter(torch.zeros(width))

    def forward(
        self,
        x_BTD: Tensor,
        *,
        rotary: Rotary | None = None,
        mask: Tensor | None = None,
        kept: Kept | None = None,
    ) -> Tensor:
        """Mix the tokens, then transform each: B x T x D -> B x T x D; see ``Attention``."""
        normed = self.attention_norm(x_BTD)
        mixed = self.attention(normed, normed, query_rotary=rotary, key_rotary=rotary, mask=mask, kept=kept)
        x_BTD = torch.addcmul(x_BTD, self.attention_gate, mixed)
        return torch.addcmul(x_BTD, self.mlp_gate, self.mlp(self.mlp_norm(x_BTD)))
