"""Drawing image tokens from a prior, one by one, with guidance and a key-value cache."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import StaticCache

from dar.checks import real_number, whole_number
from dar.errors import DARError, quoted
from dar.prior.model import Prior

Guidance = float | tuple[float, float]
"""Guidance scale: one number for all tokens, or its values at the first and last token, linear in between."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a token is drawn from its logits.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: only the k likeliest tokens can be drawn; None lets all.
        top_p: only the fewest likeliest tokens whose probabilities reach p can be drawn; 1 lets all.

    Raises:
        DARError: at construction, for a value out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= real_number("temperature", self.temperature) < math.inf:
            raise DARError(f"temperature must be 0 or more, not {self.temperature}")
        if self.top_k is not None and whole_number("top-k", self.top_k) < 1:
            raise DARError(
                f"top-k must be at least 1, not {self.top_k}: the number of codebook entries lets all tokens be drawn"
            )
        if not 0 < real_number("top-p", self.top_p) <= 1:
            raise DARError(f"top-p must lie above 0 and at most at 1, not {self.top_p}")


def guidance_ends(guidance: Guidance) -> tuple[float, float]:
    """The guidance scale at the first and at the last token.

    Raises:
        DARError: if a scale is negative or not a finite number, or there are neither one nor two.
    """
    ends = tuple(guidance) if isinstance(guidance, list | tuple) else (guidance, guidance)
    if len(ends) != 2:
        raise DARError(f"a guidance scale is one number or (start, end), not {len(ends)} numbers")
    try:
        start, end = (real_number("a guidance scale", scale) for scale in ends)
    except DARError:
        raise DARError(f"a guidance scale is a number or (start, end), not {quoted(repr(guidance))}") from None
    if not (0 <= start < math.inf and 0 <= end < math.inf):
        raise DARError(f"a guidance scale must be 0 or more and finite, not {guidance}")
    return start, end


def guidance_scales(guidance: Guidance, num_tokens: int) -> list[float]:
    """The guidance scale at each token; raises as ``guidance_ends`` does."""
    start, end = guidance_ends(guidance)
    return [start + (end - start) * i / max(num_tokens - 1, 1) for i in range(num_tokens)]


def guidance_text(ends: tuple[float, float]) -> str:
    """What the command line calls a guidance scale: "3", or "1:3" for one that is linear over the tokens."""
    start, end = ends
    return f"{start:g}" if start == end else f"{start:g}:{end:g}"


@torch.no_grad()
def generate_tokens(
    prior: Prior,
    classes_B: Tensor,
    uniforms_BN: Tensor,
    guidance: Guidance = 1.0,
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
        guidance: see ``Guidance``.
        sampling: how tokens are drawn; plain sampling unless told.
        prefix_BP: B x P first tokens to keep instead of generating them.

    Yields:
        N times B tokens, int64, on the model's device; the prefix's first.
    """
    config, device = prior.config, prior.device
    sampling = sampling or Sampling()
    scales = guidance_scales(guidance, config.num_tokens)
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
    cache = StaticCache(prior.llama.config, max_cache_len=config.num_tokens)
    new = torch.cat([prior.class_tokens(classes_B)[:, None], prefix_BP], dim=1)
    for i in range(prefix_BP.shape[1], config.num_tokens):
        logits = prior.llama(input_ids=new, past_key_values=cache, logits_to_keep=1).logits[:, -1]
        logits = logits[:, : config.codebook_size].float()
        if guided:
            conditional, unconditional = logits.chunk(2)
            logits = unconditional + scales[i] * (conditional - unconditional)
        tokens = draw(logits, uniforms_BN[:, i], sampling)
        yield tokens
        new = (torch.cat([tokens, tokens]) if guided else tokens)[:, None]


def draw(logits_BV: Tensor, uniforms_B: Tensor, sampling: Sampling) -> Tensor:
    """One token a row, by inverting the cumulative distribution at a uniform number: B, int64."""
    if sampling.temperature == 0:
        return logits_BV.argmax(-1)
    probabilities = kept_probabilities(logits_BV, sampling)
    cumulative = probabilities.double().cumsum(-1)
    threshold = uniforms_B[:, None].double() * cumulative[:, -1:]
    return torch.searchsorted(cumulative, threshold, right=True)[:, 0].clamp(max=logits_BV.shape[-1] - 1)


def kept_probabilities(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """Probabilities after temperature, top-k and top-p, in this order; what is dropped has 0, rows may sum to less."""
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
