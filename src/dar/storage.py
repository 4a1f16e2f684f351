"""Weights as safetensors: written whole or not at all, and read strictly."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from dar.errors import DARError, listed
from dar.files import CONFIG, check_regular_file, writing

DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""The format's names of dtypes that weights may have."""

_WRITTEN = {**DTYPES, torch.int64: "I64"}
"""Those and that of counters, which a model's state may hold too."""

ALIGNMENT = 64
"""Bytes of which tensors in memory start at a multiple: products with one row round otherwise elsewhere."""

WEIGHTS = "model.safetensors"
"""A file of weights, as the Hub's libraries call it."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all."""
    with writing(path) as aside:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, aside, metadata)
        aside.chmod(0o644)  # safetensors lets nobody else read


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a model's state, whole or not at all, so that ``load_weights`` can map it."""
    state = sorted(model.state_dict().items(), key=lambda item: item[1].nbytes % ALIGNMENT != 0)
    stream_tensors(path, dict(state), state)


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
        header[name] = {"dtype": _WRITTEN[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-(8 + len(encoded)) % ALIGNMENT)
    with writing(path) as aside, aside.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for (name, tensor), (expected, like) in zip(tensors, layout.items(), strict=True):
            if (name, tensor.shape, tensor.dtype) != (expected, like.shape, like.dtype):
                raise ValueError(f"{name} {tuple(tensor.shape)} came where {expected} {tuple(like.shape)} was laid out")
            file.write(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)


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
    """Load all tensors of a safetensors file; raises as ``open_tensors`` does."""
    with open_tensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def tensor_start(path: Path, name: str) -> int:
    """Find the byte at which a tensor's data start, in a safetensors file that ``open_tensors`` accepts."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return 8 + length + json.loads(file.read(length))[name]["data_offsets"][0]


@contextmanager
def parameters_without_memory() -> Iterator[None]:
    """Let the modules that this thread makes have parameters on the meta device, for ``load_weights`` to fill.

    Nothing is allocated or drawn for them. Buffers are what they always are.
    """
    thread = threading.get_ident()

    def without_memory(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter | None:
        if threading.get_ident() != thread:
            return None
        return nn.Parameter(parameter.to("meta"), requires_grad=parameter.requires_grad)

    hook = register_module_parameter_registration_hook(without_memory)  # type: ignore[arg-type]  # it may return one
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def few_parameters(most: int, config: object) -> Iterator[None]:
    """Let this thread make at most so many parameters: a configuration may ask for more layers than can ever be made.

    Args:
        most: how many.
        config: what to call the configuration in the error.

    Raises:
        DARError: at the parameter that is one too many.
    """
    thread, count = threading.get_ident(), 0

    def counted(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal count
        count += threading.get_ident() == thread
        if count > most:
            raise DARError(
                f"{config} asks for more than the {most} tensors that there can be: take the one of these weights"
            )

    hook = register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        hook.remove()


def check_layout(path: Path, make: Callable[[], nn.Module]) -> None:
    """Make sure that a safetensors file holds a model's state, before any memory or time is spent on either.

    Args:
        path: the file, of which only names and shapes are read.
        make: makes the model; it is called where tensors have no memory.

    Raises:
        DARError: naming every missing, extra and mis-shaped tensor.
    """
    with open_tensors(path) as file:
        found = _shapes_in(file)
    try:
        with torch.device("meta"), few_parameters(len(found), path.with_name(CONFIG)):
            wanted = {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}
    except (RuntimeError, OverflowError) as error:  # of sizes whose product no number can tell
        raise DARError(f"{path} cannot hold the tensors of its configuration: their sizes are too large") from error
    check_names_and_shapes(path, wanted, found)


def _shapes_in(file: Any) -> dict[str, tuple[int, ...]]:
    """Read the shapes in an open safetensors file, of which only the header is read."""
    return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (not a dict)


def load_weights(model: nn.Module, path: Path) -> None:
    """Give a model the state that a safetensors file holds, in the model's own dtype and on its device.

    What needs no conversion and is aligned in the file, as ``save_weights`` writes it, is not copied but mapped into
    memory, and read when it is first used. Training may write to it: the file does not change. The file may be replaced
    meanwhile, but not be written to.

    Args:
        model: its parameters become other objects; those on the meta device come to the CPU.
        path: the file.

    Raises:
        DARError: naming every missing, extra and mis-shaped tensor; the model is then untouched.
    """
    with open_tensors(path) as file:
        target = model.state_dict()
        check_names_and_shapes(path, {name: tuple(tensor.shape) for name, tensor in target.items()}, _shapes_in(file))
        state = {name: _like(tensor, file.get_tensor(name)) for name, tensor in target.items()}
    model.load_state_dict(state, assign=True)


def _like(target: Tensor, found: Tensor) -> Tensor:
    """Convert a tensor of a file to the dtype and device of its target, and copy it where it is not aligned."""
    there = found.to("cpu" if target.is_meta else target.device, target.dtype)
    return there.clone() if there.data_ptr() % ALIGNMENT else there


def weights_hash(model: nn.Module, dtype: torch.dtype | None = None) -> str:
    """Compute the SHA-256 of a model's weights, names and values; with a dtype, of what loading in it gives."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        rounded = tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)
        digest.update(rounded.detach().float().cpu().contiguous().numpy().tobytes())
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
    parts = [f"{kind}: {listed(names)}" for kind, names in problems.items() if names]
    if parts:
        raise DARError(f"{path} does not hold the tensors of its configuration; {'; '.join(parts)}")
