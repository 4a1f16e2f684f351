"""Checkpoints that survive: written aside, hashed, on the disk before they are named, and checked before they are used.

A checkpoint is a folder of safetensors and JSON. What several processes shard, each writes its own rows of, so that a
run can go on with another number of processes.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from dar.errors import DARError, listed, quoted
from dar.files import flush, read_json, sync, write_json
from dar.json_text import parse_json
from dar.progress import say
from dar.storage import open_tensors, save_tensors
from dar.train.distributed import Distributed
from dar.train.run_folder import RunFolder

MANIFEST, STATE = "manifest.json", "state.json"
_ROWS = "first_rows"
"""Metadata of a file of rows: where in the whole tensor they begin."""


def write_checkpoint(
    path: Path, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], distributed: Distributed
) -> None:
    """Write a checkpoint; all processes call this together.

    It appears under its name only when every file is on the disk.

    Args:
        path: the checkpoint's folder.
        parts: tensors by name, in files of their own; sharded ones are written by all, others by the main process.
        state: whatever JSON can hold.
        distributed: the processes.

    Raises:
        DARError: if it cannot be written; earlier checkpoints stay as they are.
    """
    aside = path.with_name(f".{path.name}.partial")
    distributed.on_main(lambda: _make_empty(aside))
    problem = ""
    try:
        for part, tensors in parts.items():
            _write_part(aside, part, tensors, distributed)
    except DARError as error:
        problem = str(error)
    distributed.raise_if_any_failed(problem)
    distributed.on_main(lambda: _complete(aside, path, state))


def _make_empty(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise DARError(f"cannot write {folder} ({error.strerror}): is the place read-only?") from error


def _complete(aside: Path, path: Path, state: Mapping[str, Any]) -> None:
    """Add the manifest, and give the checkpoint its name once it is on the disk."""
    try:
        write_json(aside / STATE, state)
        write_json(aside / MANIFEST, {file.name: _description(file) for file in sorted(aside.iterdir())})
        sync(aside)
        aside.rename(path)
        flush(path.parent)
    except OSError as error:
        raise DARError(f"cannot write {path} ({error.strerror}): make room, or choose another place") from error


def damage(path: Path) -> str:
    """Describe in a few words what is wrong with a checkpoint; empty if nothing is.

    Every file is read and its SHA-256 compared with the manifest's.
    """
    try:
        manifest = read_json(path / MANIFEST)
        for name, description in manifest.items():
            if Path(name).name != name:
                return f"{MANIFEST} names {quoted(name)}, which is no file in it"
            if not (path / name).is_file():
                return f"{name} is missing"
            if _description(path / name) != description:
                return f"{name} is not what was written"
    except (DARError, OSError) as error:
        return str(error)
    return "" if STATE in manifest else f"{STATE} is missing"


def read_part(path: Path, part: str, targets: Mapping[str, Tensor]) -> None:
    """Fill tensors, sharded or not, from a part of a checkpoint.

    Raises:
        DARError: naming every missing, extra and mis-shaped tensor; nothing is then changed.
    """
    with _blocks(path, part) as blocks:
        problems = [f"{name} is missing" for name in targets.keys() - blocks.keys()]
        problems += [f"{name} is unexpected" for name in blocks.keys() - targets.keys()]
        for name in targets.keys() & blocks.keys():
            if (shape := _whole_shape(blocks[name])) != tuple(targets[name].shape):
                problems.append(f"{name} is {shape}, should be {tuple(targets[name].shape)}")
        if problems:
            raise DARError(f"{path} does not fit this training: {listed(problems)}")
        with torch.no_grad():
            for name, target in targets.items():
                start, rows = local_rows(target)
                for block in blocks[name]:
                    block.copy_to(rows, start)


def read_state(path: Path) -> dict[str, Any]:
    """Read the JSON state of a checkpoint."""
    return read_json(path / STATE)


def tensor_names(path: Path, part: str) -> list[str]:
    """List the names of the tensors in a part of a checkpoint."""
    with _blocks(path, part) as blocks:
        return sorted(blocks)


def local_rows(tensor: Tensor) -> tuple[int, Tensor]:
    """Return the first row and the rows that this process holds: all of them, unless the tensor is sharded."""
    if not isinstance(tensor, DTensor):
        return 0, tensor
    mesh, local = tensor.device_mesh, tensor.to_local()
    rows = -(-tensor.shape[0] // mesh.size())
    return min(mesh.get_local_rank() * rows, tensor.shape[0]), local


@dataclass(frozen=True)
class _Block:
    """Consecutive rows of one tensor in an open file."""

    file: Any
    name: str
    start: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.file.get_slice(self.name).get_shape())

    def copy_to(self, rows: Tensor, start: int) -> None:
        """Copy what belongs to ``rows``, which begin at ``start`` of the whole tensor."""
        if not rows.dim():
            rows.copy_(self.file.get_tensor(self.name))
            return
        first, last = max(start, self.start), min(start + len(rows), self.start + self.shape[0])
        if first < last:
            rows[first - start : last - start] = self.file.get_slice(self.name)[first - self.start : last - self.start]


def _write_part(folder: Path, part: str, tensors: Mapping[str, Tensor], distributed: Distributed) -> None:
    sharded = any(isinstance(tensor, DTensor) for tensor in tensors.values())
    if not sharded and not distributed.is_main:
        return
    name = f"{part}-{distributed.rank:04d}.safetensors" if sharded else f"{part}.safetensors"
    local = {name: local_rows(tensor) for name, tensor in tensors.items()}
    first_rows = {name: start for name, (start, _) in local.items() if start}
    save_tensors(folder / name, {name: rows for name, (_, rows) in local.items()}, {_ROWS: json.dumps(first_rows)})


@contextmanager
def _blocks(path: Path, part: str) -> Iterator[dict[str, list[_Block]]]:
    """Find where the rows of each tensor of a part are."""
    blocks: dict[str, list[_Block]] = {}
    with ExitStack() as stack:
        for file in sorted(path.glob(f"{part}.safetensors")) + sorted(path.glob(f"{part}-*.safetensors")):
            opened = stack.enter_context(open_tensors(file))
            first_rows = _first_rows(file, opened)
            for name in opened.keys():  # noqa: SIM118 (not a dict)
                blocks.setdefault(name, []).append(_Block(opened, name, first_rows.get(name, 0)))
        yield blocks


def _first_rows(path: Path, opened: Any) -> dict[str, int]:
    """Read at which row of the whole tensor each tensor of a file begins; those of row 0 are left out."""
    try:
        first_rows = parse_json((opened.metadata() or {}).get(_ROWS, "{}"))
        if not (isinstance(first_rows, dict) and all(type(start) is int for start in first_rows.values())):
            raise ValueError("these are no rows by name")
    except ValueError as error:
        raise DARError(f"{path} does not tell which rows it holds ({error}): remove this checkpoint") from error
    return first_rows


def _whole_shape(blocks: list[_Block]) -> tuple[int, ...]:
    shape = blocks[0].shape
    return (max(block.start + block.shape[0] for block in blocks), *shape[1:]) if shape else shape


def _description(file: Path) -> dict[str, Any]:
    with file.open("rb") as opened:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}


def newest_whole(run: RunFolder) -> Path | None:
    """Find the newest checkpoint that is as it was written; damaged ones are named and put aside.

    Raises:
        DARError: if there are checkpoints, but all are damaged.
    """
    found = run.checkpoints()
    for path in reversed(found):
        problem = damage(path)
        if not problem:
            return path
        try:
            aside = path.rename(path.with_name(f"damaged-{path.name}-{time.time_ns()}"))
        except OSError as error:
            raise DARError(f"{path} is damaged and cannot be put aside ({error.strerror}): remove it") from error
        say(f"{path} is damaged ({problem}): it is now {aside.name}, and the one before is used")
    if found:
        raise DARError(f"all checkpoints in {run.path} are damaged: start again in another folder")
    return None
