"""The choice of a token from its logits, by a uniform random number."""

import math

import torch
from torch import Tensor

from dar.prior.drawing import Sampling


def draw(logits_BV: Tensor, uniforms_B: Tensor, sampling: Sampling) -> Tensor:
    """Draw one token a row, by inverting the cumulative distribution at a uniform number: B, int64."""
    if sampling.temperature == 0:
        return logits_BV.argmax(-1)
    probabilities = kept_probabilities(logits_BV, sampling)
    cumulative = probabilities.double().cumsum(-1)
    threshold = uniforms_B[:, None].double() * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp(max=logits_BV.shape[-1] - 1)


def kept_probabilities(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """Apply temperature, top-k and top-p, in this order; dropped tokens get probability 0, rows may sum to less."""
    logits_BV = (logits_BV - logits_BV.amax(-1, keepdim=True)) / sampling.temperature  # the largest stays finite
    if sampling.top_k is not None and sampling.top_k < logits_BV.shape[-1]:
        smallest = logits_BV.topk(sampling.top_k, dim=-1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < smallest, -math.inf)
    probabilities = logits_BV.softmax(-1)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
        reached_before = ordered.cumsum(-1) - ordered >= sampling.top_p
        probabilities = probabilities.masked_fill(reached_before.scatter(-1, order, reached_before), 0)
    return probabilities
