"""References by what the user names: an npz file, a data set, or statistics saved from either."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dar.data import ImageDataset
from dar.errors import DARError, quoted
from dar.evaluate.labelled_images import LabelledImages
from dar.evaluate.statistics import Reference, StatisticsCollector, check_statistics, load_saved
from dar.features.classifier import BUNDLED, bundled_folder
from dar.features.extractor import Extractor
from dar.features.inception import Inception
from dar.files import check_regular_file
from dar.locations import here
from dar.progress import progress_bar, say
from dar.samples.archive import UNREADABLE
from dar.samples.opening import open_samples
from dar.samples.samples import check_square, file_sha256

ADM_STATISTICS = {"mu": "mean", "sigma": "covariance", "mu_s": "spatial_mean", "sigma_s": "spatial_covariance"}
"""Arrays of the ADM suite's reference files, of pooled and of spatial Inception features, and our names for them."""

REFERENCE = "reference.safetensors"
"""The file of statistics that lies beside the classifier that the package brings along, which sees images so."""

PREVIEWED_IMAGES = 16
"""A data set of which so many images, from all over, are all smaller than the samples is of a lower resolution."""


def load_reference(
    source: str,
    extractor: Extractor,
    image_size: int,
    batch_size: int = 64,
    workers: int = 0,
    image_column: str = "",
) -> Reference:
    """Load statistics of real images where they were saved, else compute them.

    Args:
        source: a ``.safetensors`` file of ``Reference.save``; an ``.npz`` with images in ``arr_0``, whose own
            ``mu, sigma, mu_s, sigma_s`` are used under Inception if it has them, as the ADM suite does; an
            ``.npz`` of ``mu`` and ``sigma`` alone, for the FID under Inception and nothing else; a data set,
            see ``dar.data.open_images``, whose images are cropped to squares; or, where there is no folder of that
            name, "cifar10" for statistics of its training images that the package brings along, as its classifier
            sees them.
        extractor: the feature space.
        image_size: pixels a side of the samples.
        batch_size: images to look at together.
        workers: processes that decode a data set ahead.
        image_column: of a data set, see ``dar.data.open_images``.

    Raises:
        DARError: if it cannot be read, has images of another size, or was made with another extractor.
    """
    if source == BUNDLED and here(source, "reference") is None:
        reference = load_saved(bundled_folder() / REFERENCE)
    elif source.endswith(".safetensors"):
        reference = load_saved(Path(source))
    elif source.endswith(".npz"):
        reference = _from_npz(Path(source), extractor, image_size, batch_size)
    else:
        data = ImageDataset(source, image_column=image_column)
        reference = _from_data(data, extractor, image_size, batch_size, workers)
    check_statistics(reference)
    _check_use(reference, source, extractor, image_size)
    return reference


def _check_use(reference: Reference, source: str, extractor: Extractor, image_size: int) -> None:
    if (reference.extractor, reference.extractor_hash) != (extractor.name, extractor.hash):
        raise DARError(
            f"{source} holds statistics of {reference.extractor} ({reference.extractor_hash[:12]}), not of "
            f"{extractor.name} ({extractor.hash[:12]}): make them again with this extractor"
        )
    _check_size(source, reference.image_size, image_size)


def _check_size(source: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise DARError(
            f"{source} is of {found} x {found} pixels, the samples are of {wanted} x {wanted}: "
            "use a reference of the same resolution"
        )


def _from_data(data: ImageDataset, extractor: Extractor, image_size: int, batch_size: int, workers: int) -> Reference:
    say(data.summary.sentence())
    shown = data.preview_images(PREVIEWED_IMAGES)
    if shown and max(min(image.size) for image in shown) < image_size:
        raise DARError(
            f"the images of {data.source} are smaller than the samples' {image_size} x {image_size} pixels: "
            "use data of that resolution"
        )
    images = LabelledImages(data, image_size, None)
    collector = StatisticsCollector(extractor, len(images.indices), batch_size)
    with _progress(len(images.indices), extractor) as progress:
        for batch in images.batches(batch_size, workers, progress):
            collector.add(batch.images)
    return collector.reference(data.source, images.protocol()["sha256"], image_size)


def _from_npz(path: Path, extractor: Extractor, image_size: int, batch_size: int) -> Reference:
    """Compute statistics of an npz; under Inception, its own means and covariances are used where it has them."""
    if extractor.name == Inception.name and (gaussian := _mean_and_covariance_alone(path)):
        mean, covariance = gaussian
        nothing = torch.empty(0, len(mean)) if mean.dim() else torch.empty(0)
        return Reference(
            source=str(path),
            hash=file_sha256(path).hex(),
            extractor=extractor.name,
            extractor_hash=extractor.hash,
            images=None,
            image_size=image_size,
            pooled=nothing,
            mean=mean,
            covariance=covariance,
        )
    samples = open_samples(path)
    check_square(samples)
    _check_size(str(path), samples.width, image_size)
    own = _own_statistics(path) if extractor.name == Inception.name else {}
    collector = StatisticsCollector(extractor, len(samples), batch_size)
    with _progress(len(samples), extractor) as progress:
        for batch in samples.batches(batch_size):
            collector.add(batch)
            progress.update(len(batch))
    found = collector.reference(str(path), samples.hash, samples.width)
    for name, statistic in own.items():
        if statistic.shape != getattr(found, name).shape:
            raise DARError(
                f"{path} has a {name.replace('_', ' ')} of shape {tuple(statistic.shape)}, not "
                f"{tuple(getattr(found, name).shape)}: it was made with another network"
            )
    return replace(found, **own, images=None) if own else found


def _mean_and_covariance_alone(path: Path) -> tuple[Tensor, Tensor] | None:
    """Read ``mu`` and ``sigma`` of a file that has them, but no images, as those of pytorch-fid; None of another."""
    check_regular_file(path)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as content:
            if not {"mu", "sigma"} <= set(content.files) or "arr_0" in content.files:
                return None
            mean, covariance = (torch.from_numpy(content[name].astype(np.float64)) for name in ("mu", "sigma"))
            return mean, covariance
    except UNREADABLE as error:
        raise DARError(f"{path} has statistics that cannot be read ({quoted(error)}): get it again") from error


def _own_statistics(path: Path) -> dict[str, Any]:
    """Read a file's own means and covariances; none where it has no ``mu``, as in the ADM suite."""
    try:
        with np.load(path, allow_pickle=False) as content:
            if "mu" not in content.files:
                return {}
            if missing := [name for name in ADM_STATISTICS if name not in content.files]:
                raise DARError(f"{path} has mu, but not {', '.join(missing)}: get the reference file again")
            return {ours: torch.from_numpy(content[name].astype(np.float64)) for name, ours in ADM_STATISTICS.items()}
    except DARError:
        raise
    except UNREADABLE as error:
        raise DARError(f"{path} has statistics that cannot be read ({quoted(error)}): get it again") from error


def _progress(count: int, extractor: Extractor) -> "tqdm[Any]":
    return progress_bar(count, desc=f"reference, {extractor.name}")
