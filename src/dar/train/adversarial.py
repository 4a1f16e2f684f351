"""A discriminator of patches and its hinge losses (arXiv 1611.07004, 1802.05957); not part of the published recipe."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from dar.errors import DARError
from dar.train.distributed import Distributed
from dar.train.recipe import TokenizerTraining

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
        """Compute logits, positive where a patch looks real: B x 3 x H x W in [-1, 1] -> B x 1 x H/2^n x W/2^n."""
        return self.layers(images_B3HW)


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Compute the hinge loss: scalar, 0 where all patches are told apart by a margin, 2 where the logits are 0.

    Args:
        real_logits: of images.
        fake_logits: of generated images, which take no gradient if they were detached.
    """
    return F.relu(1 - real_logits.float()).mean() + F.relu(1 + fake_logits.float()).mean()


def generator_loss(fake_logits_B1HW: Tensor) -> Tensor:
    """Compute the generator's loss, the negated mean logit of each generated image: B."""
    return -fake_logits_B1HW.float().mean((1, 2, 3))


class AdversarialLoss:
    """A discriminator in training against the tokenizer.

    Args:
        settings: of the tokenizer's training, whose learning rate it shares.
        device: where it computes.
    """

    def __init__(self, settings: TokenizerTraining, device: torch.device) -> None:
        self.weight, self.clip = settings.adversarial_weight, settings.gradient_clip
        self.discriminator = PatchDiscriminator(settings.adversarial_halvings).to(device)
        parameters = list(self.discriminator.parameters())
        self.optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, betas=settings.betas, fused=True)
        for parameter in parameters:  # what AdamW would make at its first step, so that a checkpoint can fill it
            self.optimizer.state[parameter] = {
                "step": torch.zeros((), device=device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def tensors(self) -> dict[str, Tensor]:
        """Return all that a checkpoint must keep, by name."""
        found = {f"discriminator/{name}": tensor for name, tensor in self.discriminator.state_dict().items()}
        for name, parameter in self.discriminator.named_parameters():
            found |= {f"discriminator/{name}/{key}": value for key, value in self.optimizer.state[parameter].items()}
        return found

    def add_discriminator_gradients(self, predicted: Tensor, pixels: Tensor, part: float) -> None:
        """Backpropagate the discriminator's own loss on one micro-batch; its gradients add up until ``step``.

        Args:
            predicted: B x 3 x H x W, the image that the velocity leads to.
            pixels: B x 3 x H x W in [-1, 1].
            part: share of the whole batch that these images are.
        """
        loss = discriminator_loss(self.discriminator(pixels), self.discriminator(predicted.detach()))
        (part * loss).backward()

    def loss(self, predicted: Tensor) -> Tensor:
        """Weighted loss of the tokenizer: scalar; gives the discriminator no gradient."""
        self.discriminator.requires_grad_(False)
        judged = generator_loss(self.discriminator(predicted)).mean()
        self.discriminator.requires_grad_(True)
        return self.weight * judged

    def step(self, rate: float, distributed: Distributed) -> None:
        """Move the discriminator by the gradients of all processes, at a learning rate.

        Raises:
            DARError: if they are no longer finite.
        """
        for parameter in self.discriminator.parameters():
            if parameter.grad is not None:
                parameter.grad = distributed.all_reduce_sum(parameter.grad)
        if not torch.isfinite(nn.utils.clip_grad_norm_(self.discriminator.parameters(), self.clip)):
            raise DARError("the discriminator's gradient is not a finite number: --resume with a lower learning rate")
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
