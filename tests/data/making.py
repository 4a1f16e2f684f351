"""Tiny sets of pictures in all forms."""

import io
import tarfile
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from dar.data import (
    ImageDataset,
)

NAMES = ["ape", "bee"]
SIZE = 8


def picture(i: int) -> Image.Image:
    values = np.random.RandomState(i).randint(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    values[0, 0] = i  # tells pictures apart
    return Image.fromarray(values)


def write_folder(folder: Path, per_class: int = 3) -> Path:
    for label, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True)
        for i in range(per_class):
            picture(label * per_class + i).save(folder / name / f"{i}.png")
    return folder


def write_parquet(path: Path, count: int = 6) -> Path:
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    rows = {"img": [picture(i) for i in range(count)], "label": [i % 2 for i in range(count)]}
    datasets.Dataset.from_dict(rows, features).to_parquet(path)
    return path


def png(i: int) -> bytes:
    file = io.BytesIO()
    picture(i).save(file, "PNG")
    return file.getvalue()


def write_tar(
    path: Path, images: range, ending: str = "png", broken: tuple[int, ...] = (), labelled: bool = True
) -> Path:
    """A WebDataset shard; image i is of class i mod 3."""
    with tarfile.open(path, "w") as tar:
        for i in images:
            members = {ending: b"no image" if i in broken else png(i)}
            if labelled:
                members["cls"] = str(i % 3).encode()
            for name, content in members.items():
                member = tarfile.TarInfo(f"{i:04d}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def write_tars(folder: Path, counts: tuple[int, ...] = (9, 7, 7), broken: tuple[int, ...] = ()) -> Path:
    folder.mkdir()
    start = 0
    for shard, count in enumerate(counts):
        write_tar(folder / f"{shard:03d}.tar", range(start, start + count), broken=broken)
        start += count
    return folder


def marks(data: ImageDataset) -> list[tuple[int, int]]:
    examples = [data.example(i) for i in range(len(data))]
    return [(image.getpixel((0, 0))[0], label) for image, label in examples]


def sources(root: Path) -> dict[str, Path]:
    root.mkdir()
    return {
        "folder": write_folder(root / "folder"),
        "parquet": write_parquet(root / "a.parquet"),
        "webdataset": write_tars(root / "tars"),
    }
