"""Inception Score (Salimans et al. 2016, arXiv 1606.03498, section 4)."""

import torch
from torch import Tensor

from dar.errors import DARError
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
    check_rows(logits_NC, "rows of logits")
    if split_size < 1:
        raise DARError(f"a split must have at least one image, not {split_size}")
    return torch.stack([_split_score(part) for part in logits_NC.split(split_size)]).mean().item()


def _split_score(logits_NC: Tensor) -> Tensor:
    probabilities_NC = logits_NC.float().softmax(1).double()
    marginal_C = probabilities_NC.mean(0)
    entropy_N = torch.special.entr(probabilities_NC).sum(1)
    return (torch.special.entr(marginal_C).sum() - entropy_N.mean()).exp()
