"""A discriminator of patches and its hinge losses (arXiv 1611.07004, 1802.05957); not part of the published recipe."""

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = (64, 128, 256, 512)
SLOPE = 0.2


class PatchDiscriminator(nn.Module):
    """Tells real patches of images from generated ones: convolutions of bounded gain.

    Args:
        halvings: n, how many of them halve the image, 1 to 3: a patch then has 12, 26 or 54 pixels.
    """

    def __init__(self, halvings: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 3
        for out in WIDTHS[:halvings]:
            layers += [spectral_norm(nn.Conv2d(width, out, 4, stride=2, padding=1)), nn.LeakyReLU(SLOPE)]
            width = out
        layers += [spectral_norm(nn.Conv2d(width, WIDTHS[halvings], 3, padding=1)), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(WIDTHS[halvings], 1, 3, padding=1)))

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Logits, positive where a patch looks real: B x 3 x H x W in [-1, 1] -> B x 1 x H/2^n x W/2^n."""
        return self.layers(images_B3HW)


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Hinge loss: scalar, 0 where all patches are told apart by a margin, 2 where the logits are 0.

    Args:
        real_logits: of images.
        fake_logits: of generated images, which take no gradient if they were detached.
    """
    return F.relu(1 - real_logits.float()).mean() + F.relu(1 + fake_logits.float()).mean()


def generator_loss(fake_logits_B1HW: Tensor) -> Tensor:
    """What the generator lowers: less the mean logit of each generated image: B."""
    return -fake_logits_B1HW.float().mean((1, 2, 3))
