"""Cross-entropy of the prior, and how tokens and labels are prepared for it."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dar.prior import Prior
from dar.train.recipe import PriorTraining
from dar.train.tokens import Tokens

VALIDATION_BATCH = 128


def corrupted(
    tokens_BN: Tensor, settings: PriorTraining, codebook_size: int, rows: range, generator: torch.Generator
) -> Tensor:
    """Replace a share of the tokens that the prior sees in training by random ones: B x N."""
    if not settings.token_noise:
        return tokens_BN
    shape = settings.batch_size, tokens_BN.shape[1]
    chances = torch.rand(shape, generator=generator, device=generator.device)[rows.start : rows.stop]
    others = torch.randint(codebook_size, shape, generator=generator, device=generator.device)[rows.start : rows.stop]
    return torch.where(chances < settings.token_noise, others, tokens_BN)


def with_null_class(labels: Tensor, null_class: int) -> Tensor:
    """Put the null class in place of ``UNLABELLED``: class indices, int64."""
    return labels.long().where(labels >= 0, null_class)


def cross_entropy(logits_BNV: Tensor, tokens_BN: Tensor) -> Tensor:
    """Compute the mean cross-entropy over all tokens, in nats: scalar."""
    return F.cross_entropy(logits_BNV.float().flatten(0, 1), tokens_BN.flatten())


@torch.no_grad()
def held_out_cross_entropy(prior: Prior, tokens: Tokens) -> float:
    """Measure the mean cross-entropy of the first view of all images, in nats a token."""
    total = 0.0
    for images in torch.arange(len(tokens)).split(VALIDATION_BATCH):
        labels = with_null_class(tokens.labels[images], prior.config.null_class).to(prior.device)
        batch = tokens.rows(images, torch.zeros_like(images)).to(prior.device)
        total += cross_entropy(prior(labels, batch), batch).item() * len(labels)
    return total / len(tokens)
