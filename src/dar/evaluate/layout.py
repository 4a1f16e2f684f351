"""Layout control: how far images that keep a picture's first tokens keep its layout, and still show another class."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dar.data import ImageDataset
from dar.data.crops import CroppedImages
from dar.dtypes import plain_name
from dar.errors import DARError, listed
from dar.evaluate.classes import logit_indices
from dar.evaluate.labelled_images import LARGEST_DECIBELS, LabelledImages, saved_uint8
from dar.evaluate.run import EvaluationResult, with_environment
from dar.features.extractor import Extractor
from dar.generation.request import keywords
from dar.generation.settings import GenerationSettings, GivenSettings
from dar.images import from_uint8, to_images
from dar.metrics.agreement import agreement
from dar.metrics.similarity import layout_similarity
from dar.pipeline import DARPipeline
from dar.prior import PriorConfig
from dar.progress import progress_bar
from dar.randomness import derived_seed
from dar.report.report import Curve, Estimate, Point, Report, mean_estimate
from dar.sheets import captioned_grid, display_scale

SHEET_ROWS = 8
"""Images on the sheet."""

SIMILARITY, AGREEMENT = "layout_similarity", "label_agreement"
"""The two metrics."""


@with_environment
def evaluate_layout(
    pipeline: DARPipeline,
    data: ImageDataset,
    classifier: Extractor,
    *,
    prefixes: Sequence[int],
    settings: GivenSettings,
    model_info: dict[str, Any] | None = None,
    count: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
    workers: int = 0,
) -> EvaluationResult:
    """Measure images that get another class while they keep 0, some and all N of their first tokens.

    Each reference image gets a class drawn from the model's others, and the noise and random numbers of its own seed,
    the same for every number of tokens. Two metrics are means over images, with their closed-form 95 % intervals:
    similarity of layout (``dar.metrics.similarity.layout_similarity`` with the reference), and agreement, the share in
    which the classifier sees the new class. Keeping 0 tokens measures how much alike layouts are by chance, keeping all
    N is a reconstruction, the ceiling. Pictures are measured as saved, rounded to the nearest of 256 levels.

    Args:
        pipeline: the model.
        data: reference images; if they have classes, the model must have these too.
        classifier: finds logits; its class names must contain the model's.
        prefixes: numbers of tokens to keep, 1 to N; 0 and N are added.
        settings: how to sample; the model's own where not given.
        model_info: for the report, beside hashes: the model's name, its recipe; JSON values.
        count: reference images, drawn from all over the data; None means all.
        seed: image i of the data has its class drawn from this and i, and uses seed + i.
        batch_size: images computed at a time; changes nothing but rounding.
        workers: processes that decode images ahead; 0 decodes in this one.

    Returns:
        The report, and a sheet with a row a reference, by title.

    Raises:
        DARError: if classes of data, model and classifier do not fit; a number of tokens or a setting is out of range;
            images are fewer than asked for or two, or too many are broken; or their side is no multiple of 8.
    """
    config = pipeline.prior.config
    lengths = _lengths(prefixes, config.num_tokens)
    classes = _Classes(config, data, classifier, seed)
    images = LabelledImages(data, pipeline.tokenizer.config.image_size, count)
    used = pipeline.resolved(settings)
    measured = _Accumulator(lengths, images.preview_indices(SHEET_ROWS), data.class_names)
    with progress_bar(len(images.indices), desc="laying out") as bar:
        for batch in images.batches(batch_size, workers, bar):
            labels = classes.new_labels(batch)
            tokens = pipeline.tokenizer.encode(from_uint8(batch.images))
            seeds = [seed + i for i in batch.indices]
            variants = [_generated(pipeline, tokens[:, :length], labels, seeds, used) for length in lengths]
            agreements = [classes.agreement(shown, labels) for shown in variants]
            measured.add(batch, torch.stack(variants), agreements, [config.class_names[label] for label in labels])
    estimates = measured.estimates()
    report = Report(
        kind="layout",
        subject={
            **(model_info or {}),
            **pipeline.weights_hashes(),
            "dtype": plain_name(pipeline.dtype),
            **used.values(),
            "seed": seed,
            "images": images.description(),
        },
        protocol=_protocol(images, classifier, lengths, config.num_classes),
        metrics={_tokens(length): by_metric for length, by_metric in estimates.items()},
        curves=_curves(estimates),
    )
    return EvaluationResult(report, measured.sheet())


def _protocol(images: LabelledImages, classifier: Extractor, lengths: list[int], num_classes: int) -> dict[str, Any]:
    return {
        "images": images.protocol(),
        "rounding": "nearest of 256 levels",
        "layout_similarity": "PSNR of mean colours in 8 x 8 cells",
        "largest_psnr": LARGEST_DECIBELS,
        "tokens_kept": lengths,
        "new_classes": f"drawn from the others of {num_classes}",
        "extractors": {classifier.name: classifier.hash},
    }


def _lengths(prefixes: Sequence[int], num_tokens: int) -> list[int]:
    for length in prefixes:
        if not 1 <= length <= num_tokens:
            raise DARError(f"the number of layout tokens must lie between 1 and {num_tokens}, not {length}")
    return sorted({0, *prefixes, num_tokens})


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count} tokens"


def _generated(
    pipeline: DARPipeline, kept: Tensor, labels: list[int], seeds: list[int], used: GenerationSettings
) -> Tensor:
    """Generate images of B labels that keep B x P tokens: B x 3 x H x W uint8, on the CPU."""
    return saved_uint8(pipeline(labels, **keywords(used, seed=seeds, kept_tokens=kept)).pixels)


def _curves(estimates: dict[int, dict[str, Estimate]]) -> tuple[Curve, ...]:
    axes = {SIMILARITY: "layout similarity in dB", AGREEMENT: "label agreement"}
    values = {name: {length: by_metric[name].value for length, by_metric in estimates.items()} for name in axes}
    trade_off = [Point(values[AGREEMENT][n], values[SIMILARITY][n], _tokens(n)) for n in estimates]
    return (
        Curve("Layout against class", axes[AGREEMENT], axes[SIMILARITY], tuple(trade_off)),
        *(
            Curve(f"{name} by tokens kept", "tokens kept", name, tuple(Point(n, y) for n, y in values[key].items()))
            for key, name in axes.items()
        ),
    )


class _Classes:
    """Draws a new class for each image, and asks a classifier whether the image shows it.

    Raises:
        DARError: if the model has a single class, or classes do not fit.
    """

    def __init__(self, config: PriorConfig, data: ImageDataset, classifier: Extractor, seed: int) -> None:
        if config.num_classes < 2:
            raise DARError("the model has a single class, so that no image can be given another: use one with several")
        self.num_classes, self.classifier, self.seed = config.num_classes, classifier, seed
        self.of_data = _model_classes(data, config)
        self.of_classifier = torch.tensor(_logit_indices(config, classifier))

    def new_labels(self, batch: CroppedImages) -> list[int]:
        """Draw a model's class for each image, other than its own, from the seed and the image's index alone."""
        return [self._new_label(index, label) for index, label in zip(batch.indices, batch.labels, strict=True)]

    def agreement(self, images: Tensor, labels: list[int]) -> Tensor:
        """Ask whether the classifier sees these of the model's classes: B, bool."""
        logits_BC = self.classifier(images).logits
        if logits_BC is None:
            raise DARError(f"{self.classifier.name} tells no classes: choose an extractor with logits")
        return agreement(logits_BC.cpu(), self.of_classifier[labels])

    def _new_label(self, index: int, label: int) -> int:
        own = self.of_data[label] if self.of_data and label >= 0 else None
        others = [one for one in range(self.num_classes) if one != own]
        return others[derived_seed(self.seed, "new class", index) % len(others)]


def _model_classes(data: ImageDataset, config: PriorConfig) -> list[int]:
    """Find the model's class for each of the data's; empty where these have none."""
    if data.class_names == config.class_names:
        return list(range(config.num_classes))
    try:
        return [config.class_index(name) for name in data.class_names]
    except DARError as error:
        raise DARError(f"the classes of {data.source} are not the model's: {error}") from error


def _logit_indices(config: PriorConfig, classifier: Extractor) -> list[int]:
    """Find the logit of each of the model's classes."""
    found = logit_indices(config.class_names, classifier.class_names)
    if missing := [name for name, place in zip(config.class_names, found, strict=True) if place is None]:
        known = classifier.class_names
        raise DARError(
            f"{classifier.name} does not tell the model's classes {listed(missing)} from others; "
            f"it knows {listed(known) if known else 'none'}: choose a classifier of the model's classes"
        )
    return [place for place in found if place is not None]


class _Accumulator:
    """Measures batches of images that keep L numbers of tokens, and keeps the pictures to show."""

    def __init__(self, lengths: list[int], shown: set[int], data_classes: Sequence[str]) -> None:
        self.lengths, self.shown, self.data_classes = lengths, shown, data_classes
        self.values: dict[str, list[Tensor]] = {SIMILARITY: [], AGREEMENT: []}
        self.rows: list[list[Image.Image]] = []
        self.classes: list[str] = []
        self.own_classes: list[str] = []

    def add(self, batch: CroppedImages, variants: Tensor, agreements: list[Tensor], classes: list[str]) -> None:
        """Take in L x B x 3 x H x W uint8, L times B agreements, and the names of the B new classes."""
        references = from_uint8(batch.images)
        similarities = [layout_similarity(from_uint8(shown), references) for shown in variants]
        self.values[SIMILARITY].append(torch.stack(similarities).clamp(max=LARGEST_DECIBELS))
        self.values[AGREEMENT].append(torch.stack(agreements))
        for i, index in enumerate(batch.indices):
            if index in self.shown:
                self.rows.append(to_images(torch.cat([references[i : i + 1], from_uint8(variants[:, i])])))
                self.classes.append(classes[i])
                self.own_classes.append(self.data_classes[batch.labels[i]] if batch.labels[i] >= 0 else "")

    def estimates(self) -> dict[int, dict[str, Estimate]]:
        """Average both metrics, by number of tokens."""
        values = {name: torch.cat(parts, dim=1).double() for name, parts in self.values.items()}
        return {
            length: {name: mean_estimate(of[i]) for name, of in values.items()} for i, length in enumerate(self.lengths)
        }

    def sheet(self) -> dict[str, Image.Image]:
        """Draw the images to show, with a column a number of tokens, by title."""
        kept = ", ".join(map(str, self.lengths[:-1])) + f" and {self.lengths[-1]}"
        title = f"References, then samples that keep {kept} of their tokens; rows become {', '.join(self.classes)}"
        if not self.rows:
            return {}
        sheet = captioned_grid(
            self.rows,
            captions=[[own] for own in self.own_classes],
            row_names=[f"made {name}" for name in self.classes],
            column_names=["reference", *(f"{_tokens(length)} kept" for length in self.lengths)],
            scale=display_scale(self.rows[0][0].width),
        )
        return {title: sheet}
