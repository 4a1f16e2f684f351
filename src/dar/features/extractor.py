"""Interface of all feature extractors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dar.errors import DARError


@dataclass(frozen=True)
class Features:
    """Features of B images, float32.

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
        class_names: one name a logit; empty where it knows no names, or none worth showing.
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
        """Compute features of images of any size, uint8 on any device, without gradients and image by image alike."""


def check_images(images_B3HW: Tensor) -> None:
    """Make sure that a tensor holds images as extractors take them.

    Raises:
        DARError: if it isn't uint8, B x 3 x H x W, or has no pixels.
    """
    if images_B3HW.dtype != torch.uint8:
        raise DARError(f"images are {images_B3HW.dtype}, not uint8: round them to 0 to 255 first")
    if images_B3HW.dim() != 4 or images_B3HW.shape[1] != 3 or not images_B3HW.numel():
        raise DARError(f"images are {tuple(images_B3HW.shape)}, not B x 3 x H x W: stack RGB images, channels first")


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32 as it is, whatever autocast says, and without the shortened mantissas of GPUs' TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
