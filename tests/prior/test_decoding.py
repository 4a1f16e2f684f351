"""The decoder for generation predicts what transformers' own forward pass does."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from dar.prior import Prior
from dar.prior.decoding import TokenDecoder, decoder_of
from tests import tiny

TOKENS = tiny.tokens(3)
CLASSES = torch.tensor([0, 2, 3])  # the last is the null class


@pytest.fixture
def sequences(prior: Prior) -> Tensor:
    """Vocabulary ids of three images, the class first: 3 x N."""
    return torch.cat([prior.class_tokens(CLASSES)[:, None], TOKENS[:, :-1]], dim=1)


@torch.no_grad()
def expected(prior: Prior) -> Tensor:
    return prior(CLASSES, TOKENS)


def assert_close(logits: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pieces", [(8,), (1,) * 8, (3, 1, 4), (1, 7)])
def test_logits_are_those_of_the_llama_however_tokens_come(
    prior: Prior, sequences: Tensor, pieces: Sequence[int]
) -> None:
    decoder = TokenDecoder(prior, torch.float32)
    cache, seen, wanted = decoder.new_cache(3), 0, expected(prior)
    for ids in sequences.split(pieces, dim=1):
        logits = decoder.next_logits(ids, cache)
        seen += ids.shape[1]
        assert_close(logits, wanted[:, seen - 1])
        assert cache.lengths == [seen] * 3


def test_rows_may_begin_at_other_times_and_with_prefixes_of_other_lengths(prior: Prior, sequences: Tensor) -> None:
    decoder, wanted = TokenDecoder(prior, torch.float32), expected(prior)
    cache = decoder.new_cache(3)

    def step(counts: Sequence[int]) -> None:
        width = max(counts)
        ids = torch.zeros(3, width, dtype=torch.int64)
        for row, (start, count) in enumerate(zip(cache.lengths, counts, strict=True)):
            ids[row, :count] = sequences[row, start : start + count]
        logits = decoder.next_logits(ids, cache, counts)
        last = [length - 1 for length in cache.lengths]
        assert_close(logits, wanted[range(3), last])

    for counts in ([5, 1, 2], [1, 1, 1], [1, 3, 2], [1, 1, 1]):
        step(counts)
    assert cache.lengths == [8, 6, 6]


def test_a_row_does_not_depend_on_its_neighbours(prior: Prior, sequences: Tensor) -> None:
    decoder = TokenDecoder(prior, torch.float32)
    alone, together = decoder.new_cache(1), decoder.new_cache(3)
    decoder.next_logits(sequences[:, :5], together, [5, 2, 3])
    decoder.next_logits(sequences[1:2, :2], alone)
    assert_close(
        decoder.next_logits(sequences[1:2, 2:3], alone)[0], decoder.next_logits(sequences[:, 2:3], together)[1]
    )


def test_half_precision_is_near(prior: Prior, sequences: Tensor) -> None:
    for dtype in (torch.bfloat16, torch.float16):
        decoder = TokenDecoder(prior, dtype)
        logits = decoder.next_logits(sequences, decoder.new_cache(3))
        assert logits.dtype is torch.float32
        torch.testing.assert_close(logits, expected(prior)[:, -1], rtol=0, atol=0.1)


def test_the_decoder_is_kept_until_a_weight_changes(sequences: Tensor) -> None:
    prior = tiny.prior()
    decoder = decoder_of(prior, torch.float32)
    assert decoder_of(prior, torch.float32) is decoder
    with torch.no_grad():
        prior.llama.lm_head.weight.zero_()
    renewed = decoder_of(prior, torch.float32)
    assert renewed is not decoder
    assert not renewed.next_logits(sequences, renewed.new_cache(3)).any()


def test_the_decoder_follows_adapters_that_are_merged(sequences: Tensor) -> None:
    prior = tiny.prior()
    before = decoder_of(prior, torch.float32)
    prior.llama.model.layers[0].mlp.down_proj.weight.data += 0.1  # which torch does not count
    after = decoder_of(prior, torch.float32)
    assert after is not before
    with torch.no_grad():
        assert_close(after.next_logits(sequences, after.new_cache(3)), expected(prior)[:, -1])


def test_generation_in_inference_mode() -> None:
    with torch.inference_mode():
        prior = tiny.prior()
        decoder = decoder_of(prior, torch.float32)
        ids = prior.class_tokens(CLASSES)[:, None]
        assert_close(decoder.next_logits(ids, decoder.new_cache(3)), prior(CLASSES, TOKENS)[:, 0])


def test_an_empty_cache_has_seen_nothing(prior: Prior) -> None:
    cache = TokenDecoder(prior, torch.float32).new_cache(2)
    assert cache.lengths == [0, 0]
    assert cache.tensors.shape[:3] == (tiny.PRIOR.depth, 2, 2)
