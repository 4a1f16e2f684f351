"""Published tokenizers and priors to model folders of ours."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dar.convert.checkpoint import Checkpoint, other_project, read_checkpoint
from dar.convert.names import DROPPED, TABLE_ROWS, Rule, prior_rules, to_ours, to_published, tokenizer_rules
from dar.errors import DARError
from dar.nn import HEAD_WIDTH
from dar.pipeline import PRIOR, TOKENIZER, check_agreement
from dar.prior import Prior, PriorConfig
from dar.prior.imagenet import usual_names
from dar.storage import CONFIG, WEIGHTS, read_json, stream_tensors, write_json, writing
from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig

_TOKENIZER_MARK, _PRIOR_MARK = "quantize.embedding.weight", "tok_embeddings.weight"
"""Tensors that a published tokenizer and a published prior have, and the other one lacks."""

_SIZES = {
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
"""Published settings and ours."""

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

_CARD = "README.md"

_TRAINING_ONLY = {"diff_decoder.repa_layer"}

_NUM_TOKENS = 256
"""Tokens of an image where neither the prior's file nor a tokenizer tells them."""


def convert(out: Path, tokenizer: Path | None = None, prior: Path | None = None) -> list[Path]:
    """Write published files as a model folder: ``out/tokenizer``, ``out/prior``, or both.

    A half that ``out`` holds already stays, and the new one must agree with it. Nothing is written before all that was
    given is checked. Weights keep their dtype, and are mapped from their file instead of read into memory.

    Args:
        out: the model folder; made if need be.
        tokenizer: file of a published tokenizer.
        prior: file of a published prior.

    Returns:
        The folders that were written.

    Raises:
        DARError: if a file is not what it is given as, a half is there already, or the two disagree.
    """
    if tokenizer is None and prior is None:
        raise DARError("there is nothing to convert: give the file of a tokenizer, of a prior, or both")
    for part, path in ((TOKENIZER, tokenizer), (PRIOR, prior)):
        if path is not None and (out / part).exists():
            raise DARError(f"{out / part} exists already: choose another output folder")
    halves: dict[str, Half] = {}
    known = _config_of(out / TOKENIZER, TokenizerConfig)
    partner = _config_of(out / PRIOR, PriorConfig)
    if tokenizer is not None:
        halves[TOKENIZER] = tokenizer_from(read_checkpoint(tokenizer))
        known = halves[TOKENIZER].config
    if prior is not None:
        halves[PRIOR] = prior_from(read_checkpoint(prior), known.num_tokens if known else _NUM_TOKENS)
        partner = halves[PRIOR].config
    if known and partner:
        check_agreement(known, partner)
    for part, half in halves.items():
        half.save(out / part)
    return [out / part for part in halves]


@dataclass(frozen=True)
class Half:
    """A published tokenizer or prior that was found whole; its weights are still in the file.

    Attributes:
        config: sizes.
        rules: how its tensors become ours.
        source: the file.
    """

    config: TokenizerConfig | PriorConfig
    rules: Sequence[Rule]
    source: Checkpoint

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Our tensors, made one rule at a time."""
        for rule in self.rules:
            yield from to_ours([rule], self.source.weights).items()

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors and a card, as the model itself would."""
        layout = to_ours(self.rules, {name: tensor.to("meta") for name, tensor in self.source.weights.items()})
        with writing(folder) as aside:
            aside.mkdir()
            write_json(aside / CONFIG, asdict(self.config))
            stream_tensors(aside / WEIGHTS, layout, self.tensors())
            (aside / _CARD).write_text(_card(self.source), encoding="utf-8")


def tokenizer_from(checkpoint: Checkpoint) -> Half:
    """The tokenizer of a published file.

    Raises:
        DARError: if the file holds something else, its settings are unknown, or a tensor is missing, unexpected or
            mis-shaped.
    """
    _check_half(checkpoint, wanted=_TOKENIZER_MARK, other=_PRIOR_MARK, names=("tokenizer", "prior"))
    if checkpoint.settings is None:
        raise DARError(f"{checkpoint.path} has no settings of a tokenizer under 'config'")
    config = _tokenizer_config(checkpoint.path, checkpoint.settings)
    with torch.device("meta"):
        model = SequentialDiffusionTokenizer(config)
    return _whole(Half(config, tokenizer_rules(config), checkpoint), model)


def prior_from(checkpoint: Checkpoint, num_tokens: int = _NUM_TOKENS) -> Half:
    """The prior of a published file; sizes are those of its tensors. As ``tokenizer_from`` otherwise.

    Args:
        checkpoint: the file.
        num_tokens: N, where the file's command line doesn't tell it.
    """
    _check_half(checkpoint, wanted=_PRIOR_MARK, other=_TOKENIZER_MARK, names=("prior", "tokenizer"))
    config = _prior_config(checkpoint, num_tokens)
    with torch.device("meta"):
        model = Prior(config)
    return _whole(Half(config, prior_rules(config), checkpoint), model)


def _check_half(checkpoint: Checkpoint, wanted: str, other: str, names: tuple[str, str]) -> None:
    if wanted in checkpoint.weights and not other_project(checkpoint.weights):
        return
    if other in checkpoint.weights:
        raise DARError(f"{checkpoint.path} is a {names[1]}, not a {names[0]}: give it as --{names[1]}")
    raise DARError(f"{checkpoint.path} is no published D-AR {names[0]}{other_project(checkpoint.weights)}")


def _tokenizer_config(path: Path, settings: dict[str, Any]) -> TokenizerConfig:
    flat = {key: value for key, value in settings.items() if key != "diff_decoder"}
    inner = settings.get("diff_decoder")
    flat |= {f"diff_decoder.{key}": value for key, value in inner.items()} if isinstance(inner, dict) else {}
    flat = _WHERE_ABSENT | flat
    derived = ("queries_per_step", "diff_decoder.dim", "diff_decoder.cond_dim")
    needed = {*_SIZES, *_FIXED, *derived}
    if missing := sorted(needed - flat.keys()):
        raise DARError(f"{path} lacks the settings {', '.join(missing)}: it is no published tokenizer")
    if unknown := sorted(str(key) for key in flat.keys() - needed - _TRAINING_ONLY):
        raise DARError(f"{path} has settings that are unknown here, and may mean another network: {', '.join(unknown)}")
    fixed = _FIXED | {"diff_decoder.dim": flat["decoder_dim"], "diff_decoder.cond_dim": flat["decoder_dim"]}
    for key, value in fixed.items():
        if flat[key] != value:
            raise DARError(f"{path} has {key} = {flat[key]!r}; only {value!r} is supported")
    try:
        config = TokenizerConfig(**{ours: flat[key] for key, ours in _SIZES.items()})
    except ValueError as error:
        raise DARError(f"{path} has settings that cannot be: {error}") from error
    if flat["queries_per_step"] != config.tokens_per_group:
        raise DARError(
            f"{path} has queries_per_step = {flat['queries_per_step']!r}; "
            f"{config.num_tokens} tokens in {config.num_groups} groups need {config.tokens_per_group}"
        )
    if config.num_tokens > TABLE_ROWS:
        raise DARError(f"{path} has {config.num_tokens} tokens; its tables have {TABLE_ROWS} rows")
    return config


def _prior_config(checkpoint: Checkpoint, num_tokens: int) -> PriorConfig:
    path, weights, arguments = checkpoint.path, checkpoint.weights, checkpoint.arguments
    needed = ("cls_embedding.embedding_table.weight", "layers.0.feed_forward.w1.weight")
    if missing := [name for name in needed if name not in weights]:
        raise DARError(f"{path} does not hold a published prior; missing: {', '.join(missing)}")
    if any(weights[name].dim() != 2 for name in (_PRIOR_MARK, *needed)):
        raise DARError(f"{path} does not hold a published prior: its tables are no matrices")
    codebook_size, width = weights[_PRIOR_MARK].shape
    num_classes = len(weights[needed[0]]) - 1  # the last is the null class
    layers = {name.split(".")[1] for name in weights if name.startswith("layers.")}
    try:
        return PriorConfig(
            class_names=usual_names(num_classes),
            codebook_size=codebook_size,
            num_tokens=arguments.get("block_size", num_tokens),
            width=width,
            depth=len(layers),
            num_heads=arguments.get("n_head", max(width // HEAD_WIDTH, 1)),
            mlp_width=len(weights[needed[1]]),
        )
    except ValueError as error:
        raise DARError(f"{path} holds a prior that cannot be: {error}") from error


def _whole(half: Half, model: torch.nn.Module) -> Half:
    """The half itself, once its file is known to hold the tensors of such a model, none missing, none left."""
    found = {name: tensor for name, tensor in half.source.weights.items() if not name.startswith(DROPPED)}
    expected = to_published(half.rules, model.state_dict())
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "mis-shaped": [
            f"{name} (is {tuple(found[name].shape)}, should be {tuple(expected[name].shape)})"
            for name in sorted(expected.keys() & found.keys())
            if found[name].shape != expected[name].shape
        ],
    }
    if any(problems.values()):
        told = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names)
        raise DARError(f"{half.source.path} does not hold the tensors of its sizes; {told}")
    return half


def _card(source: Checkpoint) -> str:
    which = "averaged (`ema`)" if source.averaged else "last (`model`)"
    steps = f" after {source.steps} training steps" if source.steps is not None else ""
    return f"""---
library_name: dar
---

Converted from `{source.path.name}`: its {which} weights{steps}.
They are their publisher's, and so is their licence.
"""


def _config_of(folder: Path, kind: type[Any]) -> Any:
    """The configuration that a model folder holds, or None where there is no such folder."""
    return kind(**read_json(folder / CONFIG)) if folder.exists() else None
