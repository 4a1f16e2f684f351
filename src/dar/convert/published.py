"""Conversion of published tokenizers and priors to model folders."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dar.convert.checkpoint import Checkpoint, other_project, read_checkpoint
from dar.convert.names import DROPPED, Rule, prior_rules, to_ours, to_published, tokenizer_rules
from dar.convert.published_configs import PRIOR_MARK, TOKENIZER_MARK, prior_config, tokenizer_config
from dar.errors import DARError, listed
from dar.files import CONFIG, read_json, refuse_existing, write_json, writing
from dar.generation.settings import SAMPLING, GenerationSettings, file_content
from dar.hub import CARD
from dar.model_folder import PRIOR, TOKENIZER
from dar.pipeline import check_agreement
from dar.prior import Prior, PriorConfig
from dar.prior.config import PRIOR_SIZES
from dar.prior.guidance import Guidance
from dar.storage import WEIGHTS, check_names_and_shapes, stream_tensors
from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig

_GUIDANCE = {"L": (1.1, 8.0), "XL": (1.1, 10.0)}
"""Guidance scales of published figures, by the prior's size."""

_NUM_TOKENS = 256
"""Number of tokens of an image where neither the prior's file nor a tokenizer says."""


def convert(out: Path, tokenizer: Path | None = None, prior: Path | None = None) -> list[Path]:
    """Write published files as a model folder: ``out/tokenizer``, ``out/prior``, or both.

    A half that ``out`` holds already stays, and the new one must agree with it. Nothing is written before all that was
    given is checked. Weights keep their dtype, and are mapped from their file instead of read into memory. With a prior
    of a size whose guidance was published comes ``out/sampling.json``, unless there is one.

    Args:
        out: the model folder; made if need be.
        tokenizer: file of a published tokenizer.
        prior: file of a published prior.

    Returns:
        The folders and files that were written.

    Raises:
        DARError: if a file is not what it is given as, a half is there already, or the two disagree.
    """
    if tokenizer is None and prior is None:
        raise DARError("there is nothing to convert: give the file of a tokenizer, of a prior, or both")
    for part, path in ((TOKENIZER, tokenizer), (PRIOR, prior)):
        if path is not None:
            refuse_existing(out / part)
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
    with ExitStack() as stack:
        asides = {part: stack.enter_context(writing(out / part)) for part in halves}
        for part, half in halves.items():
            half.write(asides[part])
        settings = published_settings(partner) if PRIOR in halves and not (out / SAMPLING).exists() else None
        if settings is not None:
            write_json(stack.enter_context(writing(out / SAMPLING)), file_content(settings))
    return [out / part for part in halves] + ([] if settings is None else [out / SAMPLING])


def published_settings(prior: PriorConfig) -> GenerationSettings | None:
    """Return the settings behind the published results of a prior of this size; None where they are not known."""
    sizes = {name: getattr(prior, name) for name in PRIOR_SIZES["L"]}
    return next(
        (
            GenerationSettings(guidance_scale=Guidance(*ends))
            for size, ends in _GUIDANCE.items()
            if PRIOR_SIZES[size] == sizes
        ),
        None,
    )


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
        """Make our tensors, one rule at a time."""
        for rule in self.rules:
            yield from to_ours([rule], self.source.weights).items()

    def write(self, folder: Path) -> None:
        """Make a folder with config.json, model.safetensors and a card, as the model itself would."""
        layout = to_ours(self.rules, {name: tensor.to("meta") for name, tensor in self.source.weights.items()})
        folder.mkdir()
        write_json(folder / CONFIG, asdict(self.config))
        stream_tensors(folder / WEIGHTS, layout, self.tensors())
        (folder / CARD).write_text(_card(self.source), encoding="utf-8")


def tokenizer_from(checkpoint: Checkpoint) -> Half:
    """Find the tokenizer of a published file.

    Raises:
        DARError: if the file holds something else, its settings are unknown, or a tensor is missing, unexpected or
            mis-shaped.
    """
    _check_half(checkpoint, wanted=TOKENIZER_MARK, other=PRIOR_MARK, names=("tokenizer", "prior"))
    if not isinstance(checkpoint.settings, dict):
        raise DARError(f"{checkpoint.path} has no settings of a tokenizer under 'config'")
    config = tokenizer_config(checkpoint)
    return _whole(Half(config, tokenizer_rules(config), checkpoint), SequentialDiffusionTokenizer, DROPPED)


def prior_from(checkpoint: Checkpoint, num_tokens: int = _NUM_TOKENS) -> Half:
    """Find the prior of a published file; sizes are those of its tensors. As ``tokenizer_from`` otherwise.

    Args:
        checkpoint: the file.
        num_tokens: N, where the file's command line doesn't give it.
    """
    _check_half(checkpoint, wanted=PRIOR_MARK, other=TOKENIZER_MARK, names=("prior", "tokenizer"))
    config = prior_config(checkpoint, num_tokens)
    return _whole(Half(config, prior_rules(config), checkpoint), Prior, frozenset())


def _check_half(checkpoint: Checkpoint, wanted: str, other: str, names: tuple[str, str]) -> None:
    if wanted in checkpoint.weights and not other_project(checkpoint.weights):
        return
    if other in checkpoint.weights:
        raise DARError(f"{checkpoint.path} is a {names[1]}, not a {names[0]}: give it as --{names[1]}")
    unlike = f": it has no tensor named {wanted}, but {listed(checkpoint.weights)}"
    raise DARError(f"{checkpoint.path} is no published D-AR {names[0]}{other_project(checkpoint.weights) or unlike}")


def _whole(half: Half, kind: Callable[[Any], torch.nn.Module], dropped: frozenset[str]) -> Half:
    """Make sure that a file holds exactly the tensors of such a model, and return the half itself."""
    path = half.source.path
    try:
        with torch.device("meta"):
            model = kind(half.config)
    except (RuntimeError, OverflowError) as error:
        raise DARError(f"{path} has sizes that cannot be: {half.config}") from error
    found = {name: tensor for name, tensor in half.source.weights.items() if name not in dropped}
    expected = to_published(half.rules, model.state_dict())
    check_names_and_shapes(path, _shapes(expected), _shapes(found))
    return half


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _card(source: Checkpoint) -> str:
    which = "averaged (`ema`)" if source.averaged else "last (`model`)"
    steps = f" after {source.steps} training steps" if source.steps is not None else ""
    return f"""---
library_name: dar
---

Converted from `{source.path.name}`: its {which} weights{steps}.
They are their publisher's, and so is their licence.
"""


def _config_of(folder: Path, kind: Callable[..., Any]) -> Any:
    """Read the configuration of a model folder, or None where there is no such folder.

    Raises:
        DARError: if its config.json is another one's.
    """
    if not folder.exists():
        return None
    try:
        return kind(**read_json(folder / CONFIG))
    except (TypeError, DARError, ValueError) as error:
        raise DARError(f"{folder} is in the way, and no part of a model: choose another output folder") from error
