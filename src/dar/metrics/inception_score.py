"""Inception Score (Salimans et al. 2016, arXiv 1606.03498, section 4)."""

import torch
from torch import Tensor

from dar.errors import DARError
from dar.metrics.confidence import around
from dar.metrics.rows import check_rows


def inception_score(logits_NC: Tensor, split_size: int = 5000) -> float:
    """Compute the exponential of the mean divergence of images' class probabilities from their split's, 1 to C.

    As in the ADM evaluator, splits are runs of consecutive images, a shorter last one counts like the others, and
    the score is the mean over splits. Probabilities are float32, as there; sums and logarithms are float64, and a
    probability of zero contributes nothing where the evaluator's score would be NaN.

    Args:
        logits_NC: of N images; ADM's are without bias.
        split_size: images of a split.

    Raises:
        DARError: if there are no images, logits are NaN or infinite, or a split has no images.
    """
    _check(logits_NC, split_size)
    return torch.stack([_divergences(part).mean().exp() for part in logits_NC.split(split_size)]).mean().item()


def inception_score_confidence(logits_NC: Tensor, split_size: int = 5000) -> tuple[float, float]:
    """Compute the 95 % confidence interval of an Inception Score: plus and minus 1.96 standard errors.

    An image changes the logarithm of its split's score by how far its divergence is from the mean one (the delta
    method: to first order the split's marginal, which it changes too, does not matter). A split of one image adds
    nothing to the error. That scores of few images are too large or too small on average is no part of the interval.

    Args:
        logits_NC: of N images.
        split_size: images of a split.

    Returns:
        Lower and upper end.

    Raises:
        DARError: as for ``inception_score``, and if there are fewer than two images.
    """
    _check(logits_NC, split_size, least=2)
    splits = [_divergences(part) for part in logits_NC.split(split_size)]
    scores = torch.stack([split.mean().exp() for split in splits])
    variances = torch.stack([split.var(correction=min(1, len(split) - 1)) / len(split) for split in splits])
    standard_error = (scores.square() * variances).sum().sqrt() / len(splits)
    return around(scores.mean().item(), standard_error.item())


def _check(logits_NC: Tensor, split_size: int, least: int = 1) -> None:
    check_rows(logits_NC, "rows of logits", least=least)
    if split_size < 1:
        raise DARError(f"a split must have at least one image, not {split_size}")


def _divergences(logits_NC: Tensor) -> Tensor:
    """Compute how far the class probabilities of each image diverge from those of all: N, float64."""
    probabilities_NC = logits_NC.float().softmax(1).double()
    marginal_C = probabilities_NC.mean(0)
    cross_entropy_N = -torch.special.xlogy(probabilities_NC, marginal_C).sum(1)
    return cross_entropy_N - torch.special.entr(probabilities_NC).sum(1)
