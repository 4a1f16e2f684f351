"""Statistics of real images, to measure samples against: found batch by batch, saved, and read again."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from dar.errors import DARError
from dar.evaluate.feature_store import look
from dar.features.extractor import Extractor
from dar.files import refuse_existing
from dar.metrics.frechet import Moments, full_rank_count
from dar.storage import open_tensors, save_tensors

NEIGHBOURHOOD_IMAGES = 10_000
"""Reference images for precision and recall, as many as in the ADM suite's reference files."""

_FACTS = ("source", "hash", "extractor", "extractor_hash", "images", "image_size")
_NEEDED = {"pooled", "mean", "covariance"}
_OF_PLACES = {"spatial_mean", "spatial_covariance"}
UNKNOWN = "None"
"""In a file, in place of the number of images."""


@dataclass(frozen=True)
class Reference:
    """Statistics of real images in one feature space.

    Attributes:
        source: what the user calls them.
        hash: SHA-256 of the file, or of the pixels of a data set.
        extractor: name of the feature space.
        extractor_hash: of its weights.
        images: how many the mean and covariance are of; None where a file brings them along without their number.
        image_size: pixels a side.
        pooled: M x D, features of up to 10 000 images, for precision and recall; none of a file without images.
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
        """Write a safetensors file, for ``load_reference``.

        Features are kept as float16 if that can hold their squared distances: these are computed in it anyway.

        Raises:
            DARError: if there is such a file already, or it cannot be written.
        """
        refuse_existing(path)
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if len(self.pooled) and self.pooled.double().square().sum(1).max() < torch.finfo(torch.float16).max / 4:
            tensors["pooled"] = self.pooled.half()
        save_tensors(path, tensors, {name: str(content[name]) for name in _FACTS})


def load_saved(path: Path) -> Reference:
    """Read what ``Reference.save`` wrote.

    Raises:
        DARError: if the file holds something else, or is damaged.
    """
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


def check_statistics(reference: Reference) -> None:
    """Make sure that a mean is D finite numbers, its covariance D x D, and that there are enough images.

    Raises:
        DARError: if not.
    """
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


class StatisticsCollector:
    """Finds statistics of images that come in batches, and keeps features of some for precision and recall.

    The kept ones are drawn, the same each time: data often take classes in turn, and equal distances would keep one
    class.

    Args:
        extractor: the feature space.
        images: how many there will be.
        batch_size: images to look at together.
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
        """Take in images: B x 3 x H x W, uint8."""
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
        """Build the reference of all images so far; its arguments are ``Reference``'s.

        Raises:
            DARError: if there were none.
        """
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
