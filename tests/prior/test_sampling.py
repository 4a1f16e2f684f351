import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from dar.errors import DARError
from dar.prior import Prior
from dar.prior.choice import draw
from dar.prior.decoding import TokenDecoder
from dar.prior.drawing import Sampling
from dar.prior.guidance import Guidance, GuidanceLike
from dar.prior.sampling import generate_tokens
from dar.token_cache import TokenCache
from tests import tiny

CLASSES = torch.tensor([0, 2])
GREEDY = Sampling(temperature=0)


def generate(prior: Prior, guidance: GuidanceLike = 1.0, sampling: Sampling | None = None, **options: Tensor) -> Tensor:
    return torch.stack(
        list(generate_tokens(prior, CLASSES, tiny.uniforms(2), Guidance.of(guidance), sampling, **options)), dim=1
    )


@torch.no_grad()
def recomputed(prior: Prior, tokens: Tensor, scales: list[float]) -> Tensor:
    """Guided logits of all tokens in one uncached pass a row: 2 x N x V."""
    conditional = prior(CLASSES, tokens)
    unconditional = prior(torch.full((2,), prior.config.null_class), tokens)
    return unconditional + torch.tensor(scales)[:, None] * (conditional - unconditional)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Grows by the shape of the input at each call of the model."""
    shapes: list[tuple[int, int]] = []
    next_logits = TokenDecoder.next_logits

    def noted(decoder: TokenDecoder, ids: Tensor, cache: TokenCache, counts: Sequence[int] | None = None) -> Tensor:
        shapes.append(tuple(ids.shape))
        return next_logits(decoder, ids, cache, counts)

    monkeypatch.setattr(TokenDecoder, "next_logits", noted)
    return shapes


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0, (1.0, 6.0)])
@pytest.mark.parametrize("sampling", [Sampling(), GREEDY, Sampling(temperature=0.7, top_k=9, top_p=0.8)])
def test_cached_generation_equals_recomputation_without_cache(
    prior: Prior, guidance: GuidanceLike, sampling: Sampling
) -> None:
    tokens = generate(prior, guidance, sampling)
    logits = recomputed(prior, tokens, Guidance.of(guidance).scales(8))
    expected = [draw(logits[:, i], tiny.uniforms(2)[:, i], sampling) for i in range(8)]
    assert torch.equal(tokens, torch.stack(expected, dim=1))


def test_scale_0_ignores_the_class_and_scale_1_is_unguided(prior: Prior) -> None:
    uniforms = tiny.uniforms(1).expand(3, -1)
    unconditional = torch.stack(
        list(generate_tokens(prior, torch.arange(3), uniforms, guidance=Guidance(0.0, 0.0))), dim=1
    )
    assert (unconditional == unconditional[0]).all()
    conditional = torch.stack(list(generate_tokens(prior, torch.arange(3), uniforms)), dim=1)
    assert not (conditional == conditional[0]).all()
    assert torch.equal(generate(prior, (1.0, 1.0)), generate(prior, 1.0))


def test_guidance_changes_tokens(prior: Prior) -> None:
    assert len({tuple(generate(prior, scale).flatten().tolist()) for scale in (0.0, 1.0, 3.0, (1.0, 9.0))}) == 4


def test_guidance_with_an_interval_equals_scales_by_hand(prior: Prior, rows: list[tuple[int, int]]) -> None:
    tokens = generate(prior, (2.0, 5.0, (3, 6)))
    assert rows == [(4, 1)] * 8
    logits = recomputed(prior, tokens, [1, 1, 1, 2, 3.5, 5, 1, 1])
    expected = [draw(logits[:, i], tiny.uniforms(2)[:, i], Sampling()) for i in range(8)]
    assert torch.equal(tokens, torch.stack(expected, dim=1))
    assert not torch.equal(tokens, generate(prior, (2.0, 5.0)))


def test_unguided_generation_has_no_unconditional_rows(prior: Prior, rows: list[tuple[int, int]]) -> None:
    generate(prior, 1.0)
    assert rows == [(2, 1)] * 8


def test_guided_generation_has_one_unconditional_row_an_image(prior: Prior, rows: list[tuple[int, int]]) -> None:
    generate(prior, (1.0, 3.0))
    assert rows == [(4, 1)] * 8


def test_tokens_come_one_by_one(prior: Prior, rows: list[tuple[int, int]]) -> None:
    for i, column in enumerate(generate_tokens(prior, CLASSES, tiny.uniforms(2)), start=1):
        assert column.shape == (2,)
        assert len(rows) == i


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("length", [1, 3, 7, 8])
def test_prefix_is_kept_and_continued(prior: Prior, rows: list[tuple[int, int]], guidance: float, length: int) -> None:
    prefix = tiny.tokens(2)[:, :length]
    tokens = generate(prior, guidance, prefix_BP=prefix)
    assert tokens.shape == (2, 8)
    assert torch.equal(tokens[:, :length], prefix)
    assert len(rows) == 8 - length, "a prefix is read in one call"
    logits = recomputed(prior, tokens, [guidance] * 8)
    for i in range(length, 8):
        assert torch.equal(tokens[:, i], draw(logits[:, i], tiny.uniforms(2)[:, i], Sampling()))


def test_a_generated_prefix_is_continued_as_before(prior: Prior) -> None:
    tokens = generate(prior, 2.0)
    assert torch.equal(generate(prior, 2.0, prefix_BP=tokens[:, :5]), tokens)


@pytest.mark.parametrize("sampling", [Sampling(), GREEDY, Sampling(temperature=5.0)])
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_class_tokens_are_never_drawn(sampling: Sampling, guidance: float) -> None:
    prior = tiny.prior()
    with torch.no_grad():
        prior.llama.lm_head.weight[32:] *= 1000
        logits = prior.llama(input_ids=torch.tensor([[32], [33], [34]])).logits
    assert (logits.argmax(-1) >= 32).any(), "the class tokens should be tempting"
    assert generate(prior, guidance, sampling).max() < 32


def grid_draw(logits: Tensor, sampling: Sampling, count: int = 10000) -> Tensor:
    """Frequencies of tokens over an even grid of uniform numbers."""
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    tokens = draw(logits.expand(count, -1), uniforms, sampling)
    return torch.bincount(tokens, minlength=len(logits)) / count


LOGITS = torch.tensor([0.3, -1.0, 2.0, 1.0, -3.0, 0.3])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_frequencies_are_the_probabilities(temperature: float) -> None:
    expected = (LOGITS / temperature).softmax(-1)
    torch.testing.assert_close(grid_draw(LOGITS, Sampling(temperature=temperature)), expected, rtol=0, atol=1.1e-4)


def test_top_k_keeps_the_k_likeliest_in_proportion() -> None:
    expected = torch.tensor([-math.inf, -math.inf, 2.0, 1.0, -math.inf, -math.inf]).softmax(-1)
    torch.testing.assert_close(grid_draw(LOGITS, Sampling(top_k=2)), expected, rtol=0, atol=1.1e-4)


@pytest.mark.parametrize(("top_p", "kept"), [(1e-6, [2]), (0.55, [2]), (0.6, [2, 3]), (0.85, [0, 2, 3])])
def test_top_p_keeps_the_fewest_likeliest_that_reach_p(top_p: float, kept: list[int]) -> None:
    """Probabilities are about 0.56 (token 2), 0.21 (token 3), 0.10 (tokens 0 and 5), and smaller ones."""
    frequencies = grid_draw(LOGITS, Sampling(top_p=top_p))
    assert frequencies.nonzero().flatten().tolist() == kept
    expected = LOGITS.softmax(-1)[kept]
    torch.testing.assert_close(frequencies[kept], expected / expected.sum(), rtol=0, atol=1.1e-4)


@pytest.mark.parametrize("sampling", [Sampling(top_k=1), Sampling(top_p=1e-9), GREEDY])
def test_what_leaves_one_token_takes_the_likeliest(sampling: Sampling) -> None:
    assert grid_draw(LOGITS, sampling, 100)[2] == 1


@pytest.mark.parametrize("sampling", [Sampling(top_k=6), Sampling(top_k=1000), Sampling(top_p=1.0)])
def test_what_leaves_all_tokens_changes_nothing(sampling: Sampling) -> None:
    assert torch.equal(grid_draw(LOGITS, sampling), grid_draw(LOGITS, Sampling()))


def test_extreme_uniform_numbers_draw_possible_tokens() -> None:
    logits = torch.tensor([-math.inf, 0.0, 0.0, -math.inf])
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert draw(logits.expand(2, -1), ends, Sampling()).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", 0),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting: str, value: float) -> None:
    with pytest.raises(DARError, match=setting.replace("_", "-")):
        Sampling(**{setting: value})
