"""Published .pt files, read without running anything that they hold."""

import pickletools
import warnings
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

from dar.errors import DARError, listed, quoted
from dar.files import check_regular_file
from dar.storage import DTYPES


class _StandIn:
    """Stands in for a class that a file names: holds its attributes and runs nothing."""

    def __repr__(self) -> str:
        return "an object"


_STAND_INS = ("argparse.Namespace", "config_util.Config")
"""Beside tensors and plain containers, the only classes that a published file may name."""

_ALLOWED = {
    *_STAND_INS,
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.Size",
    *(
        f"torch.{kind}Storage"
        for kind in ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Byte", "Bool")
    ),
}

_WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes of names where a model was saved in its wrapper: of several processes, or compiled."""

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
"""Tensors by which checkpoints of other projects are recognised."""


@dataclass(frozen=True)
class Checkpoint:
    """Content of a published file.

    Attributes:
        path: the file.
        weights: tensors by published name, without the prefixes of wrappers; mapped, so read when used.
        averaged: whether they are the exponential moving average.
        steps: training steps, where the file has them.
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
    averaged = bool(content.get("ema"))
    weights = content.get("ema" if averaged else "model")
    if not isinstance(weights, dict) or not weights:
        raise DARError(f"{path} has no weights under 'model' or 'ema'{_seems(content)}")
    steps = content.get("steps")
    settings = _attributes(path, "config", content).get("_data")
    return Checkpoint(
        path=path,
        weights=_plain_weights(path, weights),
        averaged=averaged,
        steps=steps if type(steps) is int else None,
        arguments=_attributes(path, "args", content),
        settings=settings.get("model") if isinstance(settings, dict) else None,
    )


def other_project(names: Collection[str]) -> str:
    """Guess which project the tensors of a file come from, as the end of a sentence; empty if unknown."""
    matches = [project for name, project in _PROJECTS.items() if name in names]
    return f"; it looks like {matches[0]}" if matches else ""


def _load(path: Path) -> Any:
    _check_kind(path)
    damaged = f"{path} is truncated or damaged: download it again"
    try:
        _check_archive(path)
        _check_names(path)
        with warnings.catch_warnings(), safe_globals([(_StandIn, name) for name in _STAND_INS]):
            warnings.simplefilter("ignore")  # torch's, about old ways of saving
            return torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except DARError:
        raise
    except (Exception, MemoryError) as error:  # torch's readers raise whatever the bytes lead to
        raise DARError(damaged) from error


def _check_kind(path: Path) -> None:
    check_regular_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise DARError(f"{path} cannot be read ({error.strerror}): give a published .pt file") from error
    if head.startswith(b"PK"):
        return
    if not head:
        looks = "an empty file"
    elif head[8:9] == b"{" and not head.startswith(b"{"):
        looks = "a safetensors file"
    else:
        looks = next((what for start, what in _LOOKS.items() if head.startswith(start)), "something else")
    raise DARError(f"{path} is not a published .pt file but {looks}")


def _check_archive(path: Path) -> None:
    """Check that a file is an undamaged PyTorch archive whose tensors can be mapped."""
    with zipfile.ZipFile(path) as archive:
        names = [Path(entry.filename).name for entry in archive.infolist()]
        if "constants.pkl" in names:
            raise DARError(f"{path} is not a published .pt file but a TorchScript program")
        if "data.pkl" not in names:
            raise DARError(f"{path} is not a published .pt file but another zip archive")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise DARError(f"{path} was packed again, with compression: unpack it to the file that was published")
        if broken := archive.testzip():
            raise DARError(f"{path} is damaged (the checksum of {quoted(broken)} is wrong): download it again")


def _check_names(path: Path) -> None:
    """Refuse a file that names anything but tensors, plain containers and the two classes of published files."""
    data = torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")
    foreign = set()
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("GLOBAL", "INST"):
            foreign |= {".".join(str(argument).split(" "))} - _ALLOWED
        elif opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            foreign.add("names that are computed")
    if foreign:
        raise DARError(
            f"{path} wants to use {listed(foreign)}, which a published checkpoint has no need of, "
            "so nothing of it was loaded: get the file from its publisher"
        )


def _plain_weights(path: Path, weights: dict[Any, Any]) -> dict[str, Tensor]:
    """Collect weights by their names without prefix, each a plain tensor that the file really holds."""
    size = path.stat().st_size
    plain: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.dtype not in DTYPES:
            raise DARError(f"{path} has, among its weights, {quoted(repr(name))}, which is no tensor of real numbers")
        if tensor.nbytes > size:
            raise DARError(f"{path} claims that {quoted(name)} is larger than the whole file: download it again")
        short = _unwrapped(name)
        if short in plain:
            raise DARError(f"{path} has two tensors named {quoted(short)}")
        plain[short] = tensor
    return plain


def _unwrapped(name: str) -> str:
    while any(name.startswith(prefix) for prefix in _WRAPPERS):
        name = name.split(".", 1)[1]
    return name


def _attributes(path: Path, key: str, content: dict[Any, Any]) -> dict[str, Any]:
    """Return the attributes of the object under a key; nothing where there is none."""
    thing = content.get(key)
    if thing is None:
        return {}
    if isinstance(thing, _StandIn):
        return vars(thing)
    raise DARError(f"{path} holds a {type(thing).__name__} under {key!r}, unlike a published checkpoint")


def _seems(content: dict[Any, Any]) -> str:
    """Guess what a dictionary without 'model' may be."""
    if "state_dict" in content:
        return ": it looks like a PyTorch Lightning or other project's training checkpoint"
    return other_project([name for name in content if isinstance(name, str)])
