"""Configurations of published tokenizers and priors, from their settings and the shapes of their tensors."""

from typing import Any

from dar.convert.checkpoint import Checkpoint
from dar.convert.names import TABLE_ROWS
from dar.errors import DARError, listed, quoted
from dar.fields import HEAD_WIDTH
from dar.prior import PriorConfig
from dar.prior.imagenet import usual_names
from dar.tokenizer import TokenizerConfig

TOKENIZER_MARK, PRIOR_MARK = "quantize.embedding.weight", "tok_embeddings.weight"
"""Tensors that a published tokenizer and a published prior have, and the other one lacks."""

_SIZE_FIELDS = {
    "sampling_resolution": "image_size",
    "encoder_patch_size": "encoder_patch_size",
    "encoder_dim": "encoder_width",
    "num_encoder_layers": "encoder_depth",
    "num_all_queries": "num_tokens",
    "num_query_groups": "num_groups",
    "vq_codebook_size": "codebook_size",
    "vq_dim": "codebook_dim",
    "num_decoder_layers": "latent_decoder_depth",
    "diff_decoder.patch_size": "decoder_patch_size",
    "decoder_dim": "decoder_width",
    "diff_decoder.depth": "decoder_depth",
    "num_denoising_steps": "num_steps",
    "diff_decoder.data_std": "data_std",
    "diff_decoder.time_shift": "time_shift",
    "rope_base_len": "rope_theta",
}
"""Our fields for published settings."""

_WHERE_ABSENT = {"sampling_resolution": 256, "rope_base_len": 10000.0}
"""Settings that a published file may leave out."""

_FIXED = {
    "query_low_rank": True,
    "vq_enable": True,
    "diff_decoder.mlp_head": False,
    "diff_decoder.share_time_encoding": False,
    "diff_decoder.in_dim": 3,
    "diff_decoder.out_dim": 3,
}
"""Settings that are the same in all published files; other values mean another network."""

_TRAINING_ONLY = {"diff_decoder.repa_layer"}


def tokenizer_config(checkpoint: Checkpoint) -> TokenizerConfig:
    """Read the configuration of a published tokenizer.

    Raises:
        DARError: if it lacks settings, or has others than a published tokenizer can have.
    """
    path, flat = checkpoint.path, _flat_settings(checkpoint)
    for key, value in _FIXED.items():
        if flat[key] != value:
            raise DARError(f"{path} has {key} = {quoted(repr(flat[key]))}; only {value!r} is supported")
    for key in ("diff_decoder.dim", "diff_decoder.cond_dim"):
        if flat[key] != flat["decoder_dim"]:
            raise DARError(f"{path} has {key} = {quoted(flat[key])}, but decoder_dim = {quoted(flat['decoder_dim'])}")
    try:
        config = TokenizerConfig(**{ours: flat[key] for key, ours in _SIZE_FIELDS.items()})
    except ValueError as error:
        raise DARError(f"{path} has settings that cannot be: {quoted(error)}") from error
    if flat["queries_per_step"] != config.tokens_per_group:
        raise DARError(
            f"{path} has queries_per_step = {quoted(flat['queries_per_step'])}; "
            f"{config.num_tokens} tokens in {config.num_groups} groups need {config.tokens_per_group}"
        )
    if config.num_tokens > TABLE_ROWS:
        raise DARError(f"{path} has {config.num_tokens} tokens; its tables have {TABLE_ROWS} rows")
    depths = {
        "encoder_layers.": config.encoder_depth,
        "decoder_layers.": config.latent_decoder_depth,
        "diff_decoder.net.blocks.": config.decoder_depth,
    }
    for place, depth in depths.items():
        if (found := _depth(checkpoint, place)) != depth:
            raise DARError(f"{path} has tensors of {found} {place.rstrip('.')}, but its settings tell {depth}")
    return config


def _flat_settings(checkpoint: Checkpoint) -> dict[str, Any]:
    """Collect settings by dotted name, none missing, none unknown, each a plain value."""
    path, settings = checkpoint.path, checkpoint.settings or {}
    flat = {str(key): value for key, value in settings.items() if key != "diff_decoder"}
    inner = settings.get("diff_decoder")
    flat |= {f"diff_decoder.{key}": value for key, value in inner.items()} if isinstance(inner, dict) else {}
    flat = _WHERE_ABSENT | flat
    needed = {*_SIZE_FIELDS, *_FIXED, "queries_per_step", "diff_decoder.dim", "diff_decoder.cond_dim"}
    if missing := needed - flat.keys():
        raise DARError(f"{path} lacks the settings {listed(missing)}: it is no published tokenizer")
    if unknown := flat.keys() - needed - _TRAINING_ONLY:
        raise DARError(f"{path} has settings that are unknown here, and may mean another network: {listed(unknown)}")
    if odd := [key for key, value in flat.items() if not isinstance(value, bool | int | float | str | None)]:
        raise DARError(f"{path} has settings that are neither numbers nor switches: {listed(odd)}")
    return flat


def _depth(checkpoint: Checkpoint, place: str) -> int:
    """Count the layers that have tensors in the file."""
    return len({name.removeprefix(place).split(".")[0] for name in checkpoint.weights if name.startswith(place)})


def prior_config(checkpoint: Checkpoint, num_tokens: int) -> PriorConfig:
    """Read the configuration of a published prior; ``num_tokens`` is taken where its file has none.

    Raises:
        DARError: if its tensors are not those of a published prior.
    """
    path, weights, arguments = checkpoint.path, checkpoint.weights, checkpoint.arguments
    needed = ("cls_embedding.embedding_table.weight", "layers.0.feed_forward.w1.weight")
    if missing := [name for name in needed if name not in weights]:
        raise DARError(f"{path} does not hold a published prior; missing: {', '.join(missing)}")
    if any(weights[name].dim() != 2 for name in (PRIOR_MARK, *needed)):
        raise DARError(f"{path} does not hold a published prior: its tables are no matrices")
    codebook_size, width = weights[PRIOR_MARK].shape
    num_classes = len(weights[needed[0]]) - 1  # the last is the null class
    try:
        return PriorConfig(
            class_names=usual_names(num_classes),
            codebook_size=codebook_size,
            num_tokens=arguments.get("block_size", num_tokens),
            width=width,
            depth=_depth(checkpoint, "layers."),
            num_heads=arguments.get("n_head", max(width // HEAD_WIDTH, 1)),
            mlp_width=len(weights[needed[1]]),
        )
    except ValueError as error:
        raise DARError(f"{path} holds a prior that cannot be: {quoted(error)}") from error
