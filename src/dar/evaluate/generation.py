"""How close samples of any model come to real images, in one feature space or several."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dar.errors import DARError, listed
from dar.evaluate.classes import logit_indices
from dar.evaluate.feature_store import BLOCK, FeatureStore, extract
from dar.evaluate.run import EvaluationResult, with_environment
from dar.evaluate.statistics import Reference
from dar.features.extractor import Extractor
from dar.features.inception import Inception
from dar.metrics.agreement import agreement
from dar.metrics.confidence import GROUPS
from dar.metrics.frechet import Moments, frechet_confidence, frechet_distance, full_rank_count
from dar.metrics.half_samples import recall_confidence
from dar.metrics.inception_score import inception_score, inception_score_confidence
from dar.metrics.precision_recall import precision_and_recall
from dar.report.report import METRICS, Estimate, Report, mean_estimate
from dar.samples.samples import Samples, check_square
from dar.sheets import captioned_grid, display_scale

NEIGHBOURS = 3
INTERVAL_SEED = 0
"""Of the random groups of images behind confidence intervals."""

SPLIT_SIZE = 5000
SHOWN_ROWS, SHOWN_COLUMNS = 8, 10


@with_environment
def evaluate_samples(
    samples: Samples,
    spaces: Sequence[tuple[Extractor, Reference]],
    work: Path,
    *,
    model_info: dict[str, Any],
    class_names: Sequence[str] = (),
    batch_size: int = 64,
) -> EvaluationResult:
    """Measure how close samples come to a reference in each feature space.

    Args:
        samples: of one model.
        spaces: extractors, each with the reference as it sees it.
        work: folder for features; what an interrupted evaluation left there is used.
        model_info: for the report: which model made the samples, and with which settings; JSON values.
        class_names: names of the classes that the samples' labels count; empty where they are not known.
        batch_size: images to look at together.

    Returns:
        The report, and a sheet of the first samples.

    Raises:
        DARError: if there are too few samples, their sizes do not fit, or features are not finite.
    """
    check_square(samples)
    labels = {}
    for extractor, _ in spaces:  # before hours are spent
        check_count(len(samples), extractor, samples.width)
        labels[extractor.name] = _labels_in_space(samples, class_names, extractor)
    metrics, constants = {}, {}
    for extractor, reference in spaces:
        store = extract(
            samples.batches(BLOCK), len(samples), samples.hash, extractor, work / extractor.hash[:16], batch_size
        )
        metrics[extractor.name] = metrics_in_space(store, extractor, reference, labels[extractor.name])
        constants[extractor.name] = _space_protocol(extractor, reference)
    protocol = {"num": len(samples), "image_size": samples.width, "spaces": constants}
    subject = {
        **model_info,
        "samples": {"path": str(samples.path), "sha256": samples.hash},
        "references": {extractor.name: reference.source for extractor, reference in spaces},
    }
    report = Report("generation", subject, protocol, metrics)
    return EvaluationResult(report, {"Samples": _sample_sheet(samples, class_names)})


def metrics_in_space(
    store: FeatureStore, extractor: Extractor, reference: Reference, labels_N: Tensor | None
) -> dict[str, Estimate]:
    """Measure all metrics of one feature space; those that it has no features for are left out.

    Args:
        store: features of the samples.
        extractor: that found them.
        reference: real images as it sees them.
        labels_N: of the samples, as it counts its classes; None leaves the accuracy out.

    Raises:
        DARError: if all samples look the same to it.
    """
    is_inception = extractor.name == Inception.name
    found: dict[str, Estimate] = {}
    spatial = store.spatial()
    if spatial is not None and reference.spatial_mean is not None and reference.spatial_covariance is not None:
        found["sfid"] = _frechet(spatial, reference.spatial_mean, reference.spatial_covariance, extractor.name)
    del spatial  # of many images each kind takes hundreds of megabytes
    logits = store.logits()
    if logits is not None and is_inception:
        found["inception_score"] = _inception_score(logits)
    if logits is not None and labels_N is not None:
        found["class_accuracy"] = mean_estimate(agreement(logits, labels_N))
    del logits
    pooled = store.pooled()
    name = "fid" if is_inception else "frechet_distance"
    found[name] = _frechet(pooled, reference.mean, reference.covariance, extractor.name)
    if len(reference.pooled):
        covered = precision_and_recall(pooled, reference.pooled, NEIGHBOURS)
        found["precision"] = mean_estimate(covered.samples_covered)
        interval = recall_confidence(pooled, reference.pooled, _generator(), NEIGHBOURS)
        found["recall"] = _around(covered.recall, *interval)
    return {name: found[name] for name in METRICS if name in found}


def _labels_in_space(samples: Samples, class_names: Sequence[str], extractor: Extractor) -> Tensor | None:
    """Translate the samples' labels to the extractor's classes: N, int64; None where either has no classes.

    Raises:
        DARError: if the extractor lacks a class, or a label has no name.
    """
    if samples.labels is None or not class_names or not extractor.class_names:
        return None
    largest = int(samples.labels.max())
    if largest >= len(class_names):
        raise DARError(f"{samples.path} has the label {largest}, but only {len(class_names)} classes have names")
    places = logit_indices(class_names, extractor.class_names)
    present = samples.labels.unique().tolist()
    unknown = [class_names[label] for label in present if places[label] is None]
    if len(unknown) == len(present):  # a classifier of other things
        return None
    if unknown:
        raise DARError(
            f"{extractor.name} does not know the classes {listed(unknown)}: use one trained on the same data"
        )
    return torch.tensor([-1 if place is None else place for place in places])[samples.labels]


def check_count(count: int, extractor: Extractor, image_size: int) -> None:
    """Make sure, before anything is sampled or looked at, that a covariance of the samples has full rank.

    Args:
        count: of the samples.
        extractor: its dimensions are found by a blank image.
        image_size: pixels a side of the samples.

    Raises:
        DARError: if there are too few samples; it says how many are needed.
    """
    found = extractor(torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8))
    dimensions = max(rows.shape[1] for rows in (found.pooled, found.spatial) if rows is not None)
    needed = max(full_rank_count(dimensions), 2 * GROUPS)
    if count < needed:
        raise DARError(
            f"{count} samples are too few for a Fréchet distance in the {dimensions} dimensions of {extractor.name}: "
            f"at least {needed} are needed"
        )


def _sample_sheet(samples: Samples, class_names: Sequence[str]) -> Image.Image:
    """Draw the first samples, in rows, with their classes where these are known."""
    first = next(samples.batches(SHOWN_ROWS * SHOWN_COLUMNS)).permute(0, 2, 3, 1).numpy()
    images = [Image.fromarray(array) for array in first]
    labels = [] if samples.labels is None else samples.labels[: len(images)].tolist()
    names = [class_names[label] if label < len(class_names) else f"class {label}" for label in labels]
    starts = range(0, len(images), SHOWN_COLUMNS)
    return captioned_grid(
        [images[i : i + SHOWN_COLUMNS] for i in starts],
        captions=[names[i : i + SHOWN_COLUMNS] for i in starts],
        scale=display_scale(samples.width),
    )


def _space_protocol(extractor: Extractor, reference: Reference) -> dict[str, Any]:
    return {
        "extractor": {"sha256": extractor.hash},
        "reference": {
            "sha256": reference.hash,
            "images": reference.images,
            "neighbourhood_images": len(reference.pooled),
        },
        "neighbours": NEIGHBOURS,
        "split_size": SPLIT_SIZE,
        "interval_seed": INTERVAL_SEED,
    }


def _frechet(rows_ND: Tensor, mean_D: Tensor, covariance_DD: Tensor, space: str) -> Estimate:
    moments = Moments(rows_ND.shape[1])
    for rows in rows_ND.split(BLOCK):  # in float64 only a few at a time
        moments.update(rows)
    if not moments.covariance.any():
        raise DARError(f"all samples look the same to {space}: a distance between distributions says nothing of them")
    distance = frechet_distance(moments.mean, moments.covariance, mean_D, covariance_DD)
    return _around(distance, *frechet_confidence(rows_ND, mean_D, covariance_DD, _generator()))


def _inception_score(logits_NC: Tensor) -> Estimate:
    score = inception_score(logits_NC, SPLIT_SIZE)
    return _around(score, *inception_score_confidence(logits_NC, SPLIT_SIZE))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(INTERVAL_SEED)


def _around(value: float, low: float, high: float) -> Estimate:
    """Widen an interval to hold its value, which rounding may leave out where sums were taken in another order."""
    return Estimate(value, min(low, value), max(high, value))
