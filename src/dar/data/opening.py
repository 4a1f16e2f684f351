"""From a path or Hub id to images, and a few of them to show."""

from pathlib import Path

from torch import Tensor

from dar.data.dataset import ImageDataset
from dar.data.streamed import SHUFFLE_BUFFER, StreamedImages
from dar.errors import DARError
from dar.images import centre_crop, to_pixels

Images = ImageDataset | StreamedImages
"""Images of either kind."""


def open_images(
    source: str | Path, split: str = "train", *, streaming: bool = False, shuffle_buffer: int = SHUFFLE_BUFFER
) -> Images:
    """Open a data set.

    Args:
        source: a folder with a subfolder a class (or just images), a Parquet file, a WebDataset shard (``.tar``), a
            folder of either, or a Hub id.
        split: which split of a Hub data set, or of a folder whose files bear the names of splits.
        streaming: whether to read it as it goes by rather than prepare it on the disk first.
        shuffle_buffer: of a streamed set, images to draw the next one from.

    Raises:
        DARError: if there is no such source, or it holds no images.
    """
    return StreamedImages(source, split, shuffle_buffer) if streaming else ImageDataset(source, split)


def preview_pixels(data: Images, size: int, count: int) -> Tensor:
    """Images from all over the data, centre-cropped: count x 3 x H x W in [-1, 1], fewer where there are fewer."""
    images = data.preview_images(count)
    if not images:
        raise DARError(f"none of the images of {data.source} can be read: check the data")
    return to_pixels([centre_crop(image, size) for image in images])
