"""Conversion of pictures of any mode to upright 8-bit RGB."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

STRIP_PIXELS = 2**18
"""Number of pixels converted at a time where that takes memory."""

UPRIGHT_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transpositions that make a picture upright, by EXIF orientation."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to upright 8-bit RGB, without metadata."""
    image.load()
    turn = _turn(image)
    upright = _without_turning(image)
    if turn is not None:
        upright = upright.transpose(turn)
    elif upright is image:
        upright = image.copy()
    upright.info.clear()
    return upright


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Find the turn that makes an image upright; None where there is none, or the EXIF data are damaged."""
    try:
        return UPRIGHT_BY_ORIENTATION.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever the bytes lead to
        return None


def _without_turning(image: Image.Image) -> Image.Image:
    """Convert to 8-bit RGB; return the image itself if it is that."""
    if image.mode.startswith(("I", "F")):
        return _in_strips(image, _eight_bits(_white(image)))
    if image.mode in ("La", "RGBa") or "A" in image.getbands() or "transparency" in image.info:
        return _in_strips(image, _over_white)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _eight_bits(white: int) -> Callable[[Image.Image], Image.Image]:
    """Make a converter from grey with more bits, of which ``white`` is white."""

    def convert(image: Image.Image) -> Image.Image:
        numbers = _numbers(image)
        numbers *= 255 / white
        return Image.fromarray(numbers.clip(0, 255, out=numbers).round(out=numbers).astype(np.uint8))

    return convert


def _white(image: Image.Image) -> int:
    """Find the value of white: 65535 of 16 bits, else the least of 1 (of floats), 255 and 65535 that covers all."""
    if image.mode.startswith("I;16"):
        return 65535
    largest = max(_numbers(strip).max() for _, strip in _strips(image))
    return next((white for white in ((1, 255) if image.mode == "F" else (255,)) if largest <= white), 65535)


def _numbers(image: Image.Image) -> NDArray[np.float64]:
    numbers = np.array(image, dtype=np.float64)
    return np.nan_to_num(numbers, copy=False) if image.mode == "F" else numbers


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert an image to RGB strip by strip, so that what lies between takes little memory."""
    result = Image.new("RGB", image.size)
    for box, strip in _strips(image):
        result.paste(convert(strip), box)
    return result


def _strips(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """Give boxes and contents of the strips that make up the image."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = 0, top, image.width, min(top + rows, image.height)
        yield box, image.crop(box)
