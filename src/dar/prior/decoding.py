"""The prior's forward pass for generation: a few new tokens a row, keys and values kept.

It computes what transformers' ``LlamaForCausalLM`` does with the same weights, to rounding; a test holds it to that.
It leaves out what generation does not need, which takes most of the time of a small model on a CPU: projections
of the same input are one product, weights are packed, attention reads the filled part of the cache only, and logits are
computed for image tokens only.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from dar.device import full_tensor
from dar.packed_linear import PackedWeight, pack
from dar.prior.model import Prior
from dar.prior.step_graphs import StepGraphs
from dar.token_cache import Place, TokenCache


@dataclass(frozen=True)
class _Layer:
    """Weights of one layer; projections of the same input lie one below the other.

    Channels of queries and keys are ordered such that those that turn together are neighbours.
    """

    attention_norm: Tensor
    query_key_value: PackedWeight
    out: PackedWeight
    mlp_norm: Tensor
    gate_up: PackedWeight
    down: PackedWeight


class TokenDecoder:
    """Predicts the next token of each row from the tokens that it has seen.

    Args:
        prior: whose weights it takes; packed copies of them are kept, so make a new decoder when they change.
        dtype: to compute in.
    """

    def __init__(self, prior: Prior, dtype: torch.dtype) -> None:
        self.config, self.dtype, self.device = prior.config, dtype, prior.device
        model = prior.llama.model
        self._embedding = _full(model.embed_tokens.weight).to(dtype)
        self._layers = [_layer(layer, dtype) for layer in model.layers]
        self._norm = _full(model.norm.weight).to(dtype)
        self._head = pack(_full(prior.llama.lm_head.weight)[: prior.config.codebook_size].to(dtype))
        positions = torch.arange(prior.config.num_tokens + 1, device=self.device)[None]
        cos, sin = model.rotary_emb(positions.float(), positions)  # 1 S C, float32; halves repeat
        self._turns = torch.stack([cos, sin], dim=-1)[0, :, : cos.shape[-1] // 2]  # S C/2 2
        self._graphs: weakref.WeakKeyDictionary[TokenCache, StepGraphs] = weakref.WeakKeyDictionary()
        self._spare: StepGraphs | None = None
        if prior.compiled:  # at its first call; all layers by the same code
            self._layer = torch.compile(self._layer)  # type: ignore[method-assign]

    def new_cache(self, rows: int) -> TokenCache:
        """Make an empty cache for R rows; on a GPU the last that is no longer used serves again, with its graphs."""
        graphs, self._spare = self._spare, None
        if graphs is not None and graphs.tensors.shape[2] != rows:
            graphs = None  # before memory is taken for other rows
        with torch.inference_mode(mode=False):  # else tensors would stay bound to that mode
            cache = TokenCache(self._empty(rows) if graphs is None else graphs.tensors)
            if self.device.type == "cuda" and graphs is None:
                graphs = StepGraphs(partial(self._step, cache.tensors), cache.tensors)
        if graphs is not None:
            self._graphs[cache] = graphs
            weakref.finalize(cache, setattr, self, "_spare", graphs)
        return cache

    def _empty(self, rows: int) -> Tensor:
        config = self.config
        # One position more than there are tokens: what pads a row that is full goes there.
        shape = config.depth, 2, rows, config.num_heads, config.num_tokens + 1, config.width // config.num_heads
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    @torch.no_grad()
    def next_logits(self, ids_RT: Tensor, cache: TokenCache, counts: Sequence[int] | None = None) -> Tensor:
        """Let rows see new tokens; return the logits of what follows them.

        Args:
            ids_RT: vocabulary ids, int64, new tokens of each row, the first at the left.
            cache: what the rows have seen before; extended in place.
            counts: how many of a row's T tokens are its own, 0 to T; what follows them is not looked at, and a row of 0
                stays as it is, its logits meaning nothing. None means T.

        Returns:
            R x V logits of image tokens, float32.
        """
        rows, new = ids_RT.shape
        counts = counts or [new] * rows
        graphs = self._graphs.get(cache) if new == 1 else None
        if graphs is not None:
            logits = graphs.logits(ids_RT, cache.lengths)
        else:
            x = self._hidden(ids_RT, cache.tensors, cache.place(new))
            last = x[:, -1] if min(counts) == new else x[range(rows), [count - 1 for count in counts]]
            logits = self._head.product(last).float()
        cache.extend(counts)
        return logits

    @torch.no_grad()
    def all_logits(self, ids_RT: Tensor, cache: TokenCache) -> Tensor:
        """Compute the logits of what follows each of a row's new tokens, which stay unseen until the cache is extended.

        Returns:
            R x T x V logits of image tokens, float32; those of tokens beyond the last one mean nothing.
        """
        return self._head.product(self._hidden(ids_RT, cache.tensors, cache.place(ids_RT.shape[1]))).float()

    def _step(self, kept_L2RHSC: Tensor, ids_R1: Tensor, positions_R1: Tensor, end: int) -> Tensor:
        """Let each row see one token, with shapes that do not depend on how many it has seen: R x V."""
        x = self._hidden(ids_R1, kept_L2RHSC, Place.at(positions_R1, end))
        return self._head.product(x[:, -1])

    def _hidden(self, ids_RT: Tensor, kept_L2RHSC: Tensor, place: Place) -> Tensor:
        """Compute what the head takes, R x T x D, and store keys and values."""
        x = F.embedding(ids_RT, self._embedding)  # R T D
        turns = self._turns[place.positions][..., None, None, :, :]  # (R) T 1 1 C/2 2
        for layer, kept in zip(self._layers, kept_L2RHSC, strict=True):
            x = self._layer(layer, x, kept, place, turns)
        return self._normed(x, self._norm)

    def _layer(self, layer: _Layer, x_RTD: Tensor, kept_2RHSC: Tensor, place: Place, turns: Tensor) -> Tensor:
        projected = layer.query_key_value.product(self._normed(x_RTD, layer.attention_norm))
        projected = projected.unflatten(-1, (3, self.config.num_heads, -1))  # R T 3 H C
        _rotate_(projected[:, :, :2], turns)
        key, value = place.store(kept_2RHSC, projected[:, :, 1:])
        mixed = F.scaled_dot_product_attention(projected[:, :, 0].transpose(1, 2), key, value, attn_mask=place.mask)
        x_RTD = layer.out.product_added(mixed.transpose(1, 2).flatten(2), x_RTD)
        gate, up = layer.gate_up.product(self._normed(x_RTD, layer.mlp_norm)).chunk(2, dim=-1)
        return layer.down.product_added(F.silu(gate) * up, x_RTD)

    def _normed(self, x: Tensor, weight_D: Tensor) -> Tensor:
        return F.rms_norm(x, weight_D.shape, weight_D, self.config.norm_eps)


def decoder_of(prior: Prior, dtype: torch.dtype) -> TokenDecoder:
    """Return the prior's decoder, made anew when a weight has changed; the last one made is kept."""
    made_of = dtype, prior.compiled
    return prior.packing.of(prior.llama.parameters(), lambda: TokenDecoder(prior, dtype), made_of=made_of)


def _layer(layer: LlamaDecoderLayer, dtype: torch.dtype) -> _Layer:
    attention, mlp, heads = layer.self_attn, layer.mlp, layer.self_attn.config.num_attention_heads
    turning = [_neighbours(_full(one.weight), heads) for one in (attention.q_proj, attention.k_proj)]
    stacked = torch.cat([*turning, _full(attention.v_proj.weight)])
    return _Layer(
        attention_norm=_full(layer.input_layernorm.weight).to(dtype),
        query_key_value=pack(stacked.to(dtype)),
        out=pack(_full(attention.o_proj.weight).to(dtype)),
        mlp_norm=_full(layer.post_attention_layernorm.weight).to(dtype),
        gate_up=pack(torch.cat([_full(mlp.gate_proj.weight), _full(mlp.up_proj.weight)]).to(dtype)),
        down=pack(_full(mlp.down_proj.weight).to(dtype)),
    )


def _full(weight: Tensor) -> Tensor:
    """Detach a weight; gather one that a training has sharded, in all processes together."""
    return full_tensor(weight).detach()


def _neighbours(weight: Tensor, heads: int) -> Tensor:
    """Order rows such that channels of a head that Llama turns together, half a head apart, are neighbours."""
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def _rotate_(x_RT2HC: Tensor, turns: Tensor) -> None:
    """Turn neighbouring channels in place, as complex numbers, whose real and imaginary parts are given."""
    pairs = x_RT2HC.to(torch.promote_types(x_RT2HC.dtype, torch.float32)).unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # which doesn't know complex numbers
        (x, y), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)
        pairs = torch.stack([x * cos - y * sin, x * sin + y * cos], dim=-1)
    else:
        torch.view_as_complex(pairs).mul_(torch.view_as_complex(turns))
        if pairs.dtype == x_RT2HC.dtype:
            return
    x_RT2HC.copy_(pairs.flatten(-2))


def computing_dtype(prior: Prior) -> torch.dtype:
    """Return the dtype to compute in: autocast's where that is on, else that of the weights."""
    kind = prior.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else prior.dtype
