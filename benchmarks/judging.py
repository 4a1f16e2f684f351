"""A network that guided no training looks at images: how far they are from real ones, and what they seem to show."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from dar.features.classifier import ImageClassifier
from dar.flow import interpolate
from dar.images import from_uint8, to_uint8
from dar.metrics.agreement import agreement
from dar.metrics.frechet import Moments, frechet_distance
from dar.metrics.precision_recall import precision_and_recall
from dar.progress import progress_bar
from dar.reconstruction import reconstructions
from dar.tokenizer import SequentialDiffusionTokenizer

BATCH = 100

SWAPPED = 250
"""Images whose tokens are exchanged."""

Metrics = dict[str, float]


@dataclass
class Judge:
    """Networks that look at images, and what they saw in the training images.

    Attributes:
        networks: by name.
        moments: of the training images' features, by name.
        rows: features of some training images, by name.
    """

    networks: dict[str, ImageClassifier]
    moments: dict[str, Moments]
    rows: dict[str, Tensor]

    @classmethod
    def of(cls, networks: dict[str, ImageClassifier], images: Tensor, count: int) -> "Judge":
        """Let networks see M training images, and keep the features of the first ``count``."""
        moments, rows = {}, {}
        for name, network in networks.items():
            features, _ = look(network, images)
            moments[name], rows[name] = moments_of(features), features[:count]
        return cls(networks, moments, rows)

    def metrics(self, images: Tensor, labels: Tensor, *, coverage: bool = False) -> dict[str, Metrics]:
        """Fréchet distance and accuracy of M uint8 images in each space; also precision and recall if wanted."""
        found: dict[str, Metrics] = {}
        for name, network in self.networks.items():
            features, logits = look(network, images)
            own, real = moments_of(features), self.moments[name]
            found[name] = {
                "frechet_distance": frechet_distance(own.mean, own.covariance, real.mean, real.covariance),
                "accuracy": agreement(logits, labels).double().mean().item(),
            }
            if coverage:
                covered = precision_and_recall(features, self.rows[name])
                found[name] |= {"precision": covered.precision, "recall": covered.recall}
        return found


def look(network: ImageClassifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits of M uint8 images, on the CPU."""
    device = network.head.weight.device
    seen = [network(batch.to(device)) for batch in images.split(BATCH)]
    return torch.cat([one.pooled.cpu() for one in seen]), torch.cat([one.logits.cpu() for one in seen])


def moments_of(features: Tensor) -> Moments:
    """Mean and covariance of rows."""
    moments = Moments(features.shape[1])
    moments.update(features)
    return moments


def reconstructed(
    tokenizer: SequentialDiffusionTokenizer, images: Tensor, solver: str, name: str
) -> tuple[Tensor, float]:
    """Previews after each group: K x M x 3 x H x W uint8; and seconds an image."""
    parts, start = [], time.monotonic()
    with progress_bar(len(images), desc=f"{name}, {solver}") as bar:
        for i in range(0, len(images), BATCH):
            stages = reconstructions(tokenizer, from_uint8(images[i : i + BATCH]).to(tokenizer.device), i, solver)
            parts.append(torch.stack([to_uint8(stage).cpu() for stage in stages]))
            bar.update(parts[-1].shape[1])
    return torch.cat(parts, dim=1), (time.monotonic() - start) / len(images)


@torch.no_grad()
def velocity_errors(tokenizer: SequentialDiffusionTokenizer, images: Tensor) -> list[Metrics]:
    """Of each group, the velocity's squared error with true tokens, the group's own from another image, and all."""
    config, q = tokenizer.config, tokenizer.config.tokens_per_group
    generator, pixels = torch.Generator().manual_seed(0), from_uint8(images)
    tokens = torch.cat([tokenizer.encode(batch.to(tokenizer.device)) for batch in pixels.split(BATCH)])
    others, found = tokens.roll(1, 0), []
    parts = config.num_groups - 1 + config.final_steps
    for k in range(config.num_groups):
        low, high = max(0.0, k - 0.5) / parts, (k + 0.5) / parts if k < config.num_groups - 1 else 1.0
        u = low + (high - low) * torch.rand(len(pixels), generator=generator)
        noise = torch.randn(pixels.shape, generator=generator)
        own = torch.cat([tokens[:, : k * q], others[:, k * q : (k + 1) * q]], dim=1)
        kinds = {
            "true": tokens[:, : (k + 1) * q],
            "own_from_another": own,
            "all_from_another": others[:, : (k + 1) * q],
        }
        found.append({name: _error(tokenizer, pixels, noise, u, shown) for name, shown in kinds.items()})
    return found


def _error(tokenizer: SequentialDiffusionTokenizer, pixels: Tensor, noise: Tensor, u: Tensor, tokens: Tensor) -> float:
    config, total = tokenizer.config, 0.0
    for i in range(0, len(pixels), BATCH):
        rows = slice(i, i + BATCH)
        image, t = config.data_std * pixels[rows], tokenizer.clock.time(u[rows])
        condition = tokenizer.context(tokenizer.condition(tokens[rows]), tokens.shape[1] // config.tokens_per_group - 1)
        x = interpolate(image, noise[rows], t).to(tokenizer.device)
        velocity = tokenizer.velocity(x, t.to(tokenizer.device), condition).cpu()
        total += (velocity - (image - noise[rows])).square().mean((1, 2, 3)).sum().item()
    return total / len(pixels) / config.data_std**2
