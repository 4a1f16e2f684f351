"""Facts about one picture, and its thumbnail."""

import hashlib
from dataclasses import dataclass

from PIL import Image

from dar.image_files import opened_image
from dar.images import centre_crop
from dar.inspection.duplicates import DIGEST_BYTES, FILE_DIGEST_BYTES
from dar.rgb import to_rgb
from dar.sheets import VISIBLE_SIDE

BACKGROUND = (236, 236, 236)
"""Colour around a picture that does not fill its place, so that its edges can be seen."""


@dataclass(frozen=True)
class PictureFacts:
    """Facts about a readable picture.

    Attributes:
        width: in pixels, upright.
        height: in pixels, upright.
        format: such as "JPEG".
        mode: Pillow's name of what a pixel is in the file, such as "RGB", "RGBA", "L", "P", "CMYK" or "I;16".
        transparent: whether a pixel may be transparent; training sees white there.
        pixels: digest of size and pixels as training sees them.
        file: digest of the file's content.
    """

    width: int
    height: int
    format: str
    mode: str
    transparent: bool
    pixels: bytes
    file: bytes


def look(content: bytes, name: str) -> tuple[Image.Image, PictureFacts]:
    """Decode a picture as training does.

    Returns:
        The picture, upright 8-bit RGB, and what it is.

    Raises:
        DARError: if it cannot be read.
    """
    with opened_image(content, name) as stored:
        kind, mode = stored.format or "unknown", stored.mode
        is_transparent = "A" in mode.upper() or "transparency" in stored.info
        image = to_rgb(stored)
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=DIGEST_BYTES)
    digest.update(image.tobytes())
    facts = PictureFacts(
        *image.size,
        format=kind,
        mode=mode,
        transparent=is_transparent,
        pixels=digest.digest(),
        file=hashlib.blake2b(content, digest_size=FILE_DIGEST_BYTES).digest(),
    )
    return image, facts


def thumbnail(image: Image.Image, size: int | None) -> Image.Image:
    """Make the thumbnail that a sheet shows.

    Args:
        image: the picture.
        size: pixels a side of the central square that training cuts; None shows the whole picture, scaled to fit.
    """
    if size is not None:
        return centre_crop(image, size)
    scale = VISIBLE_SIDE / max(image.size)
    scale = int(scale) if scale >= 1 else scale
    fitting = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    smoothly = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    place = Image.new("RGB", (VISIBLE_SIDE, VISIBLE_SIDE), BACKGROUND)
    place.paste(image.resize(fitting, smoothly), ((VISIBLE_SIDE - fitting[0]) // 2, (VISIBLE_SIDE - fitting[1]) // 2))
    return place
