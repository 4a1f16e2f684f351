from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from dar.prior import Prior
from dar.prior.choice import kept_probabilities
from dar.prior.decoding import TokenDecoder
from dar.prior.drawing import Sampling
from dar.prior.guidance import UNGUIDED, Guidance
from dar.prior.sampling import generate_tokens
from dar.prior.speculative import generate_tokens_by_drafts, verify
from dar.token_cache import TokenCache
from tests import tiny

GUIDED = Guidance(1, 3)
LENGTH, CODES, IMAGES = 4, 3, 6000


def generate(
    prior: Prior,
    classes: Tensor,
    guidance: Guidance = UNGUIDED,
    sampling: Sampling | None = None,
    window: int = 8,
    seed: int = 0,
) -> Tensor:
    generators = [torch.Generator().manual_seed(seed + i) for i in range(len(classes))]
    return torch.stack(
        list(generate_tokens_by_drafts(prior, classes, generators, guidance, sampling, window)),
        dim=1,
    )


@torch.no_grad()
def probabilities(prior: Prior, tokens: Tensor, guidance: Guidance, sampling: Sampling) -> Tensor:
    """Compute the probability of each sequence of class 1 by passes over all of its tokens."""
    conditional, without = (prior(torch.full((len(tokens),), c), tokens) for c in (1, prior.config.null_class))
    logits = without + torch.tensor(guidance.scales(LENGTH))[:, None] * (conditional - without)
    kept = kept_probabilities(logits.flatten(0, 1), sampling).view_as(logits).double()
    kept = kept / kept.sum(-1, keepdim=True)
    return kept.gather(-1, tokens[..., None]).prod(1)[:, 0]


@pytest.mark.parametrize("window", [2, 3, 8])
@pytest.mark.parametrize(
    ("guidance", "sampling"),
    [(UNGUIDED, Sampling()), (GUIDED, Sampling(temperature=1.3, top_k=2)), (GUIDED, Sampling(top_p=0.8))],
)
def test_sequences_come_as_often_as_their_probability_says(guidance: Guidance, sampling: Sampling, window: int) -> None:
    prior = tiny.prior(replace(tiny.PRIOR, codebook_size=CODES, num_tokens=LENGTH))
    every = torch.tensor(list(product(range(CODES), repeat=LENGTH)))
    expected = IMAGES * probabilities(prior, every, guidance, sampling)
    drawn = generate(prior, torch.full((IMAGES,), 1), guidance, sampling, window)
    found = torch.bincount(drawn @ CODES ** torch.arange(LENGTH - 1, -1, -1), minlength=len(every)).double()
    assert not found[expected == 0].any()
    common = expected >= 5
    rest = [(each[~common].sum()[None]) for each in (found, expected)]
    found, expected = torch.cat([found[common], rest[0]]), torch.cat([expected[common], rest[1]])
    statistic = ((found - expected) ** 2 / expected.clamp(min=1)).sum()
    freedom = len(found) - 1
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("guidance", [UNGUIDED, GUIDED])
@pytest.mark.parametrize("window", [1, 3, 20])
def test_likeliest_tokens_are_those_of_one_by_one(prior: Prior, guidance: Guidance, window: int) -> None:
    classes, greedy = torch.tensor([0, 2, 1]), Sampling(temperature=0)
    expected = torch.stack(list(generate_tokens(prior, classes, tiny.uniforms(3), guidance, greedy)), dim=1)
    assert torch.equal(generate(prior, classes, guidance, greedy, window), expected)


def test_an_image_depends_on_its_own_generator_only(prior: Prior) -> None:
    together = generate(prior, torch.tensor([0, 2, 1]), GUIDED, window=3)
    assert torch.equal(generate(prior, torch.tensor([1]), GUIDED, window=3, seed=2)[0], together[2])


def test_takes_fewer_passes_than_tokens(prior: Prior, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    all_logits = TokenDecoder.all_logits

    def noted(decoder: TokenDecoder, ids: Tensor, cache: TokenCache) -> Tensor:
        passes.append(ids.shape[1])
        return all_logits(decoder, ids, cache)

    monkeypatch.setattr(TokenDecoder, "all_logits", noted)
    generate(prior, torch.tensor([1]), sampling=Sampling(temperature=3))
    assert len(passes) < prior.config.num_tokens


def test_a_draft_stays_where_it_was_as_likely_and_goes_where_it_cannot_be() -> None:
    p, q = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]]), torch.tensor([[[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]])
    numbers = torch.full((1, 2), 0.99, dtype=torch.float64)
    new, stays = verify(torch.tensor([[0, 1]]), q, p, numbers, numbers)
    assert new.tolist() == [[0, 2]]
    assert stays.tolist() == [[True, False]]
