"""Weights that others publish as single files: downloaded once and checked, or found in a folder, and read strictly."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import cached_assets_path, constants
from torch import Tensor

from dar.errors import DARError
from dar.storage import check_names_and_shapes, load_tensors

SUFFIXES = (".safetensors", ".pth")
"""Endings of files that can be read, the preferred one first."""


@dataclass(frozen=True)
class PublishedFile:
    """A file of weights that its publisher keeps in one place.

    Attributes:
        url: where it is; ends in its name.
        sha256: of its content.
        aliases: other names under which people have the same file.
    """

    url: str
    sha256: str
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def known_as(self) -> tuple[str, ...]:
        """List all names that it can be read under, the preferred one first."""
        names = (self.name, *self.aliases)
        return tuple(str(Path(name).with_suffix(suffix)) for name in names for suffix in SUFFIXES)

    def find(self, folder: str | Path) -> Path | None:
        """Find the file in a folder under one of its names; None where it isn't there, or there is no folder."""
        return next((path for name in self.known_as if (path := Path(folder) / name).is_file()), None)


def locate(file: PublishedFile, source: str | Path, cache: str, remedy: str) -> Path:
    """Find or download a published file.

    Args:
        file: the file.
        source: a folder that holds it, as ``.safetensors`` or ``.pth``; used as it is. Empty for the publisher's own,
            which is downloaded once, into the user's cache folder of the Hugging Face libraries, and checked by hash.
        cache: name of the folder within that cache.
        remedy: what errors ask the user to do.

    Raises:
        DARError: if it is missing and cannot be downloaded, or is not the published one.
    """
    if not str(source):
        try:
            folder = cached_assets_path("dar", cache)
        except (OSError, ValueError) as error:
            raise DARError(f"there is no cache folder to download {file.name} to ({error}): {remedy}") from error
        return download(file, folder, remedy)
    if path := file.find(source):
        return path
    raise DARError(f"{source} holds neither {' nor '.join(file.known_as)}: get it from {file.url}, and {remedy}")


def download(file: PublishedFile, folder: Path, remedy: str) -> Path:
    """Find a published file in ``folder``, or download it there.

    Raises:
        DARError: if it cannot be downloaded, or has another hash; nothing is then kept.
    """
    path = folder / file.name
    try:
        if not path.exists():
            if constants.HF_HUB_OFFLINE:
                raise ConnectionError("HF_HUB_OFFLINE is set")
            torch.hub.download_url_to_file(file.url, str(path), hash_prefix=file.sha256)
    except RuntimeError as error:
        raise DARError(f"{file.url} no longer holds the published weights ({error}): {remedy}") from error
    except (OSError, HTTPException) as error:
        raise DARError(f"{file.name} could not be downloaded from {file.url} ({error}): {remedy}") from error
    return path


def read_tensors(path: Path, layout: Mapping[str, tuple[int, ...]], unused: str, remedy: str) -> dict[str, Tensor]:
    """Read tensors of exactly these names and shapes, in float32 on the CPU.

    Args:
        path: a ``.safetensors`` file, or a pickle of a dictionary of tensors, which is read without executing anything.
        layout: names and shapes.
        unused: a pattern, such as ``classifier.*``, of the names of tensors that the file may hold beside these.
        remedy: what errors ask the user to do.

    Raises:
        DARError: if the file is damaged or holds something else, naming every missing, extra and mis-shaped tensor.
    """
    content = load_tensors(path) if path.suffix == ".safetensors" else _read_pickle(path, remedy)
    tensors = {name: tensor for name, tensor in content.items() if not fnmatchcase(name, unused)}
    check_names_and_shapes(path, layout, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    return {name: tensor.detach().float() for name, tensor in tensors.items()}


def _read_pickle(path: Path, remedy: str) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(str(path), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError, TypeError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DARError(
            f"{path} is damaged or holds more than tensors, and was not loaded ({reason}): {remedy}"
        ) from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise DARError(f"{path} is no dictionary of tensors: {remedy}")
    return content
