"""Pictures: reading, conversion to pixels and back, and writing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from dar.errors import DARError
from dar.files import writing
from dar.image_files import decoding, opened_image
from dar.rgb import to_rgb

Picture = Image.Image | NDArray[np.uint8] | str | Path
"""A picture of Pillow, an array H x W, H x W x 3 or H x W x 4, uint8, or the file that holds a picture."""


def read_image(source: str | Path | bytes, name: str | None = None, max_pixels: int | None = None) -> Image.Image:
    """Read a PNG, JPEG, WebP, GIF, BMP, TIFF, PPM or AVIF image as upright 8-bit RGB; of several frames, the first.

    Grey, palette, CMYK and 16-bit images are converted, transparency is laid over white, EXIF rotation is applied where
    it can be read.

    Args:
        source: a file, or its content; the content decides of which kind it is.
        name: what to call it in errors.
        max_pixels: width times height of the largest image to decode; 2^27, or what the environment variable
            DAR_MAX_PIXELS says, by default. For GIF, TIFF and WebP, Pillow has a limit of its own, 178956970.

    Raises:
        DARError: if the file is missing, no such image, damaged, or too large.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    with opened_image(source, name, max_pixels) as image:
        return to_rgb(image)


def open_picture(picture: Picture, name: str = "the picture") -> Image.Image:
    """Open whatever holds a picture, as upright 8-bit RGB.

    Args:
        picture: see ``Picture``.
        name: what to call it in errors, unless it is a file.

    Raises:
        DARError: if it is no picture, or cannot be read.
    """
    if isinstance(picture, str | Path):
        return read_image(picture)
    if isinstance(picture, np.ndarray):
        return to_rgb(_from_array(picture, name))
    if isinstance(picture, Image.Image):
        with decoding(name):  # an opened picture is read only now
            return to_rgb(picture)
    kind = type(picture).__name__
    raise DARError(f"{name} must be an image of Pillow, a uint8 array H x W x 3, or a file, not {kind}")


def listed_pictures(pictures: Picture | Sequence[Picture]) -> tuple[list[Picture], bool]:
    """List pictures, and tell whether it was a single one; an array B x H x W x 3 is B pictures."""
    is_single = pictures.ndim < 4 if isinstance(pictures, np.ndarray) else not isinstance(pictures, Sequence)
    if is_single or isinstance(pictures, str):
        return [pictures], True  # type: ignore[list-item]
    return list(pictures), False  # type: ignore[arg-type]


def square_pixels(pictures: Sequence[Picture], size: int, name: str = "the picture") -> Tensor:
    """Crop pictures to central squares of ``size``: B x 3 x size x size in [-1, 1]; raises as ``open_picture``."""
    return to_pixels([centre_crop(open_picture(picture, name), size) for picture in pictures])


def _from_array(array: NDArray[np.uint8], name: str) -> Image.Image:
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not is_picture or not array.size:
        shape = " x ".join(map(str, array.shape))
        raise DARError(f"{name} is an array of {array.dtype}, {shape}: a picture is uint8, H x W x 3, in 0 to 255")
    return Image.fromarray(array)


def resize(image: Image.Image, size: int) -> Image.Image:
    """Scale so that the shorter side is ``size`` pixels: by boxes while that halves it, then bicubic.

    Of a strip longer than 4 times its width, the middle alone is kept: enlarging the rest could exhaust the memory.
    """
    longest = 4 * min(image.size)
    if max(image.size) > longest:
        left, top = max(0, (image.width - longest) // 2), max(0, (image.height - longest) // 2)
        box = left, top, image.width - left, image.height - top
        # What ``crop`` gives, without its warning of large images.
        image = image.resize((box[2] - left, box[3] - top), Image.Resampling.NEAREST, box)
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    target = max(size, round(image.width * scale)), max(size, round(image.height * scale))
    return image if target == image.size else image.resize(target, Image.Resampling.BICUBIC)


def centre_crop(image: Image.Image, size: int) -> Image.Image:
    """Scale so that the shorter side is ``size`` pixels, then keep the central square."""
    image = resize(image, size)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return image.crop((left, top, left + size, top + size))


def to_pixels(images: Sequence[Image.Image]) -> Tensor:
    """Convert equally large RGB images to B x 3 x H x W in [-1, 1], float32."""
    array = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous() / 127.5 - 1


def to_images(pixels: Tensor) -> list[Image.Image]:
    """Convert B x 3 x H x W in [-1, 1] to B RGB images, rounded to the nearest of 256 values."""
    return [Image.fromarray(array) for array in to_uint8(pixels.detach()).permute(0, 2, 3, 1).cpu().numpy()]


def to_uint8(pixels: Tensor) -> Tensor:
    """Convert [-1, 1] to uint8 of the same shape, on the same device: what a saved picture holds."""
    return (127.5 * pixels.float() + 128).clamp(0, 255).to(torch.uint8)


def check_finite(pixels: Tensor) -> None:
    """Make sure that a model gave numbers; NaN would be saved as black.

    Raises:
        DARError: if one is not finite.
    """
    if not pixels.isfinite().all():
        raise DARError("the model gives images of NaN: its weights are damaged, or its number format is too coarse")


def from_uint8(images: Tensor) -> Tensor:
    """Convert uint8 to [-1, 1], float32, of the same shape and on the same device."""
    return images.float() / 127.5 - 1


def save_image(image: Image.Image, path: Path, texts: Mapping[str, str] | None = None) -> None:
    """Write a picture, whole or not at all; the ending of the name chooses the format.

    Args:
        image: the picture.
        path: the file.
        texts: what a PNG is to hold as text, by keyword.
    """
    with writing(path) as aside:
        image.save(aside, **png_texts(texts))


def png_texts(texts: Mapping[str, str] | None) -> dict[str, Any]:
    """Make keywords for Pillow's ``save`` that put texts into a PNG; none where there are no texts."""
    if not texts:
        return {}
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    return {"pnginfo": info}


def save_animation(frames: Sequence[Image.Image], path: Path, milliseconds: int = 250) -> None:
    """Write an animation that lingers on its last frame and then starts again; the ending chooses the format.

    Args:
        frames: of one size.
        path: the file, which ends in .gif (256 colours a frame), .png or .webp (all colours).
        milliseconds: that each frame but the last is shown.
    """
    durations = [milliseconds] * (len(frames) - 1) + [6 * milliseconds]
    settings: dict[str, Any] = {"lossless": True} if path.suffix.lower() == ".webp" else {}
    with writing(path) as aside:
        frames[0].save(aside, save_all=True, append_images=frames[1:], duration=durations, loop=0, **settings)
