"""A raster autoregressive model: LlamaGen's recipe (arXiv 2406.06525) in small.

A convolutional tokenizer turns an image into a grid of codes; the same Llama as D-AR's predicts them row by row.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dar.data import Augmentation, Batch, MicroBatches
from dar.data.in_memory import DecodedImages
from dar.data.stream import AugmentedStream
from dar.images import from_uint8, to_uint8
from dar.metrics.codebook import perplexity
from dar.metrics.similarity import psnr
from dar.prior import Prior
from dar.prior.guidance import Guidance
from dar.prior.sampling import generate_tokens
from dar.randomness import draw_noise_and_uniforms, image_seeds
from dar.storage import WEIGHTS, save_tensors
from dar.tokenizer.config import TokenizerConfig
from dar.tokenizer.quantizer import Quantizer
from dar.train.codebook import reseed, spherical_kmeans
from dar.train.distributed import Distributed
from dar.train.frozen_losses import FrozenLosses
from dar.train.losses import COMMITMENT_WEIGHT
from dar.train.prior import PriorTask
from dar.train.prior_losses import held_out_cross_entropy
from dar.train.recipe import Recipe
from dar.train.task import Task
from dar.train.tokens import TokenSet

WIDTH = 40
"""Channels at full resolution; so that the tokenizer has about as many parameters as D-AR's."""

PERCEPTUAL_WEIGHT = 1.0
"""LlamaGen's."""

BATCH = 250


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)),
            *(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B x C x H x W -> the same shape."""
        return x_BCHW + self.layers(x_BCHW)


class RasterTokenizer(nn.Module):
    """An image of S x S pixels to (S / 4)^2 codes, row by row, and back.

    Args:
        config: its image size, codebook size and codebook channels count.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        wide, self.grid = 2 * WIDTH, config.image_size // 4
        self.quantizer = Quantizer(config)
        self.encoder = nn.Sequential(
            *(nn.Conv2d(3, WIDTH, 3, padding=1), Residual(WIDTH), nn.Conv2d(WIDTH, wide, 4, 2, 1)),
            *(Residual(wide), nn.Conv2d(wide, wide, 4, 2, 1), Residual(wide)),
            *(nn.GroupNorm(8, wide), nn.SiLU(), nn.Conv2d(wide, config.codebook_dim, 1)),
        )
        self.decoder = nn.Sequential(
            *(
                nn.Conv2d(config.codebook_dim, wide, 3, padding=1),
                Residual(wide),
                nn.ConvTranspose2d(wide, wide, 4, 2, 1),
            ),
            *(Residual(wide), nn.ConvTranspose2d(wide, WIDTH, 4, 2, 1), Residual(WIDTH)),
            *(nn.GroupNorm(8, WIDTH), nn.SiLU(), nn.Conv2d(WIDTH, 3, 3, padding=1)),
        )

    def features(self, pixels_B3HW: Tensor) -> Tensor:
        """Encoder outputs at unit length, row by row: B x N x codebook_dim, float32."""
        return F.normalize(self.encoder(pixels_B3HW).float().flatten(2).transpose(1, 2), dim=-1)

    def image(self, latents_BNC: Tensor) -> Tensor:
        """Image of N latents: B x 3 x H x W, not clamped."""
        return self.decoder(latents_BNC.transpose(1, 2).unflatten(2, (self.grid, self.grid))).float()

    def encode(self, pixels_B3HW: Tensor) -> Tensor:
        """Codes, row by row: B x N, int64."""
        return self.quantizer.nearest(self.features(pixels_B3HW))

    def decode(self, codes_BN: Tensor) -> Tensor:
        """Image of codes: B x 3 x H x W in [-1, 1]."""
        return self.image(self.quantizer.lookup(codes_BN)).clamp(-1, 1)

    def forward(self, pixels_B3HW: Tensor, quantised: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The training pass: reconstruction, features, their entries, and codes."""
        features = self.features(pixels_B3HW)
        codes = self.quantizer.nearest(features)
        entries = self.quantizer.lookup(codes)
        latents = features + (entries - features).detach() if quantised else features
        return self.image(latents), features, entries, codes


class RasterTask(Task):
    """Images in, squared error, perceptual distance and quantizer losses out.

    Args:
        recipe: D-AR's, of which all but the losses on the flow holds here too.
        data: training images.
        shown: images whose error is measured.
    """

    extra: Mapping[str, Tensor]

    def __init__(self, recipe: Recipe, data: DecodedImages, shown: Tensor, distributed: Distributed) -> None:
        self.recipe, self.settings = recipe, recipe.tokenizer_training
        torch.manual_seed(self.settings.seed)
        self.model: nn.Module = RasterTokenizer(recipe.tokenizer)
        augmentation = Augmentation(recipe.tokenizer.image_size, flip=recipe.data.flip)
        self.stream = AugmentedStream(data, augmentation, self.settings.seed)
        self.shown, self.recomputed = shown, ()
        self.frozen_losses = FrozenLosses(self.settings, recipe.tokenizer.image_size, distributed.device)
        self.counts = torch.zeros(recipe.tokenizer.codebook_size, dtype=torch.int64)
        self.extra = {"counts": self.counts}
        self._features: Tensor = torch.empty(0)

    def batches(self, first: int, last: int, micro_batches: MicroBatches) -> Iterator[Batch]:
        """Pieces of steps ``first`` to ``last`` (excluded)."""
        return self.stream.batches(self.settings.batch_size, first, last, 0, micro_batches)

    def losses(
        self, model: nn.Module, batch: Batch, step: int, rows: range, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Weighted terms of the loss of one micro-batch, which is the whole batch."""
        quantised, shift = step >= self.settings.continuous_steps, self.settings.perceptual_shift
        image, features, entries, codes = model(batch.pixels, quantised)
        self._features = features.detach().flatten(0, 1)
        self.counts += torch.bincount(codes.flatten(), minlength=len(self.counts))
        offsets = torch.randint(2 * shift + 1, (len(image), 2), generator=generator)
        distances = self.frozen_losses.perceptual_distances(image, batch.pixels, offsets)
        return {
            "pixel": F.mse_loss(image, batch.pixels),
            "perceptual": PERCEPTUAL_WEIGHT * distances.mean(),
            "codebook": quantised * F.mse_loss(entries, features.detach()),
            "commitment": quantised * COMMITMENT_WEIGHT * F.mse_loss(features, entries.detach()),
        }

    @torch.no_grad()
    def after_step(
        self, optimizer: torch.optim.Optimizer, averaged: nn.Module, step: int, generator: torch.Generator
    ) -> None:
        """Fit the codebook when the continuous phase ends; re-seed unused codes from time to time."""
        quantised_steps, codebook = step + 1 - self.settings.continuous_steps, self.model.quantizer.codebook
        if quantised_steps == 0:
            wanted = -(-32 * len(codebook) // self.recipe.tokenizer.num_tokens // self.settings.batch_size)
            found = self.stream.batches(self.settings.batch_size, 0, wanted, 0)
            features = torch.cat([self.model.features(batch.pixels).flatten(0, 1) for batch in found])
            codebook.copy_(spherical_kmeans(features, len(codebook), generator))
            averaged.quantizer.codebook.copy_(codebook)
        elif quantised_steps > 0 and quantised_steps % self.settings.reseed_steps == 0:
            unused = self.counts == 0
            reseed(codebook, unused, self._features, generator)
            averaged.quantizer.codebook[unused] = codebook[unused]
        else:
            return
        self.counts.zero_()

    def statistics(self) -> dict[str, float]:
        """How evenly codes were used since the last re-seeding."""
        return {"codebook_perplexity": perplexity(self.counts)}

    @torch.no_grad()
    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        """PSNR of held-out images."""
        pixels = from_uint8(self.shown)
        return {"psnr": psnr(averaged.decode(averaged.encode(pixels)), pixels).mean().item()}

    def export(self, averaged: nn.Module, folder: Path, distributed: Distributed) -> None:
        """Write the averaged tokenizer."""
        save_tensors(folder / WEIGHTS, averaged.state_dict())


class RasterPriorTask(PriorTask):
    """The training of D-AR's prior, on another tokenizer's tokens."""

    def evaluate(self, averaged: nn.Module, picture: Path) -> dict[str, float]:
        """Held-out cross-entropy."""
        return {"validation_cross_entropy": held_out_cross_entropy(averaged, self.validation)}

    def export(self, averaged: nn.Module, folder: Path, distributed: Distributed) -> None:
        """Write the averaged prior."""
        prior = Prior(self.prior.config)
        prior.load_state_dict(averaged.state_dict())
        prior.save_pretrained(folder)


@torch.no_grad()
def raster_tokens(tokenizer: RasterTokenizer, data: DecodedImages, *, flip: bool) -> TokenSet:
    """Tokens of images, and of their mirror images as second views."""
    views = [data.images, data.images.flip(-1)] if flip else [data.images]
    tokens = [torch.cat([tokenizer.encode(from_uint8(part)) for part in images.split(BATCH)]) for images in views]
    return TokenSet(torch.stack(tokens, dim=1).int(), data.labels.int())


@torch.no_grad()
def raster_samples(
    tokenizer: RasterTokenizer, prior: Prior, labels: Tensor, guidance: tuple[float, float], seed: int
) -> Tensor:
    """Samples of classes, image i from ``seed`` + i: B x 3 x H x W uint8."""
    size = 4 * tokenizer.grid
    _, uniforms = draw_noise_and_uniforms(image_seeds(seed, len(labels)), size, prior.config.num_tokens)
    tokens = torch.stack(list(generate_tokens(prior, labels, uniforms, Guidance(*guidance))), dim=1)
    return to_uint8(tokenizer.decode(tokens))
