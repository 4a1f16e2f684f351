"""The field's file of samples, written and read.

It is a zip with stored ``arr_0.npy``, uint8, N x H x W x 3, and perhaps ``arr_1.npy``, N labels, int64; a
reference may hold statistics beside them. Images are written and read a few at a time: 50 000 of 256 x 256 pixels are
10 GB.
"""

import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dar.errors import DARError, listed
from dar.files import writing
from dar.samples.samples import file_sha256

IMAGES, LABELS = "arr_0.npy", "arr_1.npy"
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip can hold, for all files, so that equal samples are equal bytes."""

READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, MemoryError, zlib.error, zipfile.BadZipFile)
"""What a damaged or hostile zip or array makes the readers raise."""


class ArchiveSamples:
    """Samples in an ``.npz``; see ``Samples``.

    Args:
        path: the file.

    Raises:
        DARError: if it is none, or its images are of another type or layout, or its labels do not fit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._member(IMAGES) as (file, size):
            shape, dtype = self._header(file, size, IMAGES)
        if dtype != np.uint8:
            raise DARError(f"{path} holds images of {dtype}: multiply to 0 to 255, round, and save them as uint8")
        if len(shape) == 4 and shape[1] == 3 != shape[3]:
            raise DARError(f"{path} holds images as N x 3 x H x W: transpose them to N x H x W x 3")
        if len(shape) != 4 or shape[3] != 3:
            raise DARError(f"{path} holds an array of {_times(shape)}: images must be N x H x W x 3")
        if not all(shape):
            raise DARError(f"{path} holds no images, but an array of {_times(shape)}: sample some")
        self._count, self.height, self.width, _ = shape
        self.labels = self._labels()

    def __len__(self) -> int:
        return self._count

    @cached_property
    def hash(self) -> str:
        """See ``Samples``."""
        return file_sha256(self.path).hex()

    def batches(self, size: int) -> Iterator[Tensor]:
        """See ``Samples``."""
        shape = self.height, self.width, 3
        with self._member(IMAGES) as (file, length):
            self._header(file, length, IMAGES)
            for start in range(0, len(self), size):
                count = min(size, len(self) - start)
                images = _read(file, count * math.prod(shape))
                yield torch.frombuffer(images, dtype=torch.uint8).view(count, *shape).permute(0, 3, 1, 2).contiguous()

    def _labels(self) -> Tensor | None:
        with self._wrap_read_errors(), zipfile.ZipFile(self.path) as archive:
            if LABELS not in archive.namelist():
                return None
        with self._member(LABELS) as (file, size):
            shape, dtype = self._header(file, size, LABELS)
            if dtype.kind not in "iu" or shape != (len(self),):
                raise DARError(
                    f"{self.path} holds {len(self)} images, and labels ({LABELS}) that are {_times(shape)} {dtype}: "
                    "give one whole number an image, or leave them out"
                )
            labels = np.frombuffer(_read(file, len(self) * dtype.itemsize), dtype)
            if labels.min() < 0 or labels.max() > np.iinfo(np.int64).max:
                wrong = labels.min() if labels.min() < 0 else labels.max()
                raise DARError(f"{self.path} holds the label {wrong}: classes count from 0, and not so far")
            return torch.from_numpy(labels.astype(np.int64))

    @contextmanager
    def _member(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """Open an array: its stream, and its length in bytes."""
        with self._wrap_read_errors(), zipfile.ZipFile(self.path) as archive:
            if name not in archive.namelist():
                raise DARError(f"{self.path} holds {listed(archive.namelist())}: images must be in {name}")
            member = archive.getinfo(name)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DARError(f"{self.path} is compressed in an uncommon way: write it with numpy.savez")
            with archive.open(member) as file:
                yield file, member.file_size

    def _header(self, file: IO[bytes], size: int, name: str) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
        """Read an array's shape and type, leaving the stream where its numbers start."""
        try:
            shape, is_fortran, dtype = READERS[np.lib.format.read_magic(file)](file)
        except Exception as error:  # whatever Python's own tokenizer and literals raise
            raise ValueError(f"{name} does not start like an array") from error
        if dtype.hasobject:
            raise DARError(f"{self.path} holds pickled objects, which are never loaded: save a uint8 array")
        if is_fortran and len(shape) > 1:
            raise DARError(f"{self.path} holds {name} in Fortran order: save it through numpy.ascontiguousarray")
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - file.tell():
            raise ValueError(f"{name} should hold {_times(shape)} {dtype}, and does not")
        return shape, dtype

    @contextmanager
    def _wrap_read_errors(self) -> Iterator[None]:
        """Raise a DARError in place of whatever readers raise."""
        try:
            yield
        except DARError:
            raise
        except UNREADABLE as error:
            raise DARError(
                f"{self.path} is not a whole .npz file of samples ({str(error) or type(error).__name__}): "
                "it may be truncated, so copy or write it again"
            ) from error


def write_samples(
    path: Path, images: Iterable[NDArray[np.uint8]], shape: tuple[int, int, int, int], labels: NDArray[np.int64]
) -> None:
    """Write an ``.npz`` of samples piece by piece, whole or not at all; equal samples give equal bytes.

    Args:
        path: the file.
        images: pieces, B x H x W x 3, in order.
        shape: N, H, W, 3 of all of them.
        labels: N class indices.

    Raises:
        ValueError: if the pieces or labels are not of this shape.
        DARError: if the file cannot be written.
    """
    if labels.shape != shape[:1]:
        raise ValueError(f"{_times(labels.shape)} labels were given for {shape[0]} images")
    with writing(path) as aside, zipfile.ZipFile(aside, "w") as archive:
        with _new_member(archive, IMAGES) as file:
            write_header(file, shape, np.dtype(np.uint8))
            count = 0
            for piece in images:
                if piece.dtype != np.uint8 or piece.shape[1:] != shape[1:]:
                    raise ValueError(f"{_times(piece.shape)} {piece.dtype} came where {_times(shape)} were to be")
                file.write(np.ascontiguousarray(piece).data)
                count += len(piece)
            if count != shape[0]:
                raise ValueError(f"{count} images came where {shape[0]} were to be")
        with _new_member(archive, LABELS) as file:
            little = np.ascontiguousarray(labels, dtype="<i8")
            write_header(file, little.shape, little.dtype)
            file.write(little.data)


def _new_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Start a stored member that may outgrow 4 GB, without a trace of when and where it was made."""
    member = zipfile.ZipInfo(name, ZIP_EPOCH)
    member.create_system, member.external_attr = 3, 0o644 << 16
    return archive.open(member, "w", force_zip64=True)


def write_header(file: IO[bytes], shape: tuple[int, ...], dtype: "np.dtype[Any]") -> None:
    """Start an ``.npy`` whose numbers follow, in C order."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _read(file: IO[bytes], count: int) -> bytearray:
    content = bytearray(file.read(count))
    if len(content) != count:
        raise EOFError("it ends early")
    return content


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
