"""The folder of shards that holds the tokens of all images of a data set; ``tokenization`` fills it.

The folder holds ``manifest.json`` and ``shard-00012-of-00040.safetensors``; shard i belongs to the images of index
i * shard_size and on. Its bytes do not depend on other shards, so any number of processes may share the work, and be
killed and started again. (Another kind of device or batch size may round a near tie between two codes differently.)
docs/formats.md describes the files.
"""

import json
import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dar.data import UNLABELLED
from dar.errors import DARError
from dar.json_text import parse_json
from dar.storage import load_tensors, open_tensors, save_tensors, tensor_start
from dar.train.token_manifest import MANIFEST, Manifest, read_manifest

OPEN_FILES = 256


@dataclass(frozen=True)
class Shard:
    """One shard, its tensors memory-mapped.

    Attributes:
        tokens: M x views x N, uint16 or int32.
        labels: M, int32; ``UNLABELLED`` for images without a class, 0 throughout where there are no classes.
        indices: M, int64, increasing; broken images are left out.
        broken: what was said of each broken image.
    """

    tokens: Tensor
    labels: Tensor
    indices: Tensor
    broken: list[str]


def write_shard(folder: Path, manifest: Manifest, index: int, shard: Shard) -> None:
    """Write a shard whole; an equal one has equal bytes."""
    tensors = {"tokens": shard.tokens, "labels": shard.labels, "indices": shard.indices}
    said = {"manifest": manifest.identity, "broken": shard.broken}
    # One entry, because the order of several is left to chance and shards are to be the same to the byte.
    save_tensors(manifest.shard(folder, index), tensors, {"dar": json.dumps(said)})


def read_shard(folder: Path, manifest: Manifest, index: int) -> Shard:
    """Map a shard into memory, and check all of it except the tokens themselves.

    Raises:
        DARError: if it is damaged or belongs to other tokens.
    """
    path = manifest.shard(folder, index)
    with open_tensors(path) as file:
        metadata = file.metadata() or {}
    tensors = load_tensors(path)
    try:
        said = parse_json(metadata["dar"])
        if said["manifest"] != manifest.identity:
            raise ValueError(f"it does not belong to {MANIFEST}")
        shard = Shard(tensors["tokens"], tensors["labels"], tensors["indices"], said["broken"])
        _check_shard(manifest, manifest.indices(index), shard)
    except (KeyError, TypeError, ValueError) as error:
        raise DARError(
            f"{path} is not a shard of these tokens ({error}): delete it and run dar tokenize again"
        ) from error
    return shard


def _check_shard(manifest: Manifest, indices: range, shard: Shard) -> None:
    count = len(shard.indices)
    wanted: Mapping[str, tuple[torch.dtype, tuple[int, ...]]] = {
        "tokens": (manifest.dtype, (count, manifest.views, manifest.num_tokens)),
        "labels": (torch.int32, (count,)),
        "indices": (torch.int64, (count,)),
    }
    for name, (dtype, shape) in wanted.items():
        tensor = getattr(shard, name)
        if tensor.dtype != dtype or tuple(tensor.shape) != shape:
            raise ValueError(f"{name} are {tensor.dtype} {tuple(tensor.shape)}, not {dtype} {shape}")
    if not (isinstance(shard.broken, list) and all(isinstance(message, str) for message in shard.broken)):
        raise ValueError("broken must be a list of messages")
    if count + len(shard.broken) != len(indices):
        raise ValueError(f"it has {count} images and {len(shard.broken)} broken ones of {len(indices)}")
    if count and not (indices.start <= shard.indices[0] and shard.indices[-1] < indices.stop):
        raise ValueError("indices are of another shard")
    if (shard.indices.diff() <= 0).any():
        raise ValueError("indices do not increase")
    least = UNLABELLED if manifest.class_names else 0
    if count and not least <= int(shard.labels.min()) <= int(shard.labels.max()) < max(1, len(manifest.class_names)):
        raise ValueError("labels are not of these classes")


def missing_shards(folder: Path, manifest: Manifest) -> int:
    """Count the shards that are not there yet."""
    there = {path.name for path in folder.glob("shard-*.safetensors")}
    return manifest.shards - sum(manifest.shard(folder, index).name in there for index in range(manifest.shards))


class TokenShards:
    """A complete folder of token shards. Only labels are in memory: tokens are read as they are asked for.

    Args:
        folder: what ``dar tokenize`` wrote.

    Attributes:
        manifest: what the folder holds.
        labels: M class indices, int32, ``UNLABELLED`` for images without a class; broken images are left out.
        views: views of each image.

    Raises:
        DARError: if the folder holds no tokens, or a shard is missing or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.views = self.manifest.views
        labels, counts = [], []
        self._data_starts: list[int] = []
        for index in range(self.manifest.shards):
            path = self.manifest.shard(self.folder, index)
            if not path.exists():
                raise DARError(f"{path} is missing: run dar tokenize again, it makes what is not there")
            shard = read_shard(self.folder, self.manifest, index)
            self._data_starts.append(tensor_start(path, "tokens"))
            labels.append(shard.labels.clone())
            counts.append(len(shard.labels))
        self.labels = torch.cat(labels)
        self._firsts = np.cumsum([0, *counts[:-1]])
        if not len(self.labels):
            raise DARError(f"{self.folder} holds the tokens of no image: make them again with dar tokenize")
        self._files: dict[int, int] = {}
        weakref.finalize(self, _close, self._files)

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, images: Tensor, views: Tensor) -> Tensor:
        """Tokens of one view each of some images.

        Args:
            images: B numbers in [0, M).
            views: B numbers in [0, views).

        Returns:
            B x N, int64.

        Raises:
            DARError: if a shard can no longer be read, or a stored token is none of the codebook's.
        """
        dtype = np.uint16 if self.manifest.dtype == torch.uint16 else np.int32
        stored = np.empty((len(images), self.manifest.num_tokens), dtype=dtype)
        shards = np.searchsorted(self._firsts, images.numpy(), side="right") - 1
        places = (images.numpy() - self._firsts[shards]) * self.views + views.numpy()
        for row, shard, place in zip(stored, shards.tolist(), places.tolist(), strict=True):
            self._read(shard, self._data_starts[shard] + place * row.nbytes, row)
        if stored.size and not 0 <= stored.min() <= stored.max() < self.manifest.codebook_size:
            raise DARError(f"{self.folder} holds tokens that no codebook entry has: make them again with dar tokenize")
        return torch.from_numpy(stored.astype(np.int64))

    def _read(self, shard: int, start: int, row: Any) -> None:
        """Fill ``row``. Plain reads leave no pages of the file in this process's memory, as a mapping would."""
        path = self.manifest.shard(self.folder, shard)
        try:
            if shard not in self._files:
                if len(self._files) == OPEN_FILES:
                    os.close(self._files.pop(next(iter(self._files))))
                self._files[shard] = os.open(path, os.O_RDONLY)
            count = os.preadv(self._files[shard], [row], start)
        except OSError as error:
            raise DARError(f"{path} can no longer be read ({error.strerror}): check the disk") from error
        if count != row.nbytes:
            raise DARError(f"{path} has become shorter: make it again with dar tokenize")


def _close(files: dict[int, int]) -> None:
    for file in files.values():
        os.close(file)
