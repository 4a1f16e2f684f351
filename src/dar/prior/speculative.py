"""Image tokens drawn several a forward pass, from the same distribution as one by one, by coupled Jacobi drafts.

A pass lets the prior see the last token and drafts of those that follow. A draft x that was drawn from q stays with
probability min(1, p(x) / q(x)), where p is what the prior says there; else it is replaced by a draw from what p has
more than q. Either way it then is a draw from p. Tokens are final up to the first that was replaced, since what follows
was computed from the draft in its place; the others are the next pass's drafts, and their p is its q.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dar.prior.choice import kept_probabilities
from dar.prior.decoding import TokenDecoder, computing_dtype, decoder_of
from dar.prior.drawing import Sampling
from dar.prior.guidance import UNGUIDED, Guidance
from dar.prior.model import Prior
from dar.token_cache import TokenCache

WINDOW = 8
"""Tokens that a row sees in one pass."""


@torch.no_grad()
def generate_tokens_by_drafts(
    prior: Prior,
    classes_B: Tensor,
    generators: Sequence[torch.Generator],
    guidance: Guidance = UNGUIDED,
    sampling: Sampling | None = None,
    window: int = WINDOW,
) -> Iterator[Tensor]:
    """Generate N image tokens, one column at a time; other tokens than ``generate_tokens`` gives, equally likely ones.

    Args:
        prior: the model.
        classes_B: B class indices, int64.
        generators: on the CPU, one an image: all the randomness there is.
        guidance: its scale at each token; by default unguided.
        sampling: how tokens are drawn; by default plain sampling.
        window: tokens that a row sees in one pass.

    Yields:
        N times B tokens, int64, on the model's device.
    """
    config, sampling, device = prior.config, sampling or Sampling(), prior.device
    scales = torch.tensor(guidance.scales(config.num_tokens), device=device)
    classes_B, is_guided = classes_B.to(device), bool((scales != 1).any())
    last = prior.class_tokens(classes_B)
    null = prior.class_tokens(torch.full_like(classes_B, config.null_class))
    decoder = decoder_of(prior, computing_dtype(prior))
    cache = decoder.new_cache(len(classes_B) * (1 + is_guided))

    tokens = torch.zeros(len(classes_B), config.num_tokens + window, dtype=torch.int64, device=device)
    counts, given = torch.zeros(len(classes_B), dtype=torch.int64), 0
    drafts = _fresh(_random_numbers(generators, window, device)[0], config.codebook_size)
    q = torch.full((*drafts.shape, config.codebook_size), 1 / config.codebook_size, device=device)
    while given < config.num_tokens:
        width = min(window, config.num_tokens - given)
        places = counts.to(device)[:, None] + torch.arange(width, device=device)
        ids = torch.cat([last[:, None], drafts[:, : width - 1]], dim=1)
        if is_guided:
            without = torch.cat([null[:, None] if given == 0 else ids[:, :1], ids[:, 1:]], dim=1)
            scale = scales[places.clamp(max=config.num_tokens - 1)][..., None]
            logits = _guided_logits(decoder, cache, ids, without, scale)
        else:
            logits = decoder.all_logits(ids, cache)
        p = _distributions(logits, sampling)
        fresh, accepting, replacing = _random_numbers(generators, window, device)
        new, stays = verify(drafts[:, :width], q[:, :width], p, accepting[:, :width], replacing[:, :width])

        tokens.scatter_(1, places, new)
        final = (stays.cumprod(1).sum(1).cpu() + 1).clamp(max=width).minimum(config.num_tokens - counts)
        counts = counts + final
        cache.lengths = counts.tolist() * (1 + is_guided)
        last = tokens.gather(1, counts.to(device)[:, None] - 1)[:, 0]
        drafts, q = _shifted(new, p, final.to(device), _fresh(fresh, config.codebook_size))
        yield from tokens[:, given : int(counts.min())].unbind(1)
        given = int(counts.min())


def verify(drafts: Tensor, q: Tensor, p: Tensor, accepting: Tensor, replacing: Tensor) -> tuple[Tensor, Tensor]:
    """Turn drafts drawn from q into draws from p, keeping as many as can be.

    Args:
        drafts: B x W tokens, int64.
        q: B x W x V, what they were drawn from.
        p: B x W x V, what is wanted.
        accepting: B x W numbers in [0, 1), float64.
        replacing: the same, for drafts that go.

    Returns:
        B x W tokens, and True where the draft has stayed.
    """
    wanted, had = (each.gather(-1, drafts[..., None])[..., 0].double() for each in (p, q))
    stays = accepting * had < wanted
    cumulative = (p - q).clamp(min=0).double().cumsum(-1)
    threshold = replacing[..., None] * cumulative[..., -1:]
    replaced = torch.searchsorted(cumulative, threshold, right=True)[..., 0].clamp(max=p.shape[-1] - 1)
    return torch.where(stays, drafts, replaced), stays


def _guided_logits(
    decoder: TokenDecoder, cache: TokenCache, ids_BW: Tensor, without_BW: Tensor, scale_BW1: Tensor
) -> Tensor:
    conditional, unconditional = decoder.all_logits(torch.cat([ids_BW, without_BW]), cache).chunk(2)
    return unconditional + scale_BW1 * (conditional - unconditional)


def _distributions(logits_BWV: Tensor, sampling: Sampling) -> Tensor:
    if sampling.temperature == 0:
        return F.one_hot(logits_BWV.argmax(-1), logits_BWV.shape[-1]).float()
    kept = kept_probabilities(logits_BWV.flatten(0, 1), sampling).view_as(logits_BWV)
    return kept / kept.sum(-1, keepdim=True)


def _random_numbers(generators: Sequence[torch.Generator], window: int, device: torch.device) -> Tensor:
    """Draw 3 x B x W numbers, as many whatever runs beside an image."""
    drawn = [torch.rand(3, window, generator=generator, dtype=torch.float64) for generator in generators]
    return torch.stack(drawn, dim=1).to(device)


def _fresh(uniforms_BW: Tensor, codebook_size: int) -> Tensor:
    """Make drafts of tokens that no pass has seen, all equally likely."""
    return (uniforms_BW * codebook_size).long()


def _shifted(new_Bw: Tensor, p_BwV: Tensor, final_B: Tensor, fresh_BW: Tensor) -> tuple[Tensor, Tensor]:
    """Move each row's window on by its final tokens; return B x W drafts and what they were drawn from."""
    width, codebook_size = p_BwV.shape[1:]
    index = torch.arange(fresh_BW.shape[1], device=new_Bw.device) + final_B[:, None]
    is_new, index = index < width, index.clamp(max=width - 1)
    drafts = torch.where(is_new, new_Bw.gather(1, index), fresh_BW)
    rows = torch.arange(len(new_Bw), device=new_Bw.device)[:, None]
    q = torch.where(is_new[..., None], p_BwV[rows, index], 1 / codebook_size)
    return drafts, q
