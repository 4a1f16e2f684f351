"""Published files with the weights of tiny models, written as their authors' training writes them."""

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dar.convert.names import prior_rules, to_published, tokenizer_rules
from dar.prior import PriorConfig
from dar.tokenizer import TokenizerConfig
from tests import tiny

NUM_HEADS, NUM_TOKENS = tiny.PRIOR.num_heads, tiny.PRIOR.num_tokens


def settings(config: TokenizerConfig = tiny.TOKENIZER) -> dict[str, Any]:
    """The ``model`` configuration of a published tokenizer."""
    return {
        "encoder_patch_size": config.encoder_patch_size,
        "num_encoder_layers": config.encoder_depth,
        "num_decoder_layers": config.latent_decoder_depth,
        "query_low_rank": True,
        "encoder_dim": config.encoder_width,
        "decoder_dim": config.decoder_width,
        "vq_dim": config.codebook_dim,
        "vq_codebook_size": config.codebook_size,
        "num_denoising_steps": config.num_steps,
        "num_query_groups": config.num_groups,
        "num_all_queries": config.num_tokens,
        "queries_per_step": config.tokens_per_group,
        "vq_enable": True,
        "sampling_resolution": config.image_size,
        "diff_decoder": {
            "in_dim": 3,
            "out_dim": 3,
            "dim": config.decoder_width,
            "cond_dim": config.decoder_width,
            "patch_size": config.decoder_patch_size,
            "depth": config.decoder_depth,
            "data_std": 0.6,
            "time_shift": 2,
            "mlp_head": False,
            "share_time_encoding": False,
        },
    }


def tokenizer_weights(model: nn.Module, config: TokenizerConfig = tiny.TOKENIZER) -> dict[str, Tensor]:
    """With what only training needs, and something in the table rows that no token uses."""
    weights = to_published(tokenizer_rules(config), model.state_dict())
    for name in ("query_embedding.weight", "decoder_embedding.weight"):
        weights[name][config.num_tokens :] = 7.0
    head = {f"diff_decoder.net.repa_out.{i}.{part}": torch.ones(4) for i in (0, 2, 4) for part in ("weight", "bias")}
    return weights | head | {"quantize.codebook_used": torch.zeros(65536)}


def prior_weights(model: nn.Module, config: PriorConfig = tiny.PRIOR) -> dict[str, Tensor]:
    return to_published(prior_rules(config), model.state_dict())


def save(path: Path, content: dict[str, Any], config: dict[str, Any] | None = None) -> Path:
    """Write ``content`` with torch.save; ``config`` goes in as an instance of ``config_util.Config``."""
    module = ModuleType("config_util")
    kind = type("Config", (), {"__module__": "config_util"})
    module.Config = kind  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "config_util", module)
        if config is not None:
            instance = kind()
            instance._data = config
            content = content | {"config": instance}
        torch.save(content, path)
    return path


def save_tokenizer(path: Path, **changes: Any) -> Path:
    """A whole tokenizer file; ``changes`` replace entries of its settings."""
    weights = tokenizer_weights(tiny.tokenizer())
    blank = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    arguments = argparse.Namespace(vq_model="VQ-16", lr=2e-4)
    content = {"model": blank, "ema": weights, "steps": 7, "args": arguments}
    return save(path, content, {"model": settings() | changes})


def save_prior(path: Path, **arguments: Any) -> Path:
    """A whole prior file, of a compiled model; ``arguments`` replace those of its command line."""
    weights = {f"_orig_mod.{name}": tensor for name, tensor in prior_weights(tiny.prior()).items()}
    command = {"n_head": NUM_HEADS, "block_size": NUM_TOKENS} | arguments
    return save(path, {"model": weights, "steps": 3, "args": argparse.Namespace(**command)})
