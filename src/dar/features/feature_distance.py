"""A distance between images as a classifier sees them: LPIPS's form (arXiv 1801.03924) for a network of one's own."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dar.features.classifier import ImageClassifier

NORM_EPS = 1e-6


class FeatureDistance(nn.Module):
    """Squared differences of a classifier's features, at unit length over channels, after each of its stages. Frozen.

    Args:
        classifier: images must be as large as its configuration says.
    """

    def __init__(self, classifier: ImageClassifier) -> None:
        super().__init__()
        self.classifier = classifier.requires_grad_(False).eval()

    def forward(self, images_B3HW: Tensor, references_B3HW: Tensor) -> Tensor:
        """Compute distances, 0 to 4; only the first images get a gradient.

        Args:
            images_B3HW: in [-1, 1] or a little beyond.
            references_B3HW: what each of them should look like.

        Returns:
            B, float32: the mean over places and stages.
        """
        with torch.no_grad():
            wanted = self._features(references_B3HW)
        found = self._features(images_B3HW)
        distances = [(f - w).square().sum(1).mean((1, 2)) for f, w in zip(found, wanted, strict=True)]
        return torch.stack(distances).mean(0)

    def _features(self, images_B3HW: Tensor) -> list[Tensor]:
        """Compute the features of each stage: B x C x h x w, float32."""
        stages = self.classifier.stage_features(images_B3HW)
        return [F.normalize(stage.float(), dim=1, eps=NORM_EPS) for stage in stages]
