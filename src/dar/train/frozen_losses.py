"""Losses by networks that stay as they are: perceptual distances (LPIPS or classifiers) and alignment with DINOv2."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dar.errors import DARError
from dar.features.classifier import load_classifier
from dar.features.feature_distance import FeatureDistance
from dar.features.perceptual import load_perceptual_distance
from dar.tokenizer.output import TokenizerOutput
from dar.train.alignment import AlignedOutput, alignment_loss, load_alignment_target
from dar.train.recipe import TokenizerTraining


class FrozenLosses:
    """The losses of the frozen networks that a recipe asks for.

    Args:
        settings: of the training.
        image_size: side of the images, in pixels.
        device: where they compute.

    Raises:
        DARError: if the weights of one can't be had, or it is for images of another size.
    """

    def __init__(self, settings: TokenizerTraining, image_size: int, device: torch.device) -> None:
        self.settings = settings
        networks = settings.perceptual_network if settings.perceptual_weight > 0 else ()
        aligned = settings.alignment_weight > 0
        self.distances = [_load_distance(name, settings, image_size).to(device) for name in networks]
        self.target = load_alignment_target(settings.alignment_model).to(device) if aligned else None

    def losses(self, output: TokenizerOutput, pixels: Tensor, offsets_B2: Tensor) -> dict[str, Tensor]:
        """Compute each loss, weighted and averaged over the images.

        Args:
            output: of the training pass; with an alignment model, of an ``AlignedTokenizer``.
            pixels: B x 3 x H x W in [-1, 1], the images that it saw.
            offsets_B2: whole numbers, 0 to twice ``perceptual_shift``: where perceptual networks look.
        """
        found: dict[str, Tensor] = {}
        if self.distances:
            distances_B = self.perceptual_distances(output.predicted_image, pixels, offsets_B2)
            if self.settings.perceptual_timed:
                distances_B = output.time * distances_B
            found["perceptual"] = self.settings.perceptual_weight * distances_B.mean()
        if self.target is not None:
            assert isinstance(output, AlignedOutput)
            distances_B = alignment_loss(output.aligned, self.target(pixels))
            found["alignment"] = self.settings.alignment_weight * distances_B.mean()
        return found

    def perceptual_distances(self, images: Tensor, pixels: Tensor, offsets_B2: Tensor) -> Tensor:
        """Compute distances between images and targets, each the mean over the networks: B.

        Args:
            images: B x 3 x H x W, in [-1, 1] or a little beyond.
            pixels: B x 3 x H x W in [-1, 1].
            offsets_B2: whole numbers, 0 to twice ``perceptual_shift``: where the networks look.
        """
        seen = [moved(one, offsets_B2, self.settings.perceptual_shift) for one in (images, pixels)]
        return torch.stack([distance(*seen) for distance in self.distances]).mean(0)


def _load_distance(name: str, settings: TokenizerTraining, image_size: int) -> nn.Module:
    """Load the network of a name in ``perceptual_network``."""
    if name == "lpips":
        return load_perceptual_distance(settings.perceptual_weights, "tokenizer_training.perceptual_weights")
    classifier = load_classifier(name.removeprefix("classifier:"))
    size = classifier.config.image_size
    if size != image_size:
        raise DARError(
            f"the perceptual network {name} is for images of {size} x {size} pixels, these have {image_size} x "
            f"{image_size}: train one with classifier.image_size={image_size}"
        )
    return FeatureDistance(classifier)


def moved(images_B3HW: Tensor, offsets_B2: Tensor, limit: int) -> Tensor:
    """Move each image along both axes by ``limit`` minus its offset, in pixels; the border is mirrored."""
    if limit == 0:
        return images_B3HW
    count, _, height, width = images_B3HW.shape
    padded = F.pad(images_B3HW, (limit, limit, limit, limit), mode="reflect").permute(0, 2, 3, 1)  # B H W 3
    rows_BH = offsets_B2[:, :1] + torch.arange(height, device=images_B3HW.device)
    columns_BW = offsets_B2[:, 1:] + torch.arange(width, device=images_B3HW.device)
    images = torch.arange(count, device=images_B3HW.device)[:, None, None]
    return padded[images, rows_BH[:, :, None], columns_BW[:, None, :]].permute(0, 3, 1, 2)
