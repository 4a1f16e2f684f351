"""Opening of data sets by path or Hub id."""

from pathlib import Path

from torch import Tensor

from dar.data.dataset import ImageDataset
from dar.data.streamed import SHUFFLE_BUFFER, StreamedImages
from dar.errors import DARError
from dar.images import centre_crop, to_pixels

Images = ImageDataset | StreamedImages
"""Indexed or streamed images."""


def open_images(
    source: str | Path,
    split: str = "train",
    *,
    image_column: str = "",
    label_column: str = "",
    streaming: bool = False,
    shuffle_buffer: int = SHUFFLE_BUFFER,
) -> Images:
    """Open a data set.

    Args:
        source: a folder with a subfolder a class (or just images), a Parquet file, a WebDataset shard (``.tar``), a
            folder of either, or a Hub id; docs/data.md lists all layouts.
        split: which split, where folders or files bear the names of splits, or of a Hub data set.
        image_column: the column of images of a table, or their ending in tars; empty finds it.
        label_column: the column of labels of a table, or their ending in tars; empty finds it.
        streaming: whether to read it as it goes by rather than prepare it on the disk first.
        shuffle_buffer: of a streamed set, images to draw the next one from.

    Raises:
        DARError: if there is no such source, it holds no images, or there is more than one way to read it.
    """
    if streaming:
        return StreamedImages(source, split, shuffle_buffer, image_column=image_column, label_column=label_column)
    return ImageDataset(source, split, image_column=image_column, label_column=label_column)


def preview_pixels(data: Images, size: int, count: int) -> Tensor:
    """Draw images from all over the data, centre-cropped: count x 3 x H x W in [-1, 1], or fewer.

    Raises:
        DARError: if none of those can be read.
    """
    images = data.preview_images(count)
    if not images:
        raise DARError(f"none of the images of {data.source} can be read: check the data")
    return to_pixels([centre_crop(image, size) for image in images])
