"""Reading and writing weights and settings: safetensors and JSON, whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypedDict, Unpack

import torch
from huggingface_hub import PyTorchModelHubMixin, constants
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dar.checks import refuse_unknown_arguments
from dar.device import Device, as_device, as_dtype, convert_weights
from dar.errors import DARError, listed

DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""The format's names of dtypes."""

WEIGHTS = constants.SAFETENSORS_SINGLE_FILE
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
"""Errors that mean that a disk is full, or takes nothing."""

CONFIG = constants.CONFIG_NAME
CARD = "README.md"


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; put it in place of ``path`` if the block succeeds, else remove it.

    The block may create a file or a folder there. Once it is in place, it is on the disk too: a crash loses nothing.

    Raises:
        DARError: if the folder cannot be written to, or the disk is full.
    """
    is_new = not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise DARError(f"cannot write to {path.parent} ({error.strerror}): choose another output folder") from error
    try:
        yield aside / path.name
        sync(aside / path.name)
        (aside / path.name).replace(path)
        flush(path.parent)
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno not in _UNWRITABLE:
            raise
        raise DARError(f"cannot write {path} ({error}): make room, or choose another place") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if is_new and not any(path.parent.iterdir()):
            path.parent.rmdir()


def sync(path: Path) -> None:
    """Have a file, or a folder with all that it holds, on the disk itself."""
    if path.is_dir():
        for inside in path.iterdir():
            sync(inside)
    flush(path)


def flush(path: Path) -> None:
    """Have a file's content, or the names in a folder, on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_existing(path: Path) -> None:
    """Make sure that nothing is at a path, not even a link to nowhere.

    Raises:
        DARError: if there is.
    """
    if os.path.lexists(path):
        raise DARError(f"{path} exists already: choose another output folder")


def check_regular_file(path: Path) -> None:
    """Make sure that reading a file cannot wait for ever, as reading a pipe, a socket or a device may.

    Folders, and what is missing or cannot be looked at, are left to the reader's own words.

    Raises:
        DARError: if the path leads to none of these and no file either.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = "named pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise DARError(f"{path} is a {kind}, not a file: write its content to a file, and give that")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    with writing(path) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DARError: if the file is missing, is not JSON, or is not an object.
    """
    check_regular_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DARError(f"{path} does not exist: is {path.parent} a model folder?") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DARError(f"{path} cannot be read as JSON ({error}): copy or convert it again") from error
    if not isinstance(content, dict):
        raise DARError(f"{path} holds a {type(content).__name__}, not a JSON object: copy or convert it again")
    return content


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all."""
    with writing(path) as aside:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, aside, metadata)
        aside.chmod(0o644)  # safetensors lets nobody else read


def stream_tensors(path: Path, layout: Mapping[str, Tensor], tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write a safetensors file one tensor at a time, so that no two of them need be in memory; whole or not at all.

    Args:
        path: the file.
        layout: tensors of the same names, in the same order, shapes and dtypes; on the meta device, say.
        tensors: names and tensors.

    Raises:
        ValueError: if a tensor is not as laid out.
        DARError: if the file cannot be written.
    """
    header, end = {}, 0
    for name, tensor in layout.items():
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # tensors start at a multiple of 8
    with writing(path) as aside, aside.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for (name, tensor), (expected, like) in zip(tensors, layout.items(), strict=True):
            if (name, tensor.shape, tensor.dtype) != (expected, like.shape, like.dtype):
                raise ValueError(f"{name} {tuple(tensor.shape)} came where {expected} {tuple(like.shape)} was laid out")
            file.write(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data)


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """Open a safetensors file for reading, tensor by tensor.

    Raises:
        DARError: if the file is missing, truncated, or of another kind.
    """
    check_regular_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise DARError(f"{path} does not exist: is {path.parent} a model folder?") from None
    except (SafetensorError, OSError) as error:
        raise DARError(f"{path} is not a whole safetensors file ({error}): copy or convert it again") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; raises as ``open_tensors`` does."""
    with open_tensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def tensor_start(path: Path, name: str) -> int:
    """Byte at which a tensor's data start, in a safetensors file that ``open_tensors`` accepts."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return 8 + length + json.loads(file.read(length))[name]["data_offsets"][0]


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model's state from a safetensors file, converting to the model's own dtype and device.

    Raises:
        DARError: naming every missing, extra and mis-shaped tensor; the model is then untouched.
    """
    with open_tensors(path) as file:
        target = model.state_dict()
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        check_names_and_shapes(path, {name: tuple(tensor.shape) for name, tensor in target.items()}, shapes)
        with torch.no_grad():
            for name, tensor in target.items():
                tensor.copy_(file.get_tensor(name))


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of a model's weights, names and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_names_and_shapes(
    path: Path, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Make sure that a file or folder holds what its config.json describes.

    Raises:
        DARError: naming every missing, extra and mis-shaped tensor, or the first few of them.
    """
    wrong = [
        f"{name} (is {found[name]}, should be {wanted[name]})"
        for name in wanted.keys() & found.keys()
        if wanted[name] != found[name]
    ]
    problems = {"missing": wanted.keys() - found.keys(), "extra": found.keys() - wanted.keys(), "mis-shaped": wrong}
    complaints = [f"{kind}: {listed(names)}" for kind, names in problems.items() if names]
    if complaints:
        raise DARError(f"{path} does not hold the tensors of its configuration; {'; '.join(complaints)}")


@contextmanager
def told_hub_errors(source: str) -> Iterator[None]:
    """Turn whatever the Hub's client raises about ``source`` into a DARError."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise DARError(f"{source} is neither a folder nor a model that the Hub gives out: check the name") from error


class HubOptions(TypedDict, total=False):
    """How to get a model from the Hub: keywords of ``huggingface_hub.snapshot_download``, explained there.

    ``revision`` is a branch, a tag or a commit.
    """

    revision: str | None
    token: str | bool | None
    cache_dir: str | Path | None
    force_download: bool
    local_files_only: bool


def local_folder(source: str | Path, subfolder: str | None = None, **hub: Unpack[HubOptions]) -> Path:
    """A model's folder: ``source`` itself, or what the Hub has by this id, downloaded if need be.

    Args:
        source: a folder, or a Hub id.
        subfolder: a folder in it to give instead; of the Hub's files only those in it are then downloaded.
        **hub: see ``HubOptions``.

    Raises:
        DARError: if there is no such folder or repository, or a revision of a local folder is asked for.
    """
    inside = subfolder or "."
    if Path(source).is_dir():
        if hub.get("revision") is not None:
            raise DARError(f"{source} is a folder here, which has no revisions: leave revision out, or give a Hub id")
        folder = Path(source)
    else:
        from huggingface_hub import snapshot_download

        patterns = [str(Path(inside) / f"*.{ending}") for ending in ("json", "yaml", "safetensors")]
        with told_hub_errors(str(source)):
            folder = Path(snapshot_download(str(source), allow_patterns=patterns, **hub))
    if not (folder / inside).is_dir():
        raise DARError(f"{source} has no folder {subfolder!r}")
    return folder / inside if subfolder else folder


CARD_TEMPLATE = """---
{{ card_data }}
---

A part of a D-AR model (Diffusion via Autoregressive Models). `dar.DARPipeline.from_pretrained` loads the folder that
holds `tokenizer/` and `prior/`.
"""


class HubModel(PyTorchModelHubMixin):
    """``from_pretrained``, ``save_pretrained`` and ``push_to_hub`` with strict loading and atomic writing.

    A subclass is an ``nn.Module`` built from one dataclass, its argument ``config``.
    """

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Write config.json and model.safetensors, in the weights' dtype; arguments are the mixin's.

        Raises:
            DARError: if the folder cannot be written to.
        """
        try:
            return super().save_pretrained(save_directory, **kwargs)
        except OSError as error:
            raise DARError(f"cannot write to {save_directory} ({error.strerror}): choose another folder") from error

    def _save_pretrained(self, save_directory: Path) -> None:
        assert isinstance(self, nn.Module)
        save_tensors(save_directory / WEIGHTS, self.state_dict())

    @classmethod
    def from_pretrained(  # type: ignore[override]  # the mixin takes any keyword
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        subfolder: str | None = None,
        dtype: str | torch.dtype = torch.float32,
        device: Device = "cpu",
        **hub: Unpack[HubOptions],
    ) -> Self:
        """Load a model, ready for inference.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub id.
            subfolder: where in it the model is, such as "tokenizer".
            dtype: of its weights: float32, bfloat16 or float16, of torch or by name.
            device: where to put it.
            **hub: see ``HubOptions``.

        Raises:
            DARError: if there is none, the files are missing, damaged, or do not fit each other, or for an unknown
                dtype, device or keyword.
        """
        known = {*HubOptions.__optional_keys__, "subfolder", "dtype", "device"}
        refuse_unknown_arguments(f"{cls.__name__}.from_pretrained", hub, known)
        weights, where = as_dtype(dtype), as_device(device)
        folder = local_folder(pretrained_model_name_or_path, subfolder, **hub)
        read_json(folder / CONFIG)
        try:
            return super().from_pretrained(folder, dtype=weights, device=where)
        except DARError:
            raise
        except (TypeError, ValueError) as error:
            raise DARError(f"{folder / CONFIG} does not describe a {cls.__name__}: {error}") from error

    @classmethod
    def _from_pretrained(  # type: ignore[override]  # files are here by now
        cls, *, model_id: str, config: Any, dtype: torch.dtype, device: torch.device, **kwargs: Any
    ) -> Self:
        model = cls(config)
        assert isinstance(model, nn.Module)
        convert_weights(model, dtype)  # whatever torch's default is
        load_weights(model, Path(model_id) / WEIGHTS)
        return model.to(device).eval()
