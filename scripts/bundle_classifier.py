"""Put a trained classifier into the package, in float16, with its recipe, a card, and what its training took; and the
statistics of its training images, as a reference to compare samples with.

python scripts/bundle_classifier.py --run runs/classifier --train cifar10/train.parquet --test cifar10/test.parquet \\
    --hardware "2 cores of ..."
"""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from dar.data import ImageDataset
from dar.data.in_memory import decode_images
from dar.evaluate.reference import REFERENCE, load_reference
from dar.features.classifier import ImageClassifier
from dar.files import read_json, write_json
from dar.hub import CARD
from dar.metrics.agreement import agreement
from dar.model_folder import RECIPE
from dar.storage import WEIGHTS
from dar.train.classifier import TRAINING, classify
from dar.train.classifier_recipe import load_classifier_recipe
from dar.train.run_folder import RunFolder

LIMIT_MB = 3

CARD_TEXT = """---
license: mit
library_name: dar
tags: [image-classification, feature-extraction, cifar10]
---

# Classifier of CIFAR-10, 32 x 32

A small residual convolutional network that looks at generated images: its features give Frechet distance, precision and
recall, its classes the accuracy of samples. Trained with this package's own code and shipped inside it;
`dar.features.classifier.load_classifier("cifar10")` loads it.

## What it is

{parameters:.2f} M parameters, stored as float16 and used as float32; stages of {widths} channels; features are the
{features} channels of the last, averaged over the image. Images of another size are scaled to 32 x 32 first.

SHA-256 of its weights and configuration: `{hash}`

## Data and compute

Trained on CIFAR-10's {training_images:,} training images, moved by up to {shift} pixels and mirrored half of the time;
the test images were used to measure the accuracy, not for training. The recipe is `recipe.yaml` beside this card:
{step:,} steps, {images:,} images seen, at up to {images_per_second:,.0f} images a second; {minutes:.0f} minutes by the
clock, with pauses and while the cores also did other work.
Hardware: {hardware}. Software: torch {torch}, Python {python}.

## Figures

Measured by `scripts/bundle_classifier.py` on {test_images:,} test images, {date}, from the weights as they are stored.

| figure | value |
|---|---|
| test accuracy | {test_accuracy:.2%} |
{class_rows}

`reference.safetensors` beside this card holds mean, covariance and features of some of the training images, as this
classifier sees them: what `--reference cifar10` means.

## Limits

It knows CIFAR-10 only, from the training images: features of these are not quite like those of other images even of
the same kind. Distances in its space are small numbers that mean something beside each other only, and only where the
hash is the same; they are no FID, and say nothing against figures of papers. A model that was trained against this
network could please it without making better images.
"""


def main(
    run: Annotated[Path, typer.Option(help="Run folder of dar train classifier.")],
    train: Annotated[str, typer.Option(help="The images that it was trained on.")],
    test: Annotated[str, typer.Option(help="Held-out images.")],
    hardware: Annotated[str, typer.Option(help="What the training ran on.")],
    out: Annotated[Path, typer.Option(help="Folder in the package.")] = Path("src/dar/classifiers/cifar10"),
) -> None:
    """Convert, copy, measure, write the card, and check the size."""
    source = RunFolder(run).model
    ImageClassifier.from_pretrained(source).to(torch.float16).save_pretrained(out)
    shutil.copyfile(source / RECIPE, out / RECIPE)
    classifier: ImageClassifier = ImageClassifier.from_pretrained(out)
    facts = {
        **read_json(source / TRAINING),
        "images_per_second": max(entry.get("images_per_second", 0) for entry in RunFolder(run).read_log()),
        **_figures(classifier, ImageDataset(test, "test")),
        "hash": classifier.hash,
        "hardware": hardware,
        "date": datetime.now(UTC).date().isoformat(),
    }
    write_json(out / TRAINING, facts)
    (out / CARD).write_text(_card(classifier, facts, RunFolder(run)), encoding="utf-8")
    reference = load_reference(train, classifier, classifier.config.image_size)
    (out / REFERENCE).unlink(missing_ok=True)
    replace(reference, source=f"{reference.images:,} training images").save(out / REFERENCE)
    size = (out / WEIGHTS).stat().st_size / 1e6
    typer.echo(f"{out}: {size:.1f} MB of weights, accuracy {facts['test_accuracy']:.2%}")
    if size > LIMIT_MB:
        raise typer.Exit(1)


def _figures(classifier: ImageClassifier, data: ImageDataset) -> dict[str, Any]:
    """Accuracy on held-out images, of all and of each class."""
    test = decode_images(data, classifier.config.image_size, max_broken_share=0)
    agrees = agreement(classify(classifier, test.images), test.labels).double()
    of_class = {name: agrees[test.labels == index].mean().item() for index, name in enumerate(classifier.class_names)}
    return {"test_images": len(test), "test_accuracy": agrees.mean().item(), "test_accuracy_by_class": of_class}


def _card(classifier: ImageClassifier, facts: dict[str, Any], run: RunFolder) -> str:
    rows = [f"| of {name} | {share:.1%} |" for name, share in facts["test_accuracy_by_class"].items()]
    widths = classifier.config.widths
    return CARD_TEXT.format(
        **facts,
        parameters=sum(parameter.numel() for parameter in classifier.parameters()) / 1e6,
        widths=", ".join(map(str, widths)),
        features=widths[-1],
        shift=load_classifier_recipe(run.recipe).classifier_training.shift,
        minutes=facts["seconds"] / 60,
        torch=facts["versions"]["torch"],
        python=facts["versions"]["python"],
        class_rows="\n".join(rows),
    )


if __name__ == "__main__":
    typer.run(main)
