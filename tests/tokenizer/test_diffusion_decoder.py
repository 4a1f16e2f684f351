import dataclasses
import weakref

import pytest
import torch
from torch import Tensor

from dar.token_cache import TokenCache
from dar.tokenizer.diffusion_decoder import DiffusionDecoder, sinusoid
from tests import tiny


@pytest.fixture(scope="module")
def decoder() -> DiffusionDecoder:
    return tiny.randomise(DiffusionDecoder(tiny.TOKENIZER), seed=0).requires_grad_(False)


def conditions(count: int) -> Tensor:
    return torch.randn(count, 2, 64, generator=torch.Generator().manual_seed(0))


def test_time_is_told_by_cosines_then_sines() -> None:
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    angles = 1000 * t[:, None] * 10000 ** (-torch.arange(32, dtype=torch.float64) / 32)
    expected = torch.cat([angles.cos(), angles.sin()], dim=-1).float()
    torch.testing.assert_close(sinusoid(t.float(), 64), expected, rtol=0, atol=1e-3)


def test_patches_run_over_colour_row_column(decoder: DiffusionDecoder) -> None:
    image = torch.arange(3 * 16 * 16.0).view(1, 3, 16, 16)
    patches = decoder._to_patches(image)
    assert patches.shape == (1, 16, 48)
    row, column, place = 1, 2, 1 * 4 + 2
    assert torch.equal(patches[0, place], image[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten())
    assert torch.equal(decoder._to_pixels(patches), image)


def test_velocity_starts_at_zero() -> None:
    velocity = DiffusionDecoder(tiny.TOKENIZER)(tiny.noise(2), torch.tensor([0.1, 0.9]), conditions(2))
    assert velocity.shape == (2, 3, 16, 16)
    assert not velocity.any()


def test_blocks_start_as_the_identity() -> None:
    decoder = DiffusionDecoder(tiny.TOKENIZER)
    h = torch.randn(1, 16, 64)
    block = decoder.blocks[0]
    assert torch.equal(block(h, torch.tensor([0.5]), conditions(1), (decoder.cos, decoder.sin)), h)


def test_velocity_depends_on_image_time_and_every_condition(decoder: DiffusionDecoder) -> None:
    x, t, condition = tiny.noise(1), torch.tensor([0.4]), conditions(1)
    velocity = decoder(x, t, condition)
    assert not torch.allclose(decoder(x, t + 0.1, condition), velocity, atol=1e-3)
    assert not torch.allclose(decoder(x.roll(4, 3), t, condition), velocity.roll(4, 3), atol=1e-3)
    for token in range(2):
        changed = condition.clone()
        changed[:, token] *= -1
        assert not torch.allclose(decoder(x, t, changed), velocity, atol=1e-3)


def test_what_was_seen_serves_all_steps(decoder: DiffusionDecoder) -> None:
    x, condition, cache = tiny.noise(2), torch.randn(2, 4, 64), decoder.new_cache(2, 4)
    for seen, t in ((2, 0.1), (4, 0.3), (4, 0.6)):
        if cache.lengths[0] < seen:
            decoder.see(condition[:, cache.lengths[0] : seen], cache)
        found = decoder.velocity(x, torch.tensor([t]), cache)
        torch.testing.assert_close(found, decoder(x, torch.tensor([t, t]), condition[:, :seen]), rtol=0, atol=1e-4)


def test_rows_may_have_seen_different_numbers_of_conditions(decoder: DiffusionDecoder) -> None:
    x, condition, t = tiny.noise(2), torch.randn(2, 4, 64), torch.tensor([0.2, 0.6])
    caches = [decoder.new_cache(1, 4), decoder.new_cache(1, 4)]
    decoder.see(condition[:1, :2], caches[0])
    decoder.see(condition[1:], caches[1])
    found = decoder.velocity(x, t, TokenCache.joined(caches))
    for row, seen in enumerate((2, 4)):
        alone = decoder(x[row : row + 1], t[row : row + 1], condition[row : row + 1, :seen])
        torch.testing.assert_close(found[row : row + 1], alone, rtol=0, atol=1e-4)


def test_what_a_patch_reads_of_the_condition_depends_on_its_place() -> None:
    """Even where patches don't see each other."""
    decoder = tiny.randomise(DiffusionDecoder(tiny.TOKENIZER), seed=0).requires_grad_(False)
    for block in decoder.blocks:
        block.attention.out.weight.zero_()
    x, t, condition = tiny.noise(1), torch.tensor([0.4]), conditions(1)
    velocity = decoder(x, t, condition)
    for dimension in (2, 3):
        rolled = decoder(x.roll(4, dimension), t, condition)
        assert not torch.allclose(rolled, velocity.roll(4, dimension), atol=1e-3)


def test_condition_tokens_of_a_group_have_no_order(decoder: DiffusionDecoder) -> None:
    """They aren't rotated: what tells them apart is their content."""
    x, t, condition = tiny.noise(1), torch.tensor([0.4]), conditions(1)
    torch.testing.assert_close(decoder(x, t, condition.flip(1)), decoder(x, t, condition), rtol=0, atol=1e-5)


def test_images_of_a_batch_do_not_meet(decoder: DiffusionDecoder) -> None:
    x, t, condition = tiny.noise(3), torch.tensor([0.1, 0.5, 0.9]), conditions(3)
    together = decoder(x, t, condition)
    for i in range(3):
        alone = decoder(x[i : i + 1], t[i : i + 1], condition[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


def test_hidden_tokens_are_what_each_block_is_given() -> None:
    decoder = tiny.randomise(DiffusionDecoder(dataclasses.replace(tiny.TOKENIZER, decoder_depth=3)), seed=0)
    x, t, condition = tiny.noise(2), torch.tensor([0.1, 0.9]), conditions(2)
    given: list[Tensor] = []
    for block in decoder.blocks:
        block.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    expected = decoder(x, t, condition)
    velocity, hidden = decoder.forward_with_hidden(x, t, condition)
    assert torch.equal(velocity, expected)
    assert len(hidden) == 3
    assert hidden[0].shape == (2, 16, 64)
    assert all(torch.equal(*pair) for pair in zip(hidden, given[:3], strict=True))
    assert not torch.equal(hidden[0], hidden[1])


@torch.no_grad()
def test_hidden_tokens_are_kept_only_where_they_are_asked_for() -> None:
    decoder = tiny.randomise(DiffusionDecoder(dataclasses.replace(tiny.TOKENIZER, decoder_depth=3)), seed=0)
    given: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []
    for block in decoder.blocks:
        block.register_forward_pre_hook(lambda _, arguments: given.append(weakref.ref(arguments[0])))
    decoder.blocks[-1].register_forward_hook(lambda *_: alive.append(given[0]() is not None))
    x, t, condition = tiny.noise(1), torch.tensor([0.4]), conditions(1)
    decoder(x, t, condition)
    given.clear()
    decoder.forward_with_hidden(x, t, condition)
    assert alive == [False, True]
