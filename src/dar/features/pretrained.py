"""Networks that transformers knows, loaded whole or not at all: safetensors only, and no code from elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from dar.errors import DARError, listed
from dar.files import check_regular_file
from dar.locations import here, on_hub
from dar.storage import few_parameters

_ERRORS = (
    *(OSError, RuntimeError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError),
    *(SafetensorError, StrictDataclassError),
)
"""Errors of transformers where a folder does not hold what it should."""

MOST_TENSORS = 20_000
"""Of a network; ten times as many as the largest for images have."""


@contextmanager
def wrap_loading_errors(source: str | Path, kind: str, remedy: str) -> Iterator[None]:
    """Turn whatever transformers raises about ``source`` into a DARError.

    Args:
        source: an id on the Hub, or a folder.
        kind: what is to be loaded from it, such as "DINOv2".
        remedy: what errors ask the user to do.
    """
    try:
        yield
    except DARError:
        raise
    except _ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DARError(f"no {kind} can be loaded from {source!s} ({reason}): {remedy}") from error


@dataclass(frozen=True)
class Pretrained:
    """The place of a network: a folder, or a repository of the Hub.

    Attributes:
        source: the folder or id.
        local_files_only: whether only what is on this machine can be had, the Hub being out of reach.
    """

    source: str | Path
    local_files_only: bool = False


def find_pretrained(source: str | Path, kind: str, remedy: str) -> Pretrained:
    """Find a network, asking the Hub at most once; arguments are those of ``wrap_loading_errors``.

    Raises:
        DARError: if it is neither here nor on the Hub.
    """
    if (path := here(source, kind, remedy)) is not None:
        return Pretrained(path)
    return Pretrained(source, local_files_only=not on_hub(str(source), "model", kind, remedy))


def load_config(place: Pretrained) -> PreTrainedConfig:
    """Load the configuration of a folder, or of a model on the Hub; raises as transformers does."""
    for file in Path(place.source).iterdir() if Path(place.source).is_dir() else ():
        check_regular_file(file)  # transformers would wait for what a pipe has to say
    return AutoConfig.from_pretrained(place.source, trust_remote_code=False, local_files_only=place.local_files_only)


def load_network(kind: Any, place: Pretrained, config: PreTrainedConfig) -> PreTrainedModel:
    """Load a network with the weights of a folder, or of a model on the Hub, frozen, in float32 on the CPU.

    Args:
        kind: a model class of transformers, or an ``AutoModel``.
        place: where it is.
        config: of the network.

    Raises:
        DARError: naming tensors that are missing, or that the network has no place for; else as transformers does.
    """
    with few_parameters(MOST_TENSORS, f"the configuration of {place.source}"):
        network, loading = kind.from_pretrained(
            place.source,
            config=config,
            local_files_only=place.local_files_only,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    for problem in ("missing_keys", "unexpected_keys"):
        if names := loading[problem]:
            raise DARError(f"{place.source} does not hold the tensors of its sizes; {problem[:-5]}: {listed(names)}")
    return network.requires_grad_(False).eval()
