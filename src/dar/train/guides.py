"""Losses that look at a tokenizer's images through other networks, made ready for a training."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dar.errors import DARError
from dar.features.classifier import load_classifier
from dar.features.feature_distance import FeatureDistance
from dar.features.perceptual import load_perceptual_distance
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.tokenizer.model import ReachedStates, TokenizerOutput
from dar.train.adversarial import PatchDiscriminator, discriminator_loss, generator_loss
from dar.train.alignment import AlignmentHead, alignment_loss, load_alignment_target
from dar.train.distributed import Distributed
from dar.train.recipe import TokenizerTraining


class AlignedTokenizer(nn.Module):
    """A tokenizer and the head that only training reads.

    Args:
        tokenizer: in training.
        layer: the head reads the patch tokens before this block of the diffusion decoder.
        target_width: channels of the features that it predicts.
    """

    def __init__(self, tokenizer: SequentialDiffusionTokenizer, layer: int, target_width: int) -> None:
        super().__init__()
        self.tokenizer, self.layer = tokenizer, layer
        self.head = AlignmentHead(tokenizer.config.decoder_width, target_width)

    def forward(
        self, pixels: Tensor, u: Tensor, noise: Tensor, quantised: bool, reached: ReachedStates | None = None
    ) -> tuple[TokenizerOutput, Tensor]:
        """The tokenizer's training pass, and features predicted from it: B x 256 x target_width."""
        output: TokenizerOutput = self.tokenizer(pixels, u, noise, quantised, reached)
        return output, self.head(output.hidden[self.layer])


class Guides:
    """The frozen networks that a recipe asks for.

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

    def losses(
        self, output: TokenizerOutput, pixels: Tensor, offsets_B2: Tensor, aligned: Tensor | None
    ) -> dict[str, Tensor]:
        """Weighted means over the images.

        Args:
            output: of the training pass.
            pixels: B x 3 x H x W in [-1, 1], the images that it saw.
            offsets_B2: whole numbers, 0 to twice ``perceptual_shift``: where perceptual networks look.
            aligned: what the alignment head predicts.
        """
        found: dict[str, Tensor] = {}
        if self.distances:
            distances_B = self.perceptual_distances(output.predicted_image, pixels, offsets_B2)
            if self.settings.perceptual_timed:
                distances_B = output.time * distances_B
            found["perceptual"] = self.settings.perceptual_weight * distances_B.mean()
        if self.target is not None and aligned is not None:
            found["alignment"] = self.settings.alignment_weight * alignment_loss(aligned, self.target(pixels)).mean()
        return found

    def perceptual_distances(self, images: Tensor, pixels: Tensor, offsets_B2: Tensor) -> Tensor:
        """Distances of images from what they should be, each the mean over the networks: B.

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
    """Each image moved along both axes by ``limit`` less its offset, pixels; what comes in is mirrored."""
    if limit == 0:
        return images_B3HW
    count, _, height, width = images_B3HW.shape
    padded = F.pad(images_B3HW, (limit, limit, limit, limit), mode="reflect").permute(0, 2, 3, 1)  # B H W 3
    rows_BH = offsets_B2[:, :1] + torch.arange(height, device=images_B3HW.device)
    columns_BW = offsets_B2[:, 1:] + torch.arange(width, device=images_B3HW.device)
    images = torch.arange(count, device=images_B3HW.device)[:, None, None]
    return padded[images, rows_BH[:, :, None], columns_BW[:, None, :]].permute(0, 3, 1, 2)


class Opponent:
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
        """All that a checkpoint must keep."""
        found = {f"discriminator/{name}": tensor for name, tensor in self.discriminator.state_dict().items()}
        for name, parameter in self.discriminator.named_parameters():
            found |= {f"discriminator/{name}/{key}": value for key, value in self.optimizer.state[parameter].items()}
        return found

    def losses(self, predicted: Tensor, pixels: Tensor, part: float) -> dict[str, Tensor]:
        """What the tokenizer should lower; the discriminator's own gradients are added up on the way.

        Args:
            predicted: B x 3 x H x W, the image that the velocity leads to.
            pixels: B x 3 x H x W in [-1, 1].
            part: share of the whole batch that these images are.
        """
        own = part * discriminator_loss(self.discriminator(pixels), self.discriminator(predicted.detach()))
        own.backward()
        self.discriminator.requires_grad_(False)
        judged = generator_loss(self.discriminator(predicted)).mean()
        self.discriminator.requires_grad_(True)
        return {"adversarial": self.weight * judged}

    def step(self, rate: float, distributed: Distributed) -> None:
        """Learn from the gradients of all processes, at a learning rate.

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
