from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dar import packed_linear
from dar.fields import HEAD_WIDTH
from dar.nn import (
    NORM_EPS,
    Attention,
    Block,
    FeedForward,
    attend,
    grid_rotary,
    layer_norm,
    rotate,
)
from dar.token_cache import TokenCache
from tests.tiny import randomise, relative_error

WIDTH = 2 * HEAD_WIDTH


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def attention() -> Attention:
    return randomise(Attention(WIDTH), seed=0)


def test_plain_norm_is_layer_norm_without_weights() -> None:
    x = 5 + 3 * normal(2, 4, WIDTH)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + NORM_EPS).sqrt()
    torch.testing.assert_close(layer_norm(x), expected)


def test_grid_rotary_turns_first_half_with_row_and_second_with_column() -> None:
    cos, sin = grid_rotary(3, 5, theta=100.0)
    frequencies = torch.tensor([100.0 ** (-2 * i / 32) for i in range(16)])
    row, column = 2, 4
    angles = torch.cat([row * frequencies, column * frequencies])
    token = row * 5 + column
    assert cos.shape == sin.shape == (15, 32)
    torch.testing.assert_close(cos[token], angles.cos())
    torch.testing.assert_close(sin[token], angles.sin())


def test_unplaced_tokens_are_not_rotated() -> None:
    rotary = grid_rotary(2, 2, theta=10000.0, num_extra=3)
    x = normal(1, 1, 7, HEAD_WIDTH)
    rotated = rotate(x, rotary)
    assert torch.equal(rotated[:, :, 4:], x[:, :, 4:])
    assert not torch.equal(rotated[:, :, 1:4], x[:, :, 1:4])


def test_rotate_multiplies_adjacent_pairs_as_complex_numbers() -> None:
    cos, sin = grid_rotary(2, 3, theta=10000.0)
    x = normal(2, 2, 6, HEAD_WIDTH)
    expected = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.complex(cos, sin)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(rotate(x, (cos, sin)), torch.view_as_real(expected).flatten(-2))
            apart = x.transpose(1, 2).contiguous().transpose(1, 2)
            torch.testing.assert_close(rotate(apart, (cos, sin)), rotate(x, (cos, sin)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_rotate_turns_in_float32_at_least(dtype: torch.dtype) -> None:
    rotary, x = grid_rotary(2, 3, theta=10000.0), normal(2, 2, 6, HEAD_WIDTH).to(dtype)
    with torch.no_grad():
        turned = rotate(x, rotary)
    assert turned.dtype is dtype
    assert torch.equal(turned, rotate(x.to(torch.promote_types(dtype, torch.float32)), rotary).to(dtype))


def test_rotated_products_depend_on_offsets_only() -> None:
    rotary = grid_rotary(4, 4, theta=10000.0)
    query, key = (normal(HEAD_WIDTH, seed=seed).expand(1, 1, 16, -1) for seed in (0, 1))
    products = (rotate(query, rotary) @ rotate(key, rotary).mT)[0, 0].view(4, 4, 4, 4)
    torch.testing.assert_close(products[0, 1, 1, 3], products[2, 0, 3, 2])
    assert (products[0, 1, 1, 3] - products[1, 3, 0, 1]).abs() > 1e-3


@torch.no_grad()
def test_packed_projections_are_those_of_the_plain_weights(
    attention: Attention, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, context = normal(2, 3, WIDTH), normal(2, 5, WIDTH, seed=1)
    for seen in (x, context):
        plain = attention.eval()(x, seen)
        with monkeypatch.context() as patch:
            patch.setattr(packed_linear, "SMALL_WEIGHT", 0)
            torch.testing.assert_close(attention(x, seen), plain)


def test_attention_is_softmax_of_normed_products(attention: Attention) -> None:
    x, context = normal(2, 3, WIDTH), normal(2, 5, WIDTH, seed=1)

    def heads(values: Tensor) -> list[Tensor]:
        return list(values.split(HEAD_WIDTH, dim=-1))

    mixed = []
    for query, key, value in zip(
        heads(attention.query(x)), heads(attention.key(context)), heads(attention.value(context)), strict=True
    ):
        products = attention.query_norm(query) @ attention.key_norm(key).mT
        mixed.append((products / HEAD_WIDTH**0.5).softmax(-1) @ value)
    torch.testing.assert_close(attention(x, context), attention.out(torch.cat(mixed, dim=-1)))


def test_masked_context_is_not_seen(attention: Attention) -> None:
    x = normal(1, 4, WIDTH)
    changed = x.clone()
    changed[:, 3] += 1
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    before, after = attention(x, x, mask=mask), attention(changed, changed, mask=mask)
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_rotary_turns_queries_and_keys_apart(attention: Attention) -> None:
    x, rotary = normal(1, 4, WIDTH), grid_rotary(2, 2, theta=10000.0)
    outputs = [
        attention(x, x),
        attention(x, x, query_rotary=rotary),
        attention(x, x, key_rotary=rotary),
        attention(x, x, query_rotary=rotary, key_rotary=rotary),
    ]
    assert all(not torch.allclose(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


def test_cached_attention_equals_all_at_once(attention: Attention) -> None:
    x = normal(2, 5, WIDTH)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    cache, pieces = TokenCache(torch.zeros(1, 2, 2, WIDTH // 64, 5, 64)), []
    for new in x.split((2, 1, 2), dim=1):
        place = cache.place(new.shape[1])
        pieces.append(attention(new, new, mask=place.mask, kept=(cache.tensors[0], place)))
        cache.extend([new.shape[1]] * 2)
    torch.testing.assert_close(torch.cat(pieces, dim=1), attention(x, x, mask=mask))


def test_attention_refuses_a_width_that_does_not_split_into_heads() -> None:
    with pytest.raises(ValueError, match="multiple of 64, not 96"):
        Attention(96)


def test_feed_forward_is_two_layers_around_silu() -> None:
    layer = randomise(FeedForward(WIDTH), seed=0)
    x = normal(2, WIDTH)
    hidden = F.linear(x, layer[0].weight, layer[0].bias)
    assert hidden.shape == (2, 4 * WIDTH)
    torch.testing.assert_close(layer(x), F.linear(hidden * hidden.sigmoid(), layer[2].weight, layer[2].bias))


def test_block_starts_as_the_identity() -> None:
    x = normal(2, 3, WIDTH)
    assert torch.equal(Block(WIDTH)(x), x)


def test_each_gate_opens_its_own_branch() -> None:
    block = randomise(Block(WIDTH), seed=0)
    x = normal(1, 3, WIDTH)
    block.mlp_gate.data.zero_()
    normed = block.attention_norm(x)
    torch.testing.assert_close(block(x), x + block.attention_gate * block.attention(normed, normed))
    block.attention_gate.data.zero_()
    block.mlp_gate.data.fill_(0.5)
    torch.testing.assert_close(block(x), x + 0.5 * block.mlp(block.mlp_norm(x)))


@pytest.mark.parametrize("masked", [False, True])
def test_attention_written_out_for_training_is_the_fused_one(masked: bool) -> None:
    chance = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, length, 64, generator=chance) for length in (5, 7, 7))
    mask = torch.ones(5, 7, dtype=torch.bool).tril(diagonal=2) if masked else None
    fused = attend(query, key, value, mask)
    written_out = attend(query.requires_grad_(), key, value, mask)
    assert written_out.requires_grad
    torch.testing.assert_close(written_out, fused)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    (found,) = torch.autograd.grad(written_out.square().sum(), query)
    torch.testing.assert_close(found, torch.autograd.grad(expected.square().sum(), query)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile itself calls what is deprecated
def test_compiled_attention_has_the_same_gradients_in_bfloat16() -> None:
    attention, rotary, x = Attention(128), grid_rotary(8, 8, 1e4), normal(16, 64, 128)

    def gradients(attend_to: Callable[..., Tensor]) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            mixed = attend_to(x, x, query_rotary=rotary, key_rotary=rotary)
        return list(torch.autograd.grad(mixed.float().square().sum(), list(attention.parameters())))

    for found, expected in zip(gradients(torch.compile(attention)), gradients(attention), strict=True):
        assert relative_error(found, expected) < 0.2  # NaN is not
