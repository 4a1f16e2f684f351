"""Losses of the tokenizer (docs/architecture.md, "Training").

Here is what needs nothing but the training pass's output and the images; ``tokenizer_losses`` names and weighs it.
Losses that look through other networks are in ``perceptual``, ``alignment`` and ``adversarial``.
"""

import torch
from torch import Tensor

from dar.tokenizer.config import TokenizerConfig
from dar.tokenizer.output import TokenizerOutput

COMMITMENT_WEIGHT = 0.25


def flow_loss(output: TokenizerOutput, data_std: float) -> Tensor:
    """Mean squared velocity error over the images on the path, in units of the scaled images' variance: scalar.

    0 where no image is on the path.
    """
    return _weighted_mean(flow_loss_per_image(output, data_std), output.on_path)


def flow_loss_per_image(output: TokenizerOutput, data_std: float) -> Tensor:
    """Squared velocity error of each image: B; of no meaning where an image is not on the path."""
    return (output.velocity - output.target_velocity).square().mean((1, 2, 3)) / data_std**2


def codebook_loss(output: TokenizerOutput, tokens_per_group: int) -> Tensor:
    """Squared distance that pulls codebook entries to latents: scalar, the mean over all used tokens."""
    per_image = codebook_loss_per_image(output, tokens_per_group)
    return _weighted_mean(per_image, used_tokens(output, tokens_per_group))


def codebook_loss_per_image(output: TokenizerOutput, tokens_per_group: int) -> Tensor:
    """As ``codebook_loss``, over the used tokens of each image: B."""
    return _mean_over_used_tokens(output.entries, output.latents.detach(), used_tokens(output, tokens_per_group))


def commitment_loss(output: TokenizerOutput, tokens_per_group: int) -> Tensor:
    """Squared distance that pulls latents to codebook entries: scalar, not weighted, the mean over all used tokens."""
    per_image = commitment_loss_per_image(output, tokens_per_group)
    return _weighted_mean(per_image, used_tokens(output, tokens_per_group))


def commitment_loss_per_image(output: TokenizerOutput, tokens_per_group: int) -> Tensor:
    """As ``commitment_loss``, over the used tokens of each image: B."""
    return _mean_over_used_tokens(output.latents, output.entries.detach(), used_tokens(output, tokens_per_group))


def pixel_loss(output: TokenizerOutput, pixels: Tensor) -> Tensor:
    """Mean squared error of the predicted image, both in [-1, 1]: scalar.

    It is the flow loss weighted by (1 - t)^2: structure, which is settled near noise, counts for more.
    """
    return pixel_loss_per_image(output, pixels).mean()


def pixel_loss_per_image(output: TokenizerOutput, pixels: Tensor) -> Tensor:
    """Squared error of each predicted image: B."""
    return (output.predicted_image - pixels).square().mean((1, 2, 3))


def used_tokens(output: TokenizerOutput, tokens_per_group: int) -> Tensor:
    """Count each image's tokens up to the end of its group; later ones drove nothing: B, int64.

    The quantizer's terms of a batch are means over all these tokens, so an image counts by their number.
    """
    return (output.group + 1) * tokens_per_group


def tokenizer_losses(
    output: TokenizerOutput, pixels: Tensor, config: TokenizerConfig, pixel_weight: float = 0.0
) -> dict[str, Tensor]:
    """Compute all terms of the tokenizer's loss, weighted; training minimises their sum.

    Args:
        output: of the training pass.
        pixels: the images that it saw, B x 3 x H x W in [-1, 1].
        config: sizes.
        pixel_weight: of ``pixel_loss``, which the published recipe does not have; 0 leaves it out.
    """
    extra = {"pixel": pixel_weight * pixel_loss(output, pixels)} if pixel_weight else {}
    return extra | {
        "flow": flow_loss(output, config.data_std),
        "codebook": codebook_loss(output, config.tokens_per_group),
        "commitment": COMMITMENT_WEIGHT * commitment_loss(output, config.tokens_per_group),
    }


def _mean_over_used_tokens(x_BNC: Tensor, y_BNC: Tensor, used_B: Tensor) -> Tensor:
    """Mean squared difference over the first tokens of each image: B."""
    unused_BN = torch.arange(x_BNC.shape[1], device=x_BNC.device) >= used_B[:, None]
    return (x_BNC - y_BNC).square().mean(-1).masked_fill(unused_BN, 0).sum(1) / used_B


def _weighted_mean(values_B: Tensor, weights_B: Tensor) -> Tensor:
    return (values_B * weights_B).sum() / weights_B.sum().clamp(min=1)
