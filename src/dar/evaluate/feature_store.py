"""Features of many images, kept on the disk in blocks: an extraction that is interrupted goes on where it was."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dar.errors import DARError
from dar.features.extractor import Extractor, Features
from dar.files import read_json, write_json
from dar.progress import progress_bar
from dar.storage import load_tensors, save_tensors

BLOCK = 1000
"""Images a file; at most so many are extracted twice."""

SETTINGS = "settings.json"

FEATURES = ".features"
"""Folder, in that of an evaluation, for what it keeps until it has ended."""


@dataclass(frozen=True)
class FeatureStore:
    """Features of all images by one extractor.

    Attributes:
        folder: where the blocks are.
        count: images.
    """

    folder: Path
    count: int

    def blocks(self) -> Iterator[Features]:
        """Load features of up to BLOCK images at a time, in order."""
        for index in range(-(-self.count // BLOCK)):
            tensors = load_tensors(self._block(index))
            yield Features(tensors["pooled"], tensors.get("spatial"), tensors.get("logits"))

    def pooled(self) -> Tensor:
        """Load pooled features: N x D, float32."""
        return self._filled(block.pooled for block in self.blocks())

    def spatial(self) -> Tensor | None:
        """Load spatial features: N x S, float32; None where the extractor has none."""
        return self._whole("spatial")

    def logits(self) -> Tensor | None:
        """Load logits: N x C, float32; None where the extractor knows no classes."""
        return self._whole("logits")

    def _whole(self, kind: str) -> Tensor | None:
        if not self.count or getattr(next(self.blocks()), kind) is None:
            return None
        return self._filled(getattr(block, kind) for block in self.blocks())

    def _filled(self, parts: Iterator[Tensor]) -> Tensor:
        """Copy all rows into one tensor, since joining the parts would take twice the memory."""
        rows, start = torch.empty(0), 0
        for part in parts:
            if not start:
                rows = torch.empty(self.count, part.shape[1])
            rows[start : start + len(part)] = part
            start += len(part)
        return rows

    def _block(self, index: int) -> Path:
        return self.folder / f"{index:06d}.safetensors"

    def has(self, index: int) -> bool:
        """Whether block ``index`` is there."""
        return self._block(index).exists()

    def write(self, index: int, features: Features) -> None:
        """Save block ``index``."""
        found = {"pooled": features.pooled, "spatial": features.spatial, "logits": features.logits}
        save_tensors(self._block(index), {name: value.cpu() for name, value in found.items() if value is not None})


def extract(
    batches: Iterable[Tensor], count: int, source_hash: str, extractor: Extractor, folder: Path, batch_size: int
) -> FeatureStore:
    """Extract features of all images, or of those that an earlier, interrupted call has left.

    Args:
        batches: BLOCK images at a time (the last may be fewer), B x 3 x H x W, uint8.
        count: how many images there are in all.
        source_hash: identifies the images.
        extractor: finds the features.
        folder: for the blocks; made if need be.
        batch_size: images per call of the extractor.

    Raises:
        DARError: if the folder holds features of other images or another extractor, or cannot be written to.
    """
    store = FeatureStore(folder, count)
    _begin(folder, {"images": source_hash, "count": count, "extractor": extractor.name, "hash": extractor.hash})
    with progress_bar(count, desc=extractor.name) as progress:
        for index, images in enumerate(batches):
            if not store.has(index):
                store.write(index, look(extractor, images, batch_size, progress))
            else:
                progress.update(len(images))
                progress.unpause()
    return store


def look(extractor: Extractor, images_B3HW: Tensor, batch_size: int, progress: "tqdm[Any] | None" = None) -> Features:
    """Extract features of images, a few at a time; they are on the CPU.

    Raises:
        DARError: if some are not finite.
    """
    parts = []
    for images in images_B3HW.split(batch_size):
        parts.append(extractor(images))
        if progress is not None:
            progress.update(len(images))
    found = Features(
        torch.cat([part.pooled.cpu() for part in parts]),
        _joined([part.spatial for part in parts]),
        _joined([part.logits for part in parts]),
    )
    for rows in (found.pooled, found.spatial, found.logits):
        if rows is not None and (broken := int((~rows.isfinite()).any(1).sum())):
            raise DARError(
                f"{extractor.name} gives features that are no finite numbers for {broken} of {len(rows)} images: "
                "are its weights whole?"
            )
    return found


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    """Join all rows, on the CPU; extractors give a kind of features always or never."""
    there = [part.cpu() for part in parts if part is not None]
    return torch.cat(there) if there else None


def _begin(folder: Path, settings: dict[str, str | int]) -> None:
    path = folder / SETTINGS
    if not path.exists():
        write_json(path, settings)
    elif read_json(path) != settings:
        raise DARError(
            f"{folder} holds features of other images or another extractor: remove it, or choose another place"
        )
