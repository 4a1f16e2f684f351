import pytest
import torch
from torch import Tensor

from dar.train.prior_losses import corrupted, cross_entropy, held_out_cross_entropy
from dar.train.tokens import TokenSet
from tests import tiny
from tests.train.photos import small_recipe


def test_held_out_cross_entropy_is_the_mean_over_all_tokens() -> None:
    prior = tiny.prior()
    labels, tokens = torch.arange(130) % 3, tiny.tokens(130)
    expected = cross_entropy(prior(labels, tokens), tokens).item()
    assert held_out_cross_entropy(prior, TokenSet(tokens.int(), labels.int())) == pytest.approx(expected, rel=1e-5)


def test_a_share_of_the_tokens_before_is_replaced_in_every_process_alike() -> None:
    settings = small_recipe("prior_training.token_noise=0.25", "prior_training.batch_size=64").prior_training
    tokens = torch.full((64, 50), 7)

    def seen(rows: range) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return corrupted(tokens[rows.start : rows.stop], settings, 1000, rows, generator)

    whole = seen(range(64))
    assert (whole != tokens).double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert whole.unique().numel() > 500
    assert torch.equal(torch.cat([seen(range(32)), seen(range(32, 64))]), whole)
