"""What all feature extractors have in common."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Features:
    """What an extractor finds in B images, float32.

    Attributes:
        pooled: B x D, one vector an image; Fréchet distance, precision and recall compare these.
        spatial: B x S, features that still know places, for sFID; None where the extractor has none.
        logits: B x C, unnormalised log-probabilities of classes; None where the extractor knows no classes.
    """

    pooled: Tensor
    spatial: Tensor | None = None
    logits: Tensor | None = None


class Extractor(Protocol):
    """A frozen network that looks at images.

    Attributes:
        name: what reports call its space, such as "inception-2015".
        hash: SHA-256 of its weights; figures of extractors with different hashes cannot be compared.
        class_names: one name a logit where classes are to be told; empty where it knows none, or none worth naming.
    """

    @property
    def name(self) -> str:
        """See above."""

    @property
    def hash(self) -> str:
        """See above."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """See above."""

    def __call__(self, images_B3HW: Tensor) -> Features:
        """Features of images of any size, uint8 on any device; computed without gradients, image by image alike."""
