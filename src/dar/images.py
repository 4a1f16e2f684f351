"""Pictures: reading what people have, turning it into pixels and back, and writing them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dar.errors import DARError
from dar.storage import writing

FORMATS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def read_image(source: str | Path | bytes, name: str | None = None) -> Image.Image:
    """Read an image of any common kind as upright 8-bit RGB.

    Grey, palette, CMYK and 16-bit images are converted, transparency is laid over white, EXIF rotation is applied.

    Args:
        source: a file, or its content.
        name: what to call it in errors.

    Raises:
        DARError: if the file is missing, truncated, or not an image.
    """
    name = name or ("the image" if isinstance(source, bytes) else str(source))
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            image.load()
            return to_rgb(image)
    except IsADirectoryError:
        raise DARError(f"{name} is a folder: name the images in it") from None
    except FileNotFoundError:
        raise DARError(f"{name} does not exist: check the path") from None
    except UnidentifiedImageError:
        raise DARError(f"{name} is not an image that can be read: give a PNG, JPEG or WebP file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DARError(f"{name} cannot be read ({error}): it may be truncated, so copy it again") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Upright 8-bit RGB from an image of any mode."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _eight_bits(image).convert("RGB")
    if image.mode in ("La", "RGBa"):  # premultiplied
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey with 8 bits from grey with more; floats may count from 0 to 1, 255 or 65535."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    fitting = [full for full in ((1, 255, 65535) if image.mode == "F" else (255, 65535)) if values.max() <= full]
    full = 65535 if image.mode.startswith("I;16") or not fitting else fitting[0]
    return Image.fromarray((values * (255 / full)).clip(0, 255).round().astype(np.uint8))


def resize(image: Image.Image, size: int) -> Image.Image:
    """Scale so that the shorter side is ``size`` pixels: by boxes while that halves it, then bicubic.

    Of a strip longer than 4 times its width, the middle alone is kept: enlarging the rest could exhaust the memory.
    """
    longest = 4 * min(image.size)
    if max(image.size) > longest:
        left, top = max(0, (image.width - longest) // 2), max(0, (image.height - longest) // 2)
        image = image.crop((left, top, image.width - left, image.height - top))
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
    """Equally large RGB images -> B x 3 x H x W in [-1, 1], float32."""
    array = np.stack([np.asarray(image, dtype=np.float32) for image in images])
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous() / 127.5 - 1


def to_images(pixels: Tensor) -> list[Image.Image]:
    """B x 3 x H x W in [-1, 1] -> B RGB images; values are rounded to the nearest of 256 levels."""
    return [Image.fromarray(array) for array in to_levels(pixels.detach()).permute(0, 2, 3, 1).cpu().numpy()]


def to_levels(pixels: Tensor) -> Tensor:
    """[-1, 1] -> uint8 of the same shape, on the same device: what a saved picture holds."""
    return (127.5 * pixels.float() + 128).clamp(0, 255).to(torch.uint8)


def check_finite(pixels: Tensor) -> None:
    """Make sure that a model gave numbers; NaN would be saved as black.

    Raises:
        DARError: if one is not finite.
    """
    if not pixels.isfinite().all():
        raise DARError("the model gives images of NaN: its weights are damaged, or its number format is too coarse")


def from_levels(levels: Tensor) -> Tensor:
    """uint8 -> [-1, 1], float32, of the same shape and on the same device."""
    return levels.float() / 127.5 - 1


def save_image(image: Image.Image, path: Path) -> None:
    """Write a picture, whole or not at all; the ending of the name chooses the format."""
    with writing(path) as aside:
        image.save(aside)


def save_animation(frames: Sequence[Image.Image], path: Path, milliseconds: int = 250) -> None:
    """Write an animated GIF that lingers on its last frame and then starts again."""
    durations = [milliseconds] * (len(frames) - 1) + [6 * milliseconds]
    with writing(path) as aside:
        frames[0].save(aside, save_all=True, append_images=frames[1:], duration=durations, loop=0)
