"""Sheets of images that belong to classes."""

from collections.abc import Sequence
from itertools import groupby

from PIL import Image

from dar.sheets import captioned_grid, display_scale

MAX_COLUMNS = 10
"""Largest number of images in a row."""


def class_sheet(
    images: Sequence[Image.Image],
    class_names: Sequence[str],
    captions: Sequence[str],
    *,
    reference: Image.Image | None = None,
    reference_caption: str = "reference",
    heading: str = "",
) -> Image.Image:
    """Draw images with a caption each, the classes in rows of their own where some have several images.

    Args:
        images: of one size; those of a class follow each other.
        class_names: for each, the class.
        captions: for each, what distinguishes it from others of its class.
        reference: a picture of the same size that stands before them, such as the one that they take their layout from.
        reference_caption: of the reference.
        heading: stands above the first image.

    Raises:
        ValueError: if there is no image, or sizes differ.
    """
    runs = [list(run) for _, run in groupby(range(len(images)), key=class_names.__getitem__)]
    by_class = len(runs) < len(images)
    groups = runs if by_class else [list(range(len(images)))]
    rows = [group[start : start + MAX_COLUMNS] for group in groups for start in range(0, len(group), MAX_COLUMNS)]
    firsts = {group[0] for group in groups}
    texts = captions if by_class else [f"{name}, {text}" for name, text in zip(class_names, captions, strict=True)]
    drawn: list[list[Image.Image | None]] = [[images[i] for i in row] for row in rows]
    captioned = [[texts[i] for i in row] for row in rows]
    if reference is not None:
        drawn = [[reference if r == 0 else None, *row] for r, row in enumerate(drawn)]
        captioned = [[reference_caption if r == 0 else "", *row] for r, row in enumerate(captioned)]
    return captioned_grid(
        drawn,
        captions=captioned,
        row_names=[class_names[row[0]] if row[0] in firsts else "" for row in rows] if by_class else [],
        column_names=[*[""] * (reference is not None), heading] if heading else [],
        scale=display_scale(images[0].width),
    )
