"""Tokens to train the prior on: their interface, and those that are held in memory."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Tokens(Protocol):
    """Tokens and classes of M images, each seen in one or more views."""

    @property
    def labels(self) -> Tensor:
        """M class indices, int32."""

    @property
    def views(self) -> int:
        """Views of each image; the first is the one to evaluate on."""

    def __len__(self) -> int:
        """M."""

    def rows(self, images: Tensor, views: Tensor) -> Tensor:
        """Tokens of view ``views[i]`` of image ``images[i]``, for B of each: B x N, int64."""


@dataclass(frozen=True)
class TokenSet:
    """Tokens held in memory.

    Attributes:
        tokens: M x N for one view, or M x views x N; integers.
        labels: M, int32.
    """

    tokens: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def views(self) -> int:
        """Views of each image."""
        return self.tokens.shape[1] if self.tokens.dim() == 3 else 1

    def rows(self, images: Tensor, views: Tensor) -> Tensor:
        """See ``Tokens``."""
        return self.tokens.view(len(self), self.views, -1)[images, views].long()
