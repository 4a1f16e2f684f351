"""What samples are measured against: an npz file, a data set, or statistics saved from either."""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dar.data import ImageDataset
from dar.errors import DARError, quoted
from dar.evaluate.feature_store import look
from dar.evaluate.labelled_images import LabelledImages
from dar.features.classifier import BUNDLED, bundled_folder
from dar.features.extractor import Extractor
from dar.features.inception import Inception
from dar.files import refuse_existing
from dar.locations import here
from dar.metrics.frechet import Moments, full_rank_count
from dar.progress import progress_bar
from dar.samples.file import UNREADABLE, check_square, open_samples
from dar.storage import open_tensors, save_tensors

NEIGHBOURHOOD_IMAGES = 10_000
"""Reference images for precision and recall, as many as in the ADM suite's reference files."""

ADM_STATISTICS = {"mu": "mean", "sigma": "covariance", "mu_s": "spatial_mean", "sigma_s": "spatial_covariance"}
"""Arrays of the ADM suite's reference files, of pooled and of spatial Inception features, and our names for them."""

REFERENCE = "reference.safetensors"
"""The file of statistics that lies beside the classifier that the package brings along, which sees images so."""

LOOKED_AT = 16
"""A data set of which so many images, from all over, are all smaller than the samples is of a lower resolution."""


@dataclass(frozen=True)
class Reference:
    """Real images in one feature space.

    Attributes:
        source: what the user calls them.
        hash: SHA-256 of the file, or of the pixels of a data set.
        extractor: name of the feature space.
        extractor_hash: of its weights.
        images: how many the mean and covariance are of; None where a file brings them along and doesn't tell.
        image_size: pixels a side.
        pooled: M x D, features of up to 10 000 images, for precision and recall.
        mean: D, float64.
        covariance: D x D, float64.
        spatial_mean: S, float64, or None where the extractor has no spatial features.
        spatial_covariance: S x S, float64, or None likewise.
    """

    source: str
    hash: str
    extractor: str
    extractor_hash: str
    images: int | None
    image_size: int
    pooled: Tensor
    mean: Tensor
    covariance: Tensor
    spatial_mean: Tensor | None = None
    spatial_covariance: Tensor | None = None

    def save(self, path: Path) -> None:
        """Write it as a safetensors file, for ``load_reference``.

        Features are kept as float16 if that can hold their squared distances: these are computed in it anyway.

        Raises:
            DARError: if there is such a file already, or it cannot be written.
        """
        refuse_existing(path)
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if self.pooled.double().square().sum(1).max() < torch.finfo(torch.float16).max / 4:
            tensors["pooled"] = self.pooled.half()
        save_tensors(path, tensors, {name: str(content[name]) for name in _FACTS})


_FACTS = ("source", "hash", "extractor", "extractor_hash", "images", "image_size")
_NEEDED = {"pooled", "mean", "covariance"}
_OF_PLACES = {"spatial_mean", "spatial_covariance"}
UNKNOWN = "None"
"""In a file, in place of the number of images."""


def load_reference(
    source: str,
    extractor: Extractor,
    image_size: int,
    batch_size: int = 64,
    workers: int = 0,
    image_column: str = "",
) -> Reference:
    """Statistics of real images, read where they were saved and else computed.

    Args:
        source: a ``.safetensors`` file of ``Reference.save``; an ``.npz`` with images in ``arr_0``, whose own
            ``mu, sigma, mu_s, sigma_s`` are used under Inception if it has them, as the ADM suite does; a data set,
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
        reference = _load_saved(bundled_folder() / REFERENCE)
    elif source.endswith(".safetensors"):
        reference = _load_saved(Path(source))
    elif source.endswith(".npz"):
        reference = _from_npz(Path(source), extractor, image_size, batch_size)
    else:
        data = ImageDataset(source, image_column=image_column)
        reference = _from_data(data, extractor, image_size, batch_size, workers)
    _check_statistics(reference)
    _check_use(reference, source, extractor, image_size)
    return reference


def _check_statistics(reference: Reference) -> None:
    """Make sure that a mean is D finite numbers, its covariance D x D, and that there are enough images."""
    kinds = {"": (reference.mean, reference.covariance)}
    if reference.spatial_mean is not None and reference.spatial_covariance is not None:
        kinds["spatial "] = (reference.spatial_mean, reference.spatial_covariance)
    for kind, (mean, covariance) in kinds.items():
        if mean.dim() != 1 or covariance.shape != (len(mean), len(mean)):
            raise DARError(
                f"{reference.source} has a {kind}mean of shape {tuple(mean.shape)} and a covariance of shape "
                f"{tuple(covariance.shape)}, which do not belong together: make or get it again"
            )
        if not (mean.isfinite().all() and covariance.isfinite().all()):
            raise DARError(f"{reference.source} has statistics that are no finite numbers: make or get it again")
        if reference.images is not None and reference.images < (needed := full_rank_count(len(mean))):
            raise DARError(
                f"{reference.source} holds {reference.images} images, too few for a Fréchet distance in the "
                f"{len(mean)} dimensions of {reference.extractor}: at least {needed} are needed"
            )
    pooled = reference.pooled
    if pooled.dim() != 2 or pooled.shape[1:] != reference.mean.shape or not pooled.isfinite().all():
        raise DARError(f"{reference.source} has features that are damaged: make or get it again")


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


class _Collector:
    """Statistics of images that come in batches, and rows of some for precision and recall.

    These are drawn, the same each time: data often take classes in turn, and equal distances would keep one of them.
    """

    def __init__(self, extractor: Extractor, images: int, batch_size: int) -> None:
        self.extractor, self.batch_size = extractor, batch_size
        drawn = torch.randperm(images, generator=torch.Generator().manual_seed(0))
        self.kept = set(drawn[:NEIGHBOURHOOD_IMAGES].tolist())
        self.count = 0
        self.rows: list[Tensor] = []
        self.moments: Moments | None = None
        self.spatial: Moments | None = None

    def add(self, images_B3HW: Tensor) -> None:
        found = look(self.extractor, images_B3HW, self.batch_size)
        places = range(self.count, self.count + len(images_B3HW))
        self.rows.append(found.pooled[[place in self.kept for place in places]])
        self.count += len(images_B3HW)
        if self.moments is None:
            self.moments = Moments(found.pooled.shape[1])
        self.moments.update(found.pooled)
        if found.spatial is not None:
            if self.spatial is None:
                self.spatial = Moments(found.spatial.shape[1])
            self.spatial.update(found.spatial)

    def reference(self, source: str, hash_: str, image_size: int) -> Reference:
        if self.moments is None:
            raise DARError(f"{source} holds no images that can be read: check the path")
        return Reference(
            source=source,
            hash=hash_,
            extractor=self.extractor.name,
            extractor_hash=self.extractor.hash,
            images=self.count,
            image_size=image_size,
            pooled=torch.cat(self.rows),
            mean=self.moments.mean,
            covariance=self.moments.covariance,
            spatial_mean=None if self.spatial is None else self.spatial.mean,
            spatial_covariance=None if self.spatial is None else self.spatial.covariance,
        )


def _from_data(data: ImageDataset, extractor: Extractor, image_size: int, batch_size: int, workers: int) -> Reference:
    tqdm.write(data.summary.sentence())
    shown = data.preview_images(LOOKED_AT)
    if shown and max(min(image.size) for image in shown) < image_size:
        raise DARError(
            f"the images of {data.source} are smaller than the samples' {image_size} x {image_size} pixels: "
            "use data of that resolution"
        )
    images = LabelledImages(data, image_size, None)
    collector = _Collector(extractor, len(images.indices), batch_size)
    with _progress(len(images.indices), extractor) as progress:
        for batch in images.batches(batch_size, workers, progress):
            collector.add(batch.images)
    return collector.reference(data.source, images.protocol()["sha256"], image_size)


def _from_npz(path: Path, extractor: Extractor, image_size: int, batch_size: int) -> Reference:
    """Under Inception, an npz's own means and covariances are used where it has them."""
    samples = open_samples(path)
    check_square(samples)
    _check_size(str(path), samples.width, image_size)
    own = _own_statistics(path) if extractor.name == Inception.name else {}
    collector = _Collector(extractor, len(samples), batch_size)
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


def _own_statistics(path: Path) -> dict[str, Any]:
    """A file's own means and covariances; none where it has no ``mu``, as in the ADM suite."""
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


def _load_saved(path: Path) -> Reference:
    with open_tensors(path) as file:
        facts, names = file.metadata() or {}, set(file.keys())
        if set(facts) != set(_FACTS) or not _NEEDED <= names <= _NEEDED | _OF_PLACES:
            raise DARError(f"{path} holds no statistics of images: make them with `dar evaluate statistics`")
        tensors = {name: file.get_tensor(name) for name in names}
    images, image_size = facts.pop("images"), facts.pop("image_size")
    if not (image_size.isdecimal() and (images.isdecimal() or images == UNKNOWN)):
        raise DARError(f"{path} is damaged: make it again with `dar evaluate statistics`")
    tensors["pooled"] = tensors["pooled"].float()
    counted = None if images == UNKNOWN else int(images)
    return Reference(**tensors, **facts, images=counted, image_size=int(image_size))


def _progress(count: int, extractor: Extractor) -> "tqdm[Any]":
    return progress_bar(count, desc=f"reference, {extractor.name}")
