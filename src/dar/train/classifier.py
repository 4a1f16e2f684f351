"""Training of a small image classifier, whose features and classes compare models."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from dar.data import EndlessOrder, ImageDataset, MicroBatches
from dar.data.in_memory import DecodedImages, decode_images
from dar.environment import run_record
from dar.errors import DARError
from dar.features.classifier import ImageClassifier
from dar.files import write_json
from dar.images import save_image
from dar.metrics.agreement import agreement
from dar.model_folder import RECIPE
from dar.randomness import step_generator
from dar.sheets import captioned_grid, display_scale
from dar.train.classifier_recipe import ClassifierRecipe
from dar.train.distributed import Distributed
from dar.train.launch import Launch
from dar.train.loop import Outcome
from dar.train.recipe_files import save_recipe
from dar.train.run_folder import RunFolder
from dar.train.run_images import check_classes
from dar.train.task import Task

TRAINING = "training.json"
"""What a training took and reached, beside the classifier."""

SHOWN_CLASSES = 10
SHOWN_PER_CLASS = 8
CLASSIFIED_BATCH = 250


def augment(images_BCHW: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Move each image by up to ``shift`` pixels along each axis, 0 coming in, and mirror half of them."""
    count, size = len(images_BCHW), images_BCHW.shape[-1]
    offsets = torch.randint(2 * shift + 1, (2, count, 1), generator=generator)
    mirrored = (torch.rand(count, 1, generator=generator) < 0.5) & flip
    places = torch.arange(size)
    rows_BH, columns_BW = offsets[0] + places, offsets[1] + torch.where(mirrored, places.flip(0), places)
    padded = F.pad(images_BCHW, (shift, shift, shift, shift)).permute(0, 2, 3, 1)
    return padded[torch.arange(count)[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :]].permute(0, 3, 1, 2)


class ClassifierTask(Task):
    """Images in, cross-entropy out.

    Args:
        recipe: sizes and settings.
        class_names: one name a label.
        training: images to train on.
        validation: images to measure the accuracy on; none means that it is not measured.
    """

    extra: Mapping[str, Tensor]

    def __init__(
        self,
        recipe: ClassifierRecipe,
        class_names: Sequence[str],
        training: DecodedImages,
        validation: DecodedImages | None,
    ) -> None:
        self.recipe, self.settings = recipe, recipe.classifier_training
        self.training, self.validation = training, validation
        torch.manual_seed(self.settings.seed)
        self.model: nn.Module = ImageClassifier(recipe.config(class_names))
        self.recomputed = ()
        self.extra = {}
        self.order = EndlessOrder(len(training), self.settings.seed)

    def batches(self, first: int, last: int, micro_batches: MicroBatches) -> Iterator[tuple[Tensor, Tensor]]:
        """Give augmented images (B x 3 x S x S, uint8) and labels (B) of each micro-batch."""
        settings, size = self.settings, self.settings.batch_size
        for step in range(first, last):
            chosen = torch.tensor([self.order[position] for position in range(step * size, (step + 1) * size)])
            generator = step_generator(settings.seed, step, torch.device("cpu"), "augmentation")
            images = augment(self.training.images[chosen], settings.shift, settings.flip, generator)
            for rows in micro_batches.positions(size, 0):
                yield images[rows.start : rows.stop], self.training.labels[chosen[rows.start : rows.stop]]

    def losses(
        self, model: nn.Module, batch: tuple[Tensor, Tensor], step: int, rows: range, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Compute one micro-batch's part of the cross-entropy with smoothed labels, in nats an image."""
        images, labels = (tensor.to(generator.device) for tensor in batch)
        part, smoothing = len(rows) / self.settings.batch_size, self.settings.label_smoothing
        return {"cross_entropy": part * F.cross_entropy(model(images).logits, labels, label_smoothing=smoothing)}

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        """Draw the held-out images that look most like each of the first classes; return the held-out accuracy."""
        if self.validation is None:
            return {}
        assert isinstance(averaged, ImageClassifier)
        logits = classify(averaged, self.validation.images)
        most = logits.topk(min(SHOWN_PER_CLASS, len(logits)), dim=0).indices.T[:SHOWN_CLASSES]
        shown = self.validation.images[most].permute(0, 1, 3, 4, 2).numpy()
        names = averaged.config.class_names
        sheet = captioned_grid(
            [[Image.fromarray(array) for array in row] for row in shown],
            captions=[[f"is {names[label]}" for label in row] for row in self.validation.labels[most].tolist()],
            row_names=[f"likest {name}" for name in names[: len(most)]],
            scale=display_scale(averaged.config.image_size),
        )
        save_image(sheet, picture)
        return {"validation_accuracy": agreement(logits, self.validation.labels).double().mean().item()}

    def export(self, averaged: nn.Module, folder: Path, distributed: Distributed) -> None:
        """Write the averaged classifier."""
        if distributed.is_main:
            assert isinstance(averaged, ImageClassifier)
            averaged.save_pretrained(folder)
            save_recipe(self.recipe, folder / RECIPE)


def classify(classifier: ImageClassifier, images_MCHW: Tensor) -> Tensor:
    """Compute logits of any number of uint8 images: M x C, on the CPU."""
    return torch.cat([classifier(batch).logits.cpu() for batch in images_MCHW.split(CLASSIFIED_BATCH)])


def open_classes(
    recipe: ClassifierRecipe, data: str | Path, validation: str | Path | None
) -> tuple[ImageDataset, ImageDataset | None]:
    """Open labelled images to train on, and held-out ones of the same classes, where there are any.

    Raises:
        DARError: if they cannot be read, have fewer than two classes, others than each other, or images without one.
    """
    settings = recipe.classifier_training
    columns = {"image_column": settings.image_column, "label_column": settings.label_column}
    source = ImageDataset(data, **columns)
    if len(source.class_names) < 2:
        raise DARError(f"{data} has fewer than two classes to tell apart: put the images into a folder for each class")
    held_out = None if validation is None else ImageDataset(validation, "validation", **columns)
    if held_out is not None:
        check_classes(held_out, source.class_names, data)
    for images in (source, held_out):
        if images is not None and (unlabelled := int((images.labels < 0).sum())):
            raise DARError(f"{unlabelled:,} images of {images.source} have no class: leave them out")
    return source, held_out


def train_classifier(
    recipe: ClassifierRecipe,
    data: str | Path,
    out: str | Path,
    *,
    validation: str | Path | None = None,
    resume: bool = False,
    trackers: Sequence[str] = (),
) -> Outcome:
    """Train a classifier; ``out/model`` then holds it, with what its training took and reached in ``training.json``.

    Under a launcher, every process calls this.

    Args:
        recipe: sizes and settings.
        data: labelled images, see ``ImageDataset``; they are held in memory.
        out: the run's folder; new or empty, unless resumed.
        validation: labelled images to measure the accuracy on.
        resume: whether to go on with the run in ``out``.
        trackers: where the log also goes.

    Returns:
        Whether training is complete, or how it was stopped.

    Raises:
        DARError: for data, folder or checkpoint that cannot be used, or a loss that diverged.
    """
    settings = recipe.classifier_training
    source, held_out = open_classes(recipe, data, validation)
    launch = Launch(out, settings, resume=resume, trackers=trackers)
    launch.announce(data=source.summary, validation=held_out.summary if held_out else None)

    def decoded(images: ImageDataset) -> DecodedImages:
        return decode_images(images, recipe.config(source.class_names).image_size, settings.max_broken_share)

    with launch.begun(recipe, source.fingerprint):
        training, others = decoded(source), None if held_out is None else decoded(held_out)
        outcome = launch.fit(ClassifierTask(recipe, source.class_names, training, others))
        if outcome is Outcome.FINISHED and launch.distributed.is_main:
            write_json(launch.run.model / TRAINING, _facts(launch.run, source, training, others))
        return outcome


def _facts(
    run: RunFolder, source: ImageDataset, training: DecodedImages, others: DecodedImages | None
) -> dict[str, object]:
    """Collect what a finished training took and reached."""
    last: dict[str, object] = {}
    for entry in run.read_log():
        last |= entry
    names = ("step", "images", "seconds", "loss", "validation_accuracy")
    return {
        **{name: last[name] for name in names if name in last},
        "training_images": len(training),
        "validation_images": 0 if others is None else len(others),
        "data": source.fingerprint,
        **run_record(),
    }
