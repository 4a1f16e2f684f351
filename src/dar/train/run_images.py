"""The images of a training: opened as its recipe says, and told of before anything is spent."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tqdm import tqdm

from dar.data import Augmentation, DataSummary, ImageDataset, Images, ImageStream, open_images, training_stream
from dar.data.in_memory import InMemoryStream, decode_images
from dar.errors import DARError, listed
from dar.train.distributed import Distributed
from dar.train.recipe import DataRecipe, Recipe


def open_training_images(recipe: DataRecipe, source: str | Path) -> Images:
    """Training images of a tokenizer; arguments and errors are those of ``dar.data.open_images``."""
    return open_images(
        source,
        image_column=recipe.image_column,
        label_column=recipe.label_column,
        streaming=recipe.streaming,
        shuffle_buffer=recipe.shuffle_buffer,
    )


def stream_of(recipe: Recipe, images: Images) -> ImageStream:
    """The endless stream of a tokenizer's training images, decoded as they come or held in memory.

    Raises:
        DARError: if they are to be held in memory, and too many cannot be read.
    """
    size, data, seed = recipe.tokenizer.image_size, recipe.data, recipe.tokenizer_training.seed
    if data.in_memory and isinstance(images, ImageDataset):
        return InMemoryStream(decode_images(images, size, data.max_broken_share), data.flip, seed)
    return training_stream(images, Augmentation(size, data.crop, data.flip), seed)


def open_validation(recipe: DataRecipe, source: str | Path | None) -> ImageDataset | None:
    """Held-out images, where there are any; errors are those of ``dar.data.ImageDataset``."""
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


def tell_found(found: Mapping[str, DataSummary | None], distributed: Distributed) -> None:
    """Say, in the main process alone, what was found of each set of images, by what it is for."""
    if distributed.is_main:
        for name, summary in found.items():
            if summary is not None:
                tqdm.write(f"{name}: {summary.sentence()}")
        data, validation = found.get("data"), found.get("validation")
        if data and validation and _what_is_read(data) == _what_is_read(validation):
            tqdm.write("the held-out images are the training images themselves")


def tell(sentences: Iterable[str], distributed: Distributed) -> None:
    """Say something in the main process alone."""
    if distributed.is_main:
        for sentence in sentences:
            tqdm.write(sentence)


def _what_is_read(summary: DataSummary) -> tuple[Path, str | None]:
    return Path(summary.source).resolve(), summary.split
