"""Samples as a folder of image files, read and written."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dar.data.listing import list_folder
from dar.errors import DARError
from dar.files import writing
from dar.images import png_texts, read_image
from dar.progress import progress_bar, say
from dar.samples.samples import Samples, file_sha256


class FolderSamples:
    """Images in a folder, and in those inside it; see ``Samples``. Their classes are not known.

    What else is there, as ``dar.data.listing`` finds it, is left out and said.

    Args:
        path: the folder.

    Raises:
        DARError: if it holds no images, or its first cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.labels: Tensor | None = None
        listing = list_folder(path)
        self._files = [path.joinpath(*parts) for parts in listing.files.get("images", ())]
        if listing.left_out:
            say(f"left out of {path}: {', '.join(map(str, listing.left_out))}")
        if not self._files:
            raise DARError(f"{path} holds no images: give a folder of PNG files, or an .npz file")
        self.width, self.height = read_image(self._files[0]).size

    def __len__(self) -> int:
        return len(self._files)

    @cached_property
    def hash(self) -> str:
        """See ``Samples``."""
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(hashlib.sha256(file.relative_to(self.path).as_posix().encode()).digest())
            digest.update(file_sha256(file))
        return digest.hexdigest()

    def batches(self, size: int) -> Iterator[Tensor]:
        """See ``Samples``."""
        for start in range(0, len(self), size):
            images = np.stack([self._read_uint8(file) for file in self._files[start : start + size]])
            yield torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()

    def _read_uint8(self, file: Path) -> NDArray[np.uint8]:
        image = read_image(file)
        if image.size != (self.width, self.height):
            raise DARError(
                f"{file} is {image.width} x {image.height} pixels, {self._files[0].name} {self.width} x {self.height}: "
                "all images must have one size"
            )
        return np.asarray(image)


def write_pngs(
    samples: Samples, folder: Path, texts: Sequence[Mapping[str, str]] | None = None, batch_size: int = 50
) -> None:
    """Write all samples as ``000000.png`` and so on into a new folder, whole or not at all.

    Args:
        samples: the images.
        folder: the folder.
        texts: what the file of each image is to hold as text, by keyword.
        batch_size: images read at a time.
    """
    with writing(folder) as aside:
        aside.mkdir()
        with progress_bar(len(samples), desc="writing PNGs") as bar:
            for images_B3HW in samples.batches(batch_size):
                start = int(bar.n)
                for i, array in enumerate(images_B3HW.permute(0, 2, 3, 1).numpy(), start):
                    Image.fromarray(array).save(aside / f"{i:06d}.png", **png_texts(texts[i] if texts else None))
                    bar.update()
