"""The manifest of a folder of token shards: what the folder holds, and how it is cut into shards."""

import hashlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch

from dar.dtypes import FLOAT32, checked_dtype
from dar.errors import DARError
from dar.fields import check_types, require_at_least, require_one_of
from dar.files import read_json

FORMAT = 1

VIEWS = (1, 2, 10)

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Describes a folder of token shards; raises ValueError for an impossible value.

    Attributes:
        format: version of this layout.
        tokenizer: ``weights_hash`` of the tokenizer, in the dtype that it computed in.
        tokenizer_dtype: that dtype; manifests of versions that knew only float32 do not tell it.
        data: fingerprint of the images.
        source: what the user called the images.
        class_names: one name a label; empty where the images have no labels.
        codebook_size: V.
        num_tokens: N, tokens of a view.
        views: 1 (the central square), 2 (it and its mirror image) or 10 (``crops`` of it).
        images: number of images, broken ones among them.
        shard_size: images a shard; the last may have fewer.
    """

    format: int = FORMAT
    tokenizer: str
    tokenizer_dtype: str = FLOAT32
    data: str
    source: str = field(compare=False)
    class_names: tuple[str, ...]
    codebook_size: int
    num_tokens: int
    views: int
    images: int
    shard_size: int

    def __post_init__(self) -> None:
        check_types(self)
        require_at_least(self, 1, *(known.name for known in fields(self) if known.type is int))
        if not all(isinstance(name, str) for name in self.class_names):
            raise ValueError("class_names must be a list of names")
        if self.format != FORMAT:
            raise ValueError(f"format is {self.format}, but this program knows {FORMAT}")
        require_one_of(self, "views", *VIEWS)
        checked_dtype(self.tokenizer_dtype)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.images // self.shard_size)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the stored tokens: two bytes where they suffice."""
        return torch.uint16 if self.codebook_size <= 65536 else torch.int32

    @property
    def identity(self) -> str:
        """Hash of all that shards depend on; each of them bears it."""
        compared = {known.name: getattr(self, known.name) for known in fields(self) if known.compare}
        if self.tokenizer_dtype == FLOAT32:
            del compared["tokenizer_dtype"]  # as in shards of versions that knew no other
        return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()

    def shard(self, folder: Path, index: int) -> Path:
        """Path of a shard."""
        return folder / f"shard-{index:05d}-of-{self.shards:05d}.safetensors"

    def indices(self, shard: int) -> range:
        """Indices of a shard's images."""
        return range(shard * self.shard_size, min(self.images, (shard + 1) * self.shard_size))


def read_manifest(folder: Path) -> Manifest:
    """Read a folder's manifest.

    Raises:
        DARError: if there is none, or it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DARError(f"{folder} holds no tokens: make them with dar tokenize")
    content = read_json(path)
    content.pop("broken", None)
    try:
        names = content.get("class_names")
        if not isinstance(names, list):
            raise ValueError("class_names must be a list of names")
        return Manifest(**{**content, "class_names": tuple(names)})
    except (TypeError, ValueError) as error:
        raise DARError(f"{path} does not describe token shards ({error}): make them again with dar tokenize") from error
