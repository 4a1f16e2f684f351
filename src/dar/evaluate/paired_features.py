"""Fréchet distance between images and what becomes of them."""

import torch
from torch import Tensor

from dar.errors import DARError
from dar.features.extractor import Extractor
from dar.metrics.confidence import GROUPS, jackknife_confidence, jackknife_groups
from dar.metrics.frechet import Moments, frechet_distance, full_rank_count
from dar.report.report import Estimate


class PairedFeatures:
    """Pooled features of originals and of what their first 1, 2, ... and all K groups decode to.

    Args:
        extractor: finds them.
        count: images at most.
    """

    def __init__(self, extractor: Extractor, count: int) -> None:
        self.extractor, self.count = extractor, count
        self.moments: list[Moments] = []

    def add(self, originals: Tensor, decoded: Tensor) -> None:
        """Take in originals, B x 3 x H x W uint8, and what they are decoded to, K x B x 3 x H x W.

        Raises:
            DARError: if the extractor finds something that is not a finite number, or more features than there are
                images.
        """
        pooled = [self.extractor(images).pooled.cpu() for images in (originals, *decoded)]
        if not self.moments:
            width = pooled[0].shape[1]
            if self.count < (needed := full_rank_count(width)):
                raise DARError(
                    f"{self.count} images are too few for rFID in the {width} dimensions of {self.extractor.name}: "
                    f"at least {needed} are needed"
                )
            self.moments = [Moments(width) for _ in pooled]
            self.rows_2ND = torch.empty(2, self.count, width)  # at once, since joining parts would take twice as much
        start = self.moments[0].count
        for moments, rows_BD in zip(self.moments, pooled, strict=True):
            moments.update(rows_BD)
        self.rows_2ND[:, start : self.moments[0].count] = torch.stack([pooled[0], pooled[-1]])

    def rfid(self, generator: torch.Generator) -> list[Estimate]:
        """Compute the distance for each number of groups; for all of them with its interval, given enough images.

        Args:
            generator: draws the groups of images that are left out in turn; on the CPU.
        """
        originals, *decoded = self.moments
        distances = [_distance(originals, moments) for moments in decoded]
        estimates = [Estimate(distance) for distance in distances]
        if originals.count >= 2 * GROUPS:
            estimates[-1] = Estimate(distances[-1], *self._jackknife(distances[-1], generator))
        return estimates

    def _jackknife(self, distance: float, generator: torch.Generator) -> tuple[float, float]:
        """Leave out originals together with what they are decoded to, since the two are not independent."""
        originals, decoded = self.moments[0], self.moments[-1]
        left_out = []
        for group in jackknife_groups(originals.count, generator):
            rows_ND, decoded_ND = self.rows_2ND[:, group]
            left_out.append(_distance(_without(originals, rows_ND), _without(decoded, decoded_ND)))
        low, high = jackknife_confidence(distance, left_out)
        return max(low, 0.0), high


def _without(moments: Moments, rows: Tensor) -> Moments:
    part = Moments(rows.shape[1])
    part.update(rows)
    return moments.without(part)


def _distance(first: Moments, second: Moments) -> float:
    return frechet_distance(first.mean, first.covariance, second.mean, second.covariance)
