"""Published checkpoints for parity tests: read without executing anything, under the names of our models."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dar.prior import PriorConfig

REFERENCE = Path(__file__).parents[2] / "shared" / "parity"
"""Small random-weight checkpoints with inputs and outputs of the reference implementation; not part of the package."""


class Inert:
    """Stands for any class of a pickle: takes attributes, does nothing."""


def load_published(name: str) -> dict[str, Any]:
    inert = [(Inert, "argparse.Namespace"), (Inert, "config_util.Config")]
    with torch.serialization.safe_globals(inert):
        return torch.load(REFERENCE / name, weights_only=True)


TOKENIZER_PLACES = {
    "patchify.": "encoder.patchify.",
    "query_embedding.weight": "encoder.queries",
    "query_linear.": "encoder.query_in.",
    "encoder_layers.": "encoder.blocks.",
    "quant_in_conv.": "encoder.out.",
    "quantize.embedding.weight": "quantizer.codebook",
    "quant_out_conv.": "latent_decoder.inward.",
    "decoder_embedding.weight": "latent_decoder.positions",
    "decoder_layers.": "latent_decoder.blocks.",
    "diff_decoder.net.cond_mlp.": "diffusion_decoder.condition_in.",
    "diff_decoder.net.conv_in.": "diffusion_decoder.inward.",
    "diff_decoder.net.blocks.": "diffusion_decoder.blocks.",
    "diff_decoder.net.conv_out.": "diffusion_decoder.out.",
}
TOKENIZER_PARTS = {
    "q": "query",
    "k": "key",
    "v": "value",
    "proj": "out",
    "q_norm": "query_norm",
    "k_norm": "key_norm",
    "norm1": "attention_norm",
    "norm2": "mlp_norm",
    "gate1": "attention_gate",
    "gate2": "mlp_gate",
    "fc1": "0",
    "fc2": "2",
    "cross_attn": "cross_attention",
    "adaLN_modulation": "modulation",
    "time_embed": "time",
    "cond_embed": "condition_mlp",
}
TRAINING_ONLY = ("quantize.codebook_used", "diff_decoder.net.repa_out.")


def tokenizer_weights(published: dict[str, Tensor], num_tokens: int) -> dict[str, Tensor]:
    """Our names and shapes: 1 x 1 convolutions become linear layers, tables keep their first N rows."""
    weights = {}
    for name, tensor in published.items():
        if name.startswith(TRAINING_ONLY):
            continue
        place = next(place for place in TOKENIZER_PLACES if name.startswith(place))
        rest = [TOKENIZER_PARTS.get(part, part) for part in name.removeprefix(place).split(".")]
        if tensor.shape[2:] == (1, 1):
            tensor = tensor[:, :, 0, 0]
        if name in ("query_embedding.weight", "decoder_embedding.weight"):
            tensor = tensor[:num_tokens]
        weights[TOKENIZER_PLACES[place] + ".".join(rest)] = tensor
    return weights


def prior_weights(published: dict[str, Tensor], config: PriorConfig) -> dict[str, Tensor]:
    """Our names: class tokens follow the image tokens, and have no logit of their own."""
    theirs = {name.removeprefix("_orig_mod."): tensor for name, tensor in published.items()}
    logits = theirs["output.weight"]
    classes = theirs["cls_embedding.embedding_table.weight"]
    weights = {
        "llama.model.embed_tokens.weight": torch.cat([theirs["tok_embeddings.weight"], classes]),
        "llama.model.norm.weight": theirs["norm.weight"],
        "llama.lm_head.weight": torch.cat([logits, torch.zeros_like(classes)]),
    }
    for i in range(config.depth):
        layer, ours = f"layers.{i}.", f"llama.model.layers.{i}."
        query, key, value = theirs[layer + "attention.wqkv.weight"].chunk(3)
        weights |= {
            ours + "self_attn.q_proj.weight": _halves(query, config.num_heads),
            ours + "self_attn.k_proj.weight": _halves(key, config.num_heads),
            ours + "self_attn.v_proj.weight": value,
            ours + "self_attn.o_proj.weight": theirs[layer + "attention.wo.weight"],
            ours + "mlp.gate_proj.weight": theirs[layer + "feed_forward.w1.weight"],
            ours + "mlp.up_proj.weight": theirs[layer + "feed_forward.w3.weight"],
            ours + "mlp.down_proj.weight": theirs[layer + "feed_forward.w2.weight"],
            ours + "input_layernorm.weight": theirs[layer + "attention_norm.weight"],
            ours + "post_attention_layernorm.weight": theirs[layer + "ffn_norm.weight"],
        }
    return weights


def _halves(weight: Tensor, num_heads: int) -> Tensor:
    """Rows of each head, even channels first: rotary on adjacent pairs becomes rotary on halves."""
    heads = weight.unflatten(0, (num_heads, -1))
    return torch.cat([heads[:, ::2], heads[:, 1::2]], dim=1).flatten(0, 1)
