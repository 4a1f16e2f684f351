"""Drawing image tokens from a prior, one by one, with guidance and a key-value cache."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from dar.prior.decoding import decoder_of
from dar.prior.drawing import Sampling
from dar.prior.guidance import UNGUIDED, Guidance
from dar.prior.model import Prior


@torch.no_grad()
def generate_tokens(
    prior: Prior,
    classes_B: Tensor,
    uniforms_BN: Tensor,
    guidance: Guidance = UNGUIDED,
    sampling: Sampling | None = None,
    prefix_BP: Tensor | None = None,
) -> Iterator[Tensor]:
    """Generate N image tokens, one column at a time.

    With guidance, each forward pass holds a conditional and an unconditional row for every image; where the scale is
    1 throughout, there are no unconditional rows. Logits are combined as uncond + scale * (cond - uncond).

    Args:
        prior: the model.
        classes_B: B class indices, int64.
        uniforms_BN: B x N numbers in [0, 1), float64, one a token: all the randomness there is.
        guidance: its scale at each token; None means unguided.
        sampling: how tokens are drawn; by default plain sampling.
        prefix_BP: B x P first tokens to keep instead of generating them.

    Yields:
        N times B tokens, int64, on the model's device; the prefix's first.
    """
    config, device = prior.config, prior.device
    sampling = sampling or Sampling()
    scales = guidance.scales(config.num_tokens)
    guided = any(scale != 1 for scale in scales)
    classes_B = classes_B.to(device)
    uniforms_BN = uniforms_BN.to(device)
    prefix_BP = classes_B.new_empty(len(classes_B), 0) if prefix_BP is None else prefix_BP.to(device)
    yield from prefix_BP.unbind(1)
    if prefix_BP.shape[1] == config.num_tokens:
        return

    if guided:
        classes_B = torch.cat([classes_B, torch.full_like(classes_B, config.null_class)])
        prefix_BP = torch.cat([prefix_BP, prefix_BP])
    decoder = decoder_of(prior, _dtype_of(prior))
    cache = decoder.new_cache(len(classes_B))
    new = torch.cat([prior.class_tokens(classes_B)[:, None], prefix_BP], dim=1)
    for i in range(prefix_BP.shape[1], config.num_tokens):
        logits = decoder.next_logits(new, cache)
        if guided:
            conditional, unconditional = logits.chunk(2)
            logits = unconditional + scales[i] * (conditional - unconditional)
        tokens = draw(logits, uniforms_BN[:, i], sampling)
        yield tokens
        new = (torch.cat([tokens, tokens]) if guided else tokens)[:, None]


def _dtype_of(prior: Prior) -> torch.dtype:
    """The dtype to compute in: autocast's where that is on, else that of the weights."""
    kind = prior.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else prior.dtype


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
