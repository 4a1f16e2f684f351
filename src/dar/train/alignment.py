"""Aligning the diffusion decoder's patch tokens with DINOv2's features (arXiv 2410.06940)."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Dinov2Model

from dar.features.dinov2 import DINOV2_BASE, load_dinov2
from dar.features.preprocessing import MEAN, STD
from dar.nn import init_linear
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.tokenizer.output import ReachedStates, TokenizerOutput

GRID = 16
"""Features are compared on a grid of 16 x 16, whatever the patches of either network."""

HIDDEN_WIDTH = 2048


class AlignmentTarget(nn.Module):
    """DINOv2 as a frozen target of alignment.

    Args:
        model: its patches, of 14 pixels in all published sizes, give the size that images are scaled to: 224 pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Dinov2Model) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.size = [GRID * side for side in model.embeddings.patch_embeddings.patch_size]
        self.register_buffer("mean", torch.tensor(MEAN, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD, dtype=torch.float32).view(3, 1, 1), persistent=False)

    @property
    def width(self) -> int:
        """Channels of a feature."""
        return int(self.model.config.hidden_size)

    @torch.no_grad()
    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """Compute features of the patches, row by row: B x 3 x H x W in [-1, 1] -> B x 256 x width."""
        pixels = F.interpolate(pixels_B3HW, size=self.size, mode="bicubic", antialias=True)
        colours = ((pixels + 1) / 2 - self.mean) / self.std
        return self.model(colours).last_hidden_state[:, 1:]  # the first is the class token


class AlignmentHead(nn.Module):
    """Predicts features from the diffusion decoder's patch tokens; used in training only.

    Args:
        width: of the patch tokens.
        target_width: of the features.
    """

    def __init__(self, width: int, target_width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, HIDDEN_WIDTH),
            nn.SiLU(),
            nn.Linear(HIDDEN_WIDTH, HIDDEN_WIDTH),
            nn.SiLU(),
            nn.Linear(HIDDEN_WIDTH, target_width),
        )
        self.apply(init_linear)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        """Average the tokens over a grid of 16 x 16, then transform each: B x T x D -> B x 256 x target_width.

        T is a square; where it is no multiple of 256, the cells of the grid overlap.
        """
        grid = math.isqrt(hidden_BTD.shape[1])
        cells = F.adaptive_avg_pool2d(hidden_BTD.transpose(1, 2).unflatten(2, (grid, grid)), GRID)
        return self.mlp(cells.flatten(2).transpose(1, 2))


@dataclass(frozen=True)
class AlignedOutput(TokenizerOutput):
    """Result of one training pass of an aligned tokenizer, for B images.

    Attributes:
        aligned: B x 256 x target_width, the features that the head predicts.
    """

    aligned: Tensor


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
    ) -> AlignedOutput:
        """Run the tokenizer's training pass, and predict features from it."""
        output: TokenizerOutput = self.tokenizer(pixels, u, noise, quantised, reached)
        return AlignedOutput(**vars(output), aligned=self.head(output.hidden[self.layer]))


def tokenizer_in(model: nn.Module) -> SequentialDiffusionTokenizer:
    """Take the tokenizer out of what training made of it."""
    tokenizer = model.tokenizer if isinstance(model, AlignedTokenizer) else model
    assert isinstance(tokenizer, SequentialDiffusionTokenizer)
    return tokenizer


def alignment_loss(predicted_BTC: Tensor, target_BTC: Tensor) -> Tensor:
    """Compute 1 minus the cosine between prediction and feature, mean over patches: B, float32, 0 to 2."""
    return 1 - F.cosine_similarity(predicted_BTC.float(), target_BTC.float(), dim=-1).mean(1)


def load_alignment_target(source: str | Path = DINOV2_BASE) -> AlignmentTarget:
    """Load DINOv2, in float32 on the CPU.

    Args:
        source: an id on the Hub, whose files are downloaded once, or a folder that transformers saved.

    Raises:
        DARError: if it is neither, another network, or not whole.
    """
    return AlignmentTarget(load_dinov2(source, "tokenizer_training.alignment_model"))
