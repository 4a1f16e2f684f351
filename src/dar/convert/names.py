"""The two-way table between the names of published checkpoints and ours (docs/formats.md).

A rule turns the tensors under its published names into those under our names, and back. Most only rename.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dar.prior import PriorConfig
from dar.tokenizer import TokenizerConfig

TABLE_ROWS = 1024
"""Rows of the published tables of queries and positions; a model uses the first N."""

DROPPED = frozenset(
    {"quantize.codebook_used"}
    | {f"diff_decoder.net.repa_out.{layer}.{part}" for layer in (0, 2, 4) for part in ("weight", "bias")}
)
"""Tensors of a published tokenizer that only training needs, left out on purpose: a statistic, the alignment head."""

Transform = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def _unchanged(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    return tensors


@dataclass(frozen=True)
class Rule:
    """Corresponding tensors, and how to convert them into each other.

    Attributes:
        published: names in a published file.
        ours: names in our model.
        to_ours: turns the published tensors, in order, into ours.
        to_published: the inverse.
        note: how, in words, where it is more than a name.
    """

    published: tuple[str, ...]
    ours: tuple[str, ...]
    to_ours: Transform = _unchanged
    to_published: Transform = _unchanged
    note: str = ""


def to_ours(rules: Sequence[Rule], published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Make our tensors from published ones; every name of the rules must be there."""
    found: dict[str, Tensor] = {}
    for rule in rules:
        found |= zip(rule.ours, rule.to_ours([published[name] for name in rule.published]), strict=True)
    return found


def to_published(rules: Sequence[Rule], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Make published tensors from ours; every name of the rules must be there."""
    found: dict[str, Tensor] = {}
    for rule in rules:
        found |= zip(rule.published, rule.to_published([ours[name] for name in rule.ours]), strict=True)
    return found


def tokenizer_rules(config: TokenizerConfig) -> list[Rule]:
    """List the rules for a tokenizer of these sizes."""
    rules = [
        *_renamed({"patchify": "encoder.patchify", "query_linear": "encoder.query_in"}, "weight", "bias"),
        _table("query_embedding.weight", "encoder.queries", config.num_tokens),
        _pointwise("quant_in_conv.weight", "encoder.out.weight"),
        Rule(("quantize.embedding.weight",), ("quantizer.codebook",)),
        _pointwise("quant_out_conv.weight", "latent_decoder.inward.weight"),
        _table("decoder_embedding.weight", "latent_decoder.positions", config.num_tokens),
        *_renamed({"diff_decoder.net.cond_mlp": "diffusion_decoder.condition_in"}, "weight", "bias"),
        _pointwise("diff_decoder.net.conv_in.weight", "diffusion_decoder.inward.weight"),
        Rule(("diff_decoder.net.conv_in.bias",), ("diffusion_decoder.inward.bias",)),
        _pointwise("diff_decoder.net.conv_out.weight", "diffusion_decoder.out.weight"),
        Rule(("diff_decoder.net.conv_out.bias",), ("diffusion_decoder.out.bias",)),
    ]
    for i in range(config.encoder_depth):
        rules += _block(f"encoder_layers.{i}", f"encoder.blocks.{i}")
    for i in range(config.latent_decoder_depth):
        rules += _block(f"decoder_layers.{i}", f"latent_decoder.blocks.{i}")
    for i in range(config.decoder_depth):
        rules += _diffusion_block(f"diff_decoder.net.blocks.{i}", f"diffusion_decoder.blocks.{i}")
    return rules


def prior_rules(config: PriorConfig) -> list[Rule]:
    """List the rules for a prior of these sizes.

    Published image and class tokens have a table each and classes no logit; ours share one vocabulary, so the output
    layer gets rows of zeros for class tokens, which nothing reads.
    """
    split, padding = config.codebook_size, config.num_classes + 1
    rules = [
        Rule(
            ("tok_embeddings.weight", "cls_embedding.embedding_table.weight"),
            ("llama.model.embed_tokens.weight",),
            lambda tables: [torch.cat(list(tables))],
            lambda joined: [joined[0][:split], joined[0][split:]],
            "one after the other",
        ),
        Rule(("norm.weight",), ("llama.model.norm.weight",)),
        Rule(
            ("output.weight",),
            ("llama.lm_head.weight",),
            lambda rows: [torch.cat([rows[0], rows[0].new_zeros(padding, rows[0].shape[1])])],
            lambda rows: [rows[0][:split]],
            "zero rows for class tokens",
        ),
    ]
    for i in range(config.depth):
        rules += _llama_layer(f"layers.{i}", f"llama.model.layers.{i}", config.num_heads)
    return rules


def _renamed(places: Mapping[str, str], *parts: str) -> Iterator[Rule]:
    for published, ours in places.items():
        for part in parts:
            yield Rule((f"{published}.{part}",), (f"{ours}.{part}",))


def _table(published: str, ours: str, rows: int) -> Rule:
    """Keep the first rows of a table; on the way back the others are zero."""

    def fill(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        (table,) = tensors
        return [torch.cat([table, table.new_zeros(TABLE_ROWS - rows, table.shape[1])])]

    return Rule((published,), (ours,), lambda tensors: [tensors[0][:rows]], fill, "the first N rows")


def _pointwise(published: str, ours: str) -> Rule:
    """Turn a 1 x 1 convolution into a linear layer."""
    return Rule(
        (published,),
        (ours,),
        lambda tensors: [tensors[0].flatten(1)],
        lambda tensors: [tensors[0][..., None, None]],
        "1 x 1 convolution to linear layer",
    )


def _attention(published: str, ours: str) -> Iterator[Rule]:
    places = {"q": "query", "k": "key", "v": "value", "proj": "out", "q_norm": "query_norm", "k_norm": "key_norm"}
    yield from _renamed({f"{published}.{a}": f"{ours}.{b}" for a, b in places.items()}, "weight", "bias")


def _block(published: str, ours: str) -> Iterator[Rule]:
    yield from _attention(f"{published}.attention", f"{ours}.attention")
    places = {"norm1": "attention_norm", "norm2": "mlp_norm", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2"}
    yield from _renamed({f"{published}.{a}": f"{ours}.{b}" for a, b in places.items()}, "weight", "bias")
    yield Rule((f"{published}.gate1",), (f"{ours}.attention_gate",))
    yield Rule((f"{published}.gate2",), (f"{ours}.mlp_gate",))


def _diffusion_block(published: str, ours: str) -> Iterator[Rule]:
    yield from _attention(f"{published}.attention", f"{ours}.attention")
    yield from _attention(f"{published}.cross_attn", f"{ours}.cross_attention")
    places = {
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.2",
        "time_embed.mlp.0": "time.mlp.0",
        "time_embed.mlp.2": "time.mlp.2",
        "cond_embed.0": "condition_mlp.0",
        "cond_embed.2": "condition_mlp.2",
        "adaLN_modulation.1": "modulation.1",
    }
    yield from _renamed({f"{published}.{a}": f"{ours}.{b}" for a, b in places.items()}, "weight", "bias")


def _llama_layer(published: str, ours: str, num_heads: int) -> Iterator[Rule]:
    def split(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        query, key, value = tensors[0].chunk(3)
        return [pairs_to_halves(query, num_heads), pairs_to_halves(key, num_heads), value]

    def join(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        query, key, value = tensors
        return [torch.cat([halves_to_pairs(query, num_heads), halves_to_pairs(key, num_heads), value])]

    attention = (f"{ours}.self_attn.{part}_proj.weight" for part in "qkv")
    note = "split; rows of query and key reordered in each head, even channels first"
    yield Rule((f"{published}.attention.wqkv.weight",), tuple(attention), split, join, note)
    places = {
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w3": "mlp.up_proj",
        "feed_forward.w2": "mlp.down_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    yield from _renamed({f"{published}.{a}": f"{ours}.{b}" for a, b in places.items()}, "weight")


def pairs_to_halves(weight_OD: Tensor, num_heads: int) -> Tensor:
    """Reorder each head's rows, even channels first: a rotary on adjacent pairs becomes one on halves."""
    pairs = weight_OD.unflatten(0, (num_heads, -1, 2))  # head, pair, which of the pair
    return pairs.transpose(1, 2).flatten(0, 2)


def halves_to_pairs(weight_OD: Tensor, num_heads: int) -> Tensor:
    """Undo ``pairs_to_halves``."""
    halves = weight_OD.unflatten(0, (num_heads, 2, -1))
    return halves.transpose(1, 2).flatten(0, 2)
