"""Image files: their names and endings, and opening them."""

import io
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from dar.checks import spelled_number
from dar.errors import DARError, quoted
from dar.files import check_regular_file

IMAGE_ENDINGS = frozenset(
    {
        *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    }
)
"""Endings, in lower case, of the files that ``read_image`` reads."""

RAW_ENDINGS = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw"}
)
"""Endings of raw files of cameras. Many pass for a TIFF, of which only a thumbnail would be read."""

OTHER_ENDINGS = RAW_ENDINGS | {
    *(".eps", ".exr", ".heic", ".heif", ".hif", ".ico", ".j2k", ".jp2", ".jpx", ".jxl"),
    *(".pcx", ".psd", ".svg", ".tga", ".xcf"),
}
"""Endings of pictures that are not read; people can convert them to PNG or JPEG."""


MAX_PIXELS = 2**27
"""Pixels of the largest picture that is read by default, 11585 x 11585: a small file can claim any size, and decoding
takes 8 bytes a pixel, 16 of WebP, which is 2 GiB."""

TITLE_LETTERS = 50
"""Letters of a title that a file's name takes: systems allow 255 bytes, of which a letter may take four."""

MAX_PIXELS_VARIABLE = "DAR_MAX_PIXELS"
"""Environment variable that sets another limit, for all that reads pictures."""

DECODERS: dict[str, type[ImageFile]] = {
    "PNG": PngImageFile,
    "JPEG": JpegImageFile,  # with MPO, which is a JPEG with others behind it
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "PPM": PpmImageFile,
    "AVIF": AvifImageFile,
}
"""Pillow's names of the decoders that are used; some of its others start programs."""


def numbered_names(titles: Iterable[str]) -> list[str]:
    """Make names of PNG files for pictures with titles.

    >>> numbered_names(["cat", "Great Dane"])
    ['0000-cat.png', '0001-great-dane.png']
    """
    plain = ("".join(map(_plain, title.lower()[:TITLE_LETTERS])) for title in titles)
    return [f"{i:04d}-{title}.png" for i, title in enumerate(plain)]


def _plain(letter: str) -> str:
    return letter if letter.isalnum() else "-"


@contextmanager
def opened_image(source: str | Path | bytes, name: str, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Open an image of one of the kinds that are read; its pixels are decoded when they are first used.

    Args:
        source: a file, or its content; the content alone decides of which kind it is.
        name: what to call it in errors.
        max_pixels: width times height of the largest image to open; None means ``default_max_pixels``.

    Raises:
        DARError: if there is no such file or image, it is too large, or the block that uses it finds it damaged.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else _open(Path(source), name) as file, decoding(name):
        image = _identify(file)
        if image is None or (image.format == "TIFF" and Path(name).suffix.lower() in RAW_ENDINGS):
            raise DARError(f"{name} is not an image that can be read: convert it to PNG or JPEG")
        limit = default_max_pixels() if max_pixels is None else max_pixels
        if image.width * image.height > limit:
            raise DARError(
                f"{name} has {image.width} x {image.height} pixels, more than the {limit} that are read: "
                f"scale it down, or set {MAX_PIXELS_VARIABLE} to the number to allow"
            )
        yield image


def default_max_pixels() -> int:
    """Return the limit that the environment sets, else ``MAX_PIXELS``.

    Raises:
        DARError: if the environment sets something else than a whole number above 0.
    """
    value = os.environ.get(MAX_PIXELS_VARIABLE, str(MAX_PIXELS))
    pixels = spelled_number(value)
    if pixels is None or pixels < 1:
        raise DARError(
            f"{MAX_PIXELS_VARIABLE} must be a whole number above 0, not {value!r}: set it to one, or unset it"
        )
    return pixels


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever decoders raise about a picture into a DARError, and keep their warnings back: these don't name it.

    Args:
        name: what to call the picture.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except DARError:
        raise
    except MemoryError as error:
        raise DARError(f"{name} takes more memory than there is: scale it down") from error
    except Image.DecompressionBombError as error:
        raise DARError(
            f"{name} has more pixels than Pillow decodes in its format: scale it down, or convert it to PNG"
        ) from error
    except Exception as error:  # Pillow raises whatever the bytes lead to
        reason = quoted(error) or type(error).__name__
        raise DARError(
            f"{name} cannot be read ({reason}): copy it again if it is truncated, else convert it to PNG or JPEG"
        ) from error


def _open(path: Path, name: str) -> IO[bytes]:
    check_regular_file(path)
    try:
        return path.open("rb")
    except IsADirectoryError:
        raise DARError(f"{name} is a folder: name the images in it") from None
    except FileNotFoundError:
        raise DARError(f"{name} does not exist: check the path") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DARError(f"{name} cannot be opened ({reason}): check the path and its permissions") from error


def _identify(file: IO[bytes]) -> ImageFile | None:
    """Read the header of an image; None where no decoder knows it.

    This is ``Image.open`` without its limit and its warning of large images, which are the same for a whole program.
    """
    start = file.read(16)
    for kind, decoder in DECODERS.items():
        _, accepts = Image.OPEN[kind]
        if accepts is not None and accepts(start) is True:
            file.seek(0)
            return decoder(file)
    return None
