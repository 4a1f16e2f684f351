import pytest
import torch

from dar.token_cache import TokenCache
from dar.tokenizer import SequentialDiffusionTokenizer
from tests import tiny

pytestmark = pytest.mark.usefixtures("_without_gradients")


@pytest.fixture
def _without_gradients():  # type: ignore[no-untyped-def]
    with torch.no_grad():
        yield


@pytest.mark.parametrize("changed", range(8))
def test_a_condition_depends_on_its_token_and_earlier_ones_only(
    tokenizer: SequentialDiffusionTokenizer, changed: int
) -> None:
    tokens = tiny.tokens(2)
    other = tokens.clone()
    other[:, changed] = (other[:, changed] + 1) % 32
    before, after = tokenizer.condition(tokens), tokenizer.condition(other)
    torch.testing.assert_close(after[:, :changed], before[:, :changed], rtol=0, atol=1e-6)
    assert ((after - before).abs().amax(dim=(0, 2))[changed:] > 1e-3).all()


@pytest.mark.parametrize("sizes", [(2, 2, 2, 2), (1,) * 8, (3, 5), (8,)])
def test_conditions_group_by_group_equal_those_at_once(
    tokenizer: SequentialDiffusionTokenizer, sizes: tuple[int, ...]
) -> None:
    decoder, tokens = tokenizer.latent_decoder, tiny.tokens(3)
    cache = decoder.new_cache(3)
    pieces = [decoder(tokenizer.quantizer.lookup(group), cache) for group in tokens.split(sizes, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), tokenizer.condition(tokens), rtol=0, atol=1e-5)


def test_rows_may_have_seen_different_numbers_of_tokens(tokenizer: SequentialDiffusionTokenizer) -> None:
    decoder, tokens = tokenizer.latent_decoder, tiny.tokens(2)
    entries, wanted = tokenizer.quantizer.lookup(tokens), tokenizer.condition(tokens)
    ahead, behind = decoder.new_cache(1), decoder.new_cache(1)
    decoder(entries[:1, :4], ahead)
    decoder(entries[1:, :2], behind)
    together = TokenCache.joined([ahead, behind])
    found = decoder(torch.stack([entries[0, 4:6], entries[1, 2:4]]), together)
    torch.testing.assert_close(found, torch.stack([wanted[0, 4:6], wanted[1, 2:4]]), rtol=0, atol=1e-5)
    assert together.lengths == [6, 4]


def test_equal_tokens_at_different_places_have_different_conditions(tokenizer: SequentialDiffusionTokenizer) -> None:
    conditions = tokenizer.condition(torch.full((1, 8), 3))[0]
    assert (torch.cdist(conditions, conditions) + torch.eye(8)).min() > 1e-2


def test_conditions_are_normed(tokenizer: SequentialDiffusionTokenizer) -> None:
    conditions = tokenizer.condition(tiny.tokens(2))
    torch.testing.assert_close(conditions.mean(-1), torch.zeros(2, 8), rtol=0, atol=1e-5)
    torch.testing.assert_close(conditions.var(-1, correction=0), torch.ones(2, 8), rtol=0, atol=1e-3)
