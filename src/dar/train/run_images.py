"""The images of a training, opened as its recipe says."""

from pathlib import Path

from dar.data import Augmentation, ImageDataset, Images, ImageStream, StreamedImages, open_images, training_stream
from dar.data.in_memory import decode_images
from dar.errors import DARError, listed
from dar.train.recipe import DataRecipe, Recipe


def open_training_images(recipe: DataRecipe, source: str | Path) -> Images:
    """Open a tokenizer's training images; arguments and errors are those of ``dar.data.open_images``."""
    return open_images(
        source,
        image_column=recipe.image_column,
        label_column=recipe.label_column,
        streaming=recipe.streaming,
        shuffle_buffer=recipe.shuffle_buffer,
    )


def stream_of(recipe: Recipe, images: Images) -> ImageStream:
    """Open the endless stream of a tokenizer's training images, decoded as they come or held in memory.

    Raises:
        DARError: if they are to be held in memory, and too many cannot be read.
    """
    data, augmentation = recipe.data, Augmentation(recipe.tokenizer.image_size, recipe.data.crop, recipe.data.flip)
    if not data.in_memory or isinstance(images, StreamedImages):
        return training_stream(images, augmentation, recipe.tokenizer_training.seed)
    decoded = decode_images(images, augmentation.size, data.max_broken_share)
    return training_stream(decoded, augmentation, recipe.tokenizer_training.seed)


def open_validation(recipe: DataRecipe, source: str | Path | None) -> ImageDataset | None:
    """Open held-out images, where there are any; errors are those of ``dar.data.ImageDataset``."""
    if source is None:
        return None
    return ImageDataset(source, "validation", image_column=recipe.image_column, label_column=recipe.label_column)


def check_classes(validation: ImageDataset, class_names: tuple[str, ...], trained_on: object) -> None:
    """Make sure that held-out images have the classes of the training.

    Raises:
        DARError: if they have others.
    """
    if validation.class_names != class_names:
        ours, theirs = set(class_names), set(validation.class_names)
        odd = listed((theirs - ours) or (ours - theirs))
        raise DARError(
            f"{validation.source} has other classes than {trained_on} ({odd}): validate on images of the same classes"
        )
