"""Tokens of all images of a data set, computed once and kept in a folder of shards (``token_shards``)."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dar.data import BrokenImages, ImageDataset, in_workers
from dar.data.crops import CenterCropDecoder, CroppedImages
from dar.dtypes import plain_name
from dar.errors import DARError
from dar.files import write_json
from dar.images import from_uint8
from dar.progress import progress_bar, say
from dar.storage import weights_hash
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.token_manifest import MANIFEST, Manifest, read_manifest
from dar.train.token_shards import Shard, missing_shards, read_shard, write_shard

TEN_CROP_SCALE = 1.1
SHARD_SIZE = 8192
BATCH_SIZE = 128


def crops(squares: Tensor, size: int, views: int) -> Tensor:
    """Cut the views out of images.

    Args:
        squares: B x 3 x H x H, H = ``square_side(size, views)``.
        size: H and W of a view.
        views: 1: the image. 2: the image, its mirror image. 10: top left, top right, bottom left, bottom right and
            central crop, then the mirror image of each.

    Returns:
        B x views x 3 x size x size.
    """
    far = squares.shape[-1] - size
    places = [(0, 0), (0, far), (far, 0), (far, far), (far // 2, far // 2)] if views == 10 else [(0, 0)]
    found = [squares[..., top : top + size, left : left + size] for top, left in places]
    if views > 1:
        found += [view.flip(-1) for view in found]
    return torch.stack(found, dim=1)


def square_side(size: int, views: int) -> int:
    """Compute the side of the central square that views are cut from, a tenth longer than the views for ten of them."""
    return round(TEN_CROP_SCALE * size) if views == 10 else size


def tokenize_images(
    tokenizer: SequentialDiffusionTokenizer,
    data: ImageDataset,
    folder: Path,
    *,
    views: int,
    batch_size: int = BATCH_SIZE,
    workers: int = 0,
    shard_size: int = SHARD_SIZE,
    process: int = 0,
    processes: int = 1,
    max_broken_share: float = 0.01,
) -> bool:
    """Write one process's shards, those of index ``process`` modulo ``processes``; finished ones are left alone.

    Unreadable images are named and left out.

    Args:
        tokenizer: the frozen model.
        data: the images.
        folder: for the shards; new, empty, or of an earlier run for the same images and weights.
        views: 1, 2 or 10, see ``crops``.
        batch_size: views that are encoded at a time.
        workers: processes that decode ahead; 0 decodes in this one.
        shard_size: images a shard.
        process: which process this is.
        processes: how many share the work.
        max_broken_share: share of the images that may be unreadable.

    Returns:
        Whether the folder is complete: all shards are there, those of other processes too.

    Raises:
        DARError: if the folder holds anything else or cannot be written to, or too many images are broken.
    """
    wanted = Manifest(
        tokenizer=weights_hash(tokenizer),
        tokenizer_dtype=plain_name(tokenizer.dtype),
        data=data.fingerprint,
        source=data.source,
        class_names=data.class_names,
        codebook_size=tokenizer.config.codebook_size,
        num_tokens=tokenizer.config.num_tokens,
        views=views,
        images=len(data),
        shard_size=shard_size,
    )
    manifest = _begin(folder, wanted)
    broken = BrokenImages(data.source, max_broken_share)
    waiting = []
    for shard in range(process, manifest.shards, processes):
        if manifest.shard(folder, shard).exists():
            broken.add(len(manifest.indices(shard)), read_shard(folder, manifest, shard).broken)
        else:
            waiting.append(shard)
    decoder = CenterCropDecoder(data, square_side(tokenizer.config.image_size, views))
    pieces = [piece for shard in waiting for piece in _pieces(manifest.indices(shard), max(1, batch_size // views))]
    with progress_bar(sum(map(len, pieces)), desc="tokenizing") as bar:
        decoded = in_workers(decoder, pieces, workers)
        for shard in waiting:
            write_shard(folder, manifest, shard, _encoded(tokenizer, decoded, manifest, shard, batch_size, broken, bar))
    return _finish(folder, manifest)


def _pieces(indices: range, size: int) -> Iterator[range]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


def _encoded(
    tokenizer: SequentialDiffusionTokenizer,
    decoded: Iterator[CroppedImages],
    manifest: Manifest,
    shard: int,
    batch_size: int,
    broken: BrokenImages,
    bar: "tqdm[Any]",
) -> Shard:
    """Encode the next images, up to the end of a shard."""
    tokens = [torch.empty(0, manifest.views, manifest.num_tokens, dtype=manifest.dtype)]
    indices: list[int] = []
    labels: list[int] = []
    messages: list[str] = []
    left = len(manifest.indices(shard))
    while left:
        squares = next(decoded)
        left -= squares.seen
        broken.add(squares.seen, squares.broken)
        messages += squares.broken
        indices += squares.indices
        labels += squares.labels if manifest.class_names else [0] * len(squares.labels)
        if squares.indices:
            tokens.append(encode_views(tokenizer, squares.images, manifest.views, batch_size).to(manifest.dtype))
        bar.update(squares.seen)
    numbers = torch.tensor(labels, dtype=torch.int32), torch.tensor(indices, dtype=torch.int64)
    return Shard(torch.cat(tokens), *numbers, messages)


def encode_views(tokenizer: SequentialDiffusionTokenizer, images: Tensor, views: int, batch_size: int) -> Tensor:
    """Encode the views of images.

    Args:
        tokenizer: the frozen model.
        images: B x 3 x H x H, uint8, H = ``square_side(image_size, views)``.
        views: 1, 2 or 10.
        batch_size: views that are encoded at a time.

    Returns:
        B x views x N, int64, on the CPU.
    """
    views_B = crops(images.to(tokenizer.device), tokenizer.config.image_size, views).flatten(0, 1)
    tokens = [tokenizer.encode(from_uint8(part)).cpu() for part in views_B.split(batch_size)]
    return torch.cat(tokens).unflatten(0, (len(images), views))


def _begin(folder: Path, manifest: Manifest) -> Manifest:
    """Write the manifest, or find the same one; returns what is then there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    except OSError as error:
        raise DARError(f"cannot write to {folder} ({error.strerror}): choose another --out folder") from error
    if MANIFEST not in there:
        if there and not (folder / MANIFEST).exists():  # another process may just have written it
            raise DARError(f"{folder} holds other files, such as {min(there)}: choose a new or empty folder")
        write_json(folder / MANIFEST, asdict(manifest))
    found = read_manifest(folder)
    if found != manifest:
        compared = [known.name for known in fields(manifest) if known.compare]
        different = [name for name in compared if getattr(found, name) != getattr(manifest, name)]
        raise DARError(
            f"{folder} holds tokens made with another {', '.join(different)}: go on as they were begun, "
            "or choose a new folder"
        )
    return found


def _remove_shards(folder: Path, manifest: Manifest) -> None:
    """Remove shards without images, which nothing can be trained on, and what describes them."""
    for path in (*(manifest.shard(folder, index) for index in range(manifest.shards)), folder / MANIFEST):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # it holds other files
        folder.rmdir()


def _finish(folder: Path, manifest: Manifest) -> bool:
    """If all shards are there, complete the manifest with all broken images and clear away what was left unfinished."""
    if missing_shards(folder, manifest):
        return False
    shards = [read_shard(folder, manifest, index) for index in range(manifest.shards)]
    broken = [message for shard in shards for message in shard.broken]
    if len(broken) == manifest.images:
        _remove_shards(folder, manifest)
        raise DARError(f"none of the {manifest.images} images of {manifest.source} can be read; first: {broken[0]}")
    write_json(folder / MANIFEST, {**asdict(manifest), "broken": broken})
    for leftover in folder.glob(".shard-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    if broken:
        say(f"{len(broken)} of {manifest.images} images of {manifest.source} could not be read and were skipped")
    return True
