"""What the tokenizer is trained on (docs/architecture.md, "Training").

Here is what needs nothing but the training pass's output and the images; ``tokenizer_losses`` names and weighs it.
Losses that look through other networks are in ``perceptual``, ``alignment`` and ``adversarial``.
"""

import torch
from torch import Tensor

from dar.tokenizer.config import TokenizerConfig
from dar.tokenizer.model import TokenizerOutput

COMMITMENT_WEIGHT = 0.25


def flow_loss(output: TokenizerOutput, data_std: float) -> Tensor:
    """Mean squared velocity error, in units of the scaled images' variance: scalar."""
    return (output.velocity - output.target_velocity).square().mean() / data_std**2


def codebook_loss(output: TokenizerOutput, tokens_per_group: int) -> Tensor:
    """Squared distance that draws codebook entries to features: scalar."""
    return _mean_over_used_tokens(output.entries, output.features.detach(), output.group, tokens_per_group)


def commitment_loss(output: TokenizerOutput, tokens_per_group: int) -> Tensor:
    """Squared distance that draws features to codebook entries: scalar, not weighted."""
    return _mean_over_used_tokens(output.features, output.entries.detach(), output.group, tokens_per_group)


def pixel_loss(output: TokenizerOutput, pixels: Tensor) -> Tensor:
    """Mean squared error of the predicted image, both in [-1, 1]: scalar.

    It is the flow loss weighted by (1 - t)^2: structure, which is settled near noise, counts for more.
    """
    return (output.predicted_image - pixels).square().mean()


def tokenizer_losses(
    output: TokenizerOutput, pixels: Tensor, config: TokenizerConfig, pixel_weight: float = 0.0
) -> dict[str, Tensor]:
    """All terms of the tokenizer's loss, weighted; their sum is what training minimises.

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


def _mean_over_used_tokens(x_BNC: Tensor, y_BNC: Tensor, group_B: Tensor, tokens_per_group: int) -> Tensor:
    """Mean squared difference over the tokens up to the end of each image's group; later ones drove nothing."""
    used_B = (group_B + 1) * tokens_per_group
    used_BN = torch.arange(x_BNC.shape[1], device=x_BNC.device) < used_B[:, None]
    return (x_BNC - y_BNC).square().mean(-1)[used_BN].mean()
