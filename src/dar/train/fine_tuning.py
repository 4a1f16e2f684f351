"""Beginning a training with the weights of another model: what fits is kept, and what does not is reported."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dar.errors import DARError, listed
from dar.fields import differing_fields
from dar.files import CONFIG
from dar.locations import here
from dar.model_folder import TOKENIZER, model_folder
from dar.pipeline import load_prior, load_tokenizer
from dar.prior import Prior, PriorConfig
from dar.storage import weights_hash
from dar.tokenizer import SequentialDiffusionTokenizer, TokenizerConfig
from dar.train.run_folder import RunFolder, read_lines

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHANGEABLE = ("num_steps", "time_shift", "final_steps", "decoder_context")
"""What another value of may begin with the same weights, since no weight's shape depends on it."""


def agreed_init(run: RunFolder, init: str | Path | None, *, resume: bool) -> str | None:
    """Decide whose weights a run begins with: those of ``init``, or of the run's beginning when it is resumed.

    Raises:
        DARError: if a run is to be resumed with another one.
    """
    named = None if init is None else str(_absolute(init))
    if not resume:
        return named
    starts = (launch.get("init") for launch in read_lines(run.launches))
    begun_with = next((start for start in starts if isinstance(start, str)), None)
    if named not in (None, begun_with):
        raise DARError(
            f"the run in {run.path} was begun with {begun_with or 'random weights'}, not with {init}: leave --init out "
            "when resuming"
        )
    return begun_with


def _absolute(init: str | Path) -> str | Path:
    """Give a folder its whole path, so that a run can be resumed from elsewhere; leave any other name as it is."""
    path = here(init, "model")
    return init if path is None else path.resolve()


def start_tokenizer(source: str | Path, config: TokenizerConfig) -> tuple[SequentialDiffusionTokenizer, list[str]]:
    """Make a tokenizer with the weights of another one.

    Args:
        source: a model, or a tokenizer alone; see ``model_folder``.
        config: of the new one.

    Returns:
        The tokenizer, and sentences that say what it began with.

    Raises:
        DARError: if it can't be read, or has other sizes.
    """
    found = load_tokenizer(source)
    changed = _check_same_sizes(f"the tokenizer of {source}", found.config, config, CHANGEABLE)
    tokenizer = SequentialDiffusionTokenizer(config)
    tokenizer.load_state_dict(found.state_dict())
    said = [f"beginning with the tokenizer of {source}"]
    if changed:
        said.append(f"changed: {', '.join(changed)}")
    return tokenizer, said


def start_prior(
    source: str | Path, config: PriorConfig, tokenizer: SequentialDiffusionTokenizer
) -> tuple[Prior, list[str]]:
    """Make a prior with the weights of another one; classes are matched by their names.

    A class that the other one does not know begins as its null class, the average of all that it knows.

    Args:
        source: a model, or a prior alone; see ``model_folder``.
        config: of the new one.
        tokenizer: whose tokens it will be trained on.

    Returns:
        The prior, and sentences that say what it keeps, begins anew and leaves out.

    Raises:
        DARError: if it can't be read, or has other sizes.
    """
    found = load_prior(source)
    _check_same_sizes(f"the prior of {source}", found.config, config, ("class_names",))
    prior = Prior(config)
    state = found.state_dict()
    for name, tensor in prior.state_dict().items():
        if tensor.shape[:1] == (config.vocab_size,):
            state[name] = _with_classes(state[name], found.config, config)
    prior.load_state_dict(state)
    said = [f"beginning with the prior of {source}"]
    return prior, [*said, *_class_report(found.config, config), *_token_report(source, tokenizer)]


def _check_same_sizes(
    what: str, found: "DataclassInstance", wanted: "DataclassInstance", changeable: Sequence[str]
) -> list[str]:
    """Make sure that only ``changeable`` fields differ, and give these: "time_shift 1.5 instead of 0.5"."""
    changed = []
    for name, old, new in differing_fields(found, wanted):
        if name not in changeable:
            raise DARError(
                f"{what} has {name} {old}, the recipe {new}: weights of another size can't be kept, so use the "
                "recipe that lies in the model's folder, or leave --init out"
            )
        changed.append(f"{name} {new} instead of {old}")
    return changed


def _with_classes(rows: Tensor, found: PriorConfig, wanted: PriorConfig) -> Tensor:
    """Arrange rows, one a token, of the vocabulary ``found`` for the vocabulary ``wanted``."""
    known = {name: index for index, name in enumerate(found.class_names)}
    classes = [known.get(name, found.null_class) for name in wanted.class_names]
    chosen = torch.tensor([*classes, found.null_class]) + found.codebook_size
    return torch.cat([rows[: found.codebook_size], rows[chosen]])


def _class_report(found: PriorConfig, wanted: PriorConfig) -> list[str]:
    old, new = set(found.class_names), set(wanted.class_names)
    parts = {"kept": new & old, "begun anew": new - old, "left out": old - new}
    return [f"classes {name}: {listed(names)}" for name, names in parts.items() if names]


def _token_report(source: str | Path, tokenizer: SequentialDiffusionTokenizer) -> list[str]:
    """Warn where the prior learned the tokens of another tokenizer."""
    folder = model_folder(source) / TOKENIZER
    if not (folder / CONFIG).is_file():
        return []
    theirs = load_tokenizer(folder)
    pairs = ((theirs.encoder, tokenizer.encoder), (theirs.quantizer, tokenizer.quantizer))
    if all(weights_hash(one) == weights_hash(other) for one, other in pairs):
        return []
    return [
        f"it learned the tokens of {folder}, made by another encoder or codebook: it has to learn what is different"
    ]
