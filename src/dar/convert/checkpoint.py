"""Published .pt files, read without running anything that they hold."""

import pickle
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from dar.errors import DARError
from dar.storage import DTYPES


class _StandIn:
    """Takes the place of a class that a file names: holds the attributes, does nothing."""


_ALLOWED = [(_StandIn, "argparse.Namespace"), (_StandIn, "config_util.Config")]
"""Beside tensors and plain containers, the only classes that a published file may name."""

_COMPILED = "_orig_mod."
"""Prefix that a compiled model's names carry."""

_LOOKS = {
    b"\x80": "an old PyTorch file or a bare pickle",
    b"GGUF": "a GGUF file",
    b"version https://git-lfs": "a Git LFS pointer, not the file it points to",
    b"<": "a web page: the download failed",
    b"{": "a JSON file",
    b"\x89PNG": "a picture",
    b"\xff\xd8": "a picture",
    b"\x1f\x8b": "a gzip archive",
    b"\x89HDF": "an HDF5 file",
}

_PROJECTS = {
    "diffloss.net.input_proj.weight": "MAR",
    "encoder.conv_in.weight": "a convolutional VQGAN, such as LlamaGen's tokenizer",
    "final_layer.adaLN_modulation.1.weight": "DiT or SiT",
    "latent_tokens": "TiTok",
    "lvl_embed.weight": "VAR",
    "model.embed_tokens.weight": "a Hugging Face Llama: save it with save_pretrained and use `dar import llama`",
}
"""Tensors by which the checkpoints of other projects can be told."""


@dataclass(frozen=True)
class Checkpoint:
    """What a published file holds.

    Attributes:
        path: the file.
        weights: tensors by published name, without a compiled model's prefix; mapped, so read when used.
        averaged: whether they are the exponential moving average.
        steps: training steps, where the file tells them.
        arguments: the command line that it was trained with.
        settings: a tokenizer's ``model`` configuration; None in a prior's file.
    """

    path: Path
    weights: dict[str, Tensor]
    averaged: bool
    steps: int | None
    arguments: dict[str, Any]
    settings: dict[str, Any] | None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the file of a published tokenizer or prior, laid out as in docs/formats.md.

    What the file names is looked at before anything is built; nothing of it is ever executed.

    Raises:
        DARError: if the file is missing, damaged, of another kind, or names a class or function that a published
            file doesn't need.
    """
    content = _load(path)
    if not isinstance(content, dict):
        raise DARError(f"{path} holds a {type(content).__name__}, not a published checkpoint's dictionary")
    averaged = "ema" in content
    weights = content.get("ema" if averaged else "model")
    if not isinstance(weights, dict) or not weights:
        raise DARError(f"{path} has no weights under 'model' or 'ema'{_seems(content)}")
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.dtype not in DTYPES:
            raise DARError(f"{path} has, among its weights, {name!r}, which is no tensor of real numbers")
    weights = {name.removeprefix(_COMPILED): tensor for name, tensor in weights.items()}
    steps = content.get("steps")
    settings = _attributes(content.get("config")).get("_data")
    return Checkpoint(
        path=path,
        weights=weights,
        averaged=averaged,
        steps=steps if isinstance(steps, int) else None,
        arguments=_attributes(content.get("args")),
        settings=settings.get("model") if isinstance(settings, dict) else None,
    )


def other_project(names: Collection[str]) -> str:
    """What the tensors of a file look like, as the end of a sentence; empty if unknown."""
    matches = [project for name, project in _PROJECTS.items() if name in names]
    return f"; it looks like {matches[0]}" if matches else ""


def _load(path: Path) -> Any:
    _check_kind(path)
    try:
        with safe_globals(_ALLOWED):  # type: ignore[arg-type]  # pairs of a class and the name it stands for
            foreign = get_unsafe_globals_in_checkpoint(str(path))
            if foreign:
                raise DARError(
                    f"{path} wants to use {', '.join(sorted(foreign))}, which a published checkpoint has no need of, "
                    "so nothing of it was loaded: get the file from its publisher"
                )
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except DARError:
        raise
    except pickle.UnpicklingError as error:
        raise DARError(f"{path} is no plain checkpoint, and was not loaded ({_first_line(error)})") from error
    except (RuntimeError, ValueError, EOFError, KeyError, IndexError, AttributeError, TypeError, OSError) as error:
        raise DARError(f"{path} is truncated or damaged ({_first_line(error)}): download it again") from error


def _check_kind(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise DARError(f"{path} cannot be read ({error.strerror}): give a published .pt file") from error
    if head.startswith(b"PK"):
        return
    if not head:
        looks = "an empty file"
    elif head[8:9] == b"{":
        looks = "a safetensors file"
    else:
        looks = next((what for start, what in _LOOKS.items() if head.startswith(start)), "something else")
    raise DARError(f"{path} is not a published .pt file but {looks}")


def _attributes(thing: Any) -> dict[str, Any]:
    return vars(thing) if isinstance(thing, _StandIn) else {}


def _seems(content: dict[Any, Any]) -> str:
    """What a dictionary without 'model' may be."""
    if "state_dict" in content:
        return ": it looks like a PyTorch Lightning or other project's training checkpoint"
    return other_project([name for name in content if isinstance(name, str)])


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
