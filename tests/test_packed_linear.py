import copy
import pickle
from collections.abc import Callable

import pytest
import torch

from dar import packed_linear
from dar.packed_linear import KeptPacking, Linear, pack, products


@pytest.fixture(autouse=True)
def _small_layers_are_packed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear, "SMALL_WEIGHT", 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 20), (2, 20), (3, 5, 20), (0, 20)])
def test_products_are_those_of_the_plain_weight(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    weight, bias, x = torch.randn(30, 20, dtype=dtype), torch.randn(30, dtype=dtype), torch.randn(shape, dtype=dtype)
    packed, expected = pack(weight), torch.nn.functional.linear(x.float(), weight.float())
    close = {"rtol": 0, "atol": 1e-5 if dtype is torch.float32 else 0.1}
    torch.testing.assert_close(packed.product(x).float(), expected, **close)
    torch.testing.assert_close(packed.product(x, bias).float(), expected + bias.float(), **close)
    other = torch.ones(*shape[:-1], 30, dtype=dtype)
    torch.testing.assert_close(packed.product_added(x, other).float(), expected + 1, **close)


def test_what_lies_apart_in_memory_is_multiplied_rightly() -> None:
    weight, x = torch.randn(30, 20), torch.randn(20, 4).T
    torch.testing.assert_close(pack(weight).product(x), x @ weight.T)
    wide = torch.randn(30, 40)[:, ::2]
    torch.testing.assert_close(pack(wide).product(x), x @ wide.T)


def test_weights_that_cannot_be_packed_are_taken_as_they_are() -> None:
    weight = torch.randn(3, 2, dtype=torch.float64)
    packed = pack(weight)
    assert not packed.is_packed
    assert torch.equal(packed.product(torch.eye(2, dtype=torch.float64)), weight.T)
    assert torch.equal(packed.product_added(torch.eye(2, dtype=torch.float64), torch.ones(2, 3)), weight.T + 1)


@torch.no_grad()
def test_a_changed_weight_is_packed_anew() -> None:
    layer, x = Linear(20, 30).eval(), torch.randn(2, 20)
    before = layer(x)
    layer.weight.mul_(2)
    torch.testing.assert_close(layer(x) - layer.bias, 2 * (before - layer.bias))
    layer.load_state_dict({"weight": torch.zeros(30, 20), "bias": torch.ones(30)})
    assert torch.equal(layer(x), torch.ones(2, 30))
    layer.weight.data = torch.zeros(30, 20, dtype=torch.bfloat16)
    layer.bias.data = torch.ones(30, dtype=torch.bfloat16)
    assert torch.equal(layer(x.bfloat16()), torch.ones(2, 30, dtype=torch.bfloat16))


@pytest.mark.parametrize("training", [False, True])
def test_layers_of_the_same_input_multiply_as_one(training: bool) -> None:
    layers, packing, x = (
        [Linear(20, width).train(training) for width in (30, 30, 10)],
        KeptPacking(),
        torch.randn(2, 20),
    )
    for _ in range(2):
        with torch.no_grad():
            for layer, product in zip(layers, products(layers, x, packing), strict=True):
                torch.testing.assert_close(product, torch.nn.functional.linear(x, layer.weight, layer.bias))
            layers[1].weight.mul_(2)
            layers[2].bias.add_(1)


def test_training_goes_through_the_plain_weight() -> None:
    layer, plain, x = Linear(20, 30), torch.nn.Linear(20, 30), torch.randn(2, 20)
    plain.load_state_dict(layer.state_dict())
    for one in (layer, plain):
        one(x).square().sum().backward()
    assert torch.equal(layer.weight.grad, plain.weight.grad)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert layer(x).dtype is torch.bfloat16


@torch.no_grad()
def test_copies_begin_without_what_was_packed() -> None:
    layer, x = Linear(20, 30).eval(), torch.randn(2, 20)
    expected = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        twin.weight.zero_()
        assert torch.equal(twin(x), layer.bias.expand(2, -1))
    assert torch.equal(layer(x), expected)


def test_what_was_made_is_kept_until_a_weight_or_the_dtype_changes() -> None:
    weight, kept, made = torch.zeros(3), KeptPacking(), []

    def make() -> int:
        made.append(None)
        return len(made)

    dtypes = [torch.float32, torch.float32, torch.bfloat16]
    assert [kept.of([weight], make, made_of=dtype) for dtype in dtypes] == [1, 1, 2]
    weight += 1
    assert kept.of([weight], make, made_of=torch.bfloat16) == 3


def fused_step(layer: Linear) -> None:
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True).step()  # which raises no version of what it changes


def merged(layer: Linear) -> None:
    layer.weight.data += 1  # as adapters are merged; nor does this


@pytest.mark.parametrize("change", [fused_step, merged])
@pytest.mark.parametrize("training", [True, False])
def test_changes_that_torch_does_not_count_are_seen_too(change: Callable[[Linear], None], training: bool) -> None:
    layer, x = Linear(20, 30).train(training), torch.randn(2, 20)
    with torch.no_grad():
        layer(x)
    change(layer)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))


def test_a_layer_in_training_is_not_packed() -> None:
    layer, x = Linear(20, 30), torch.randn(2, 20)
    with torch.no_grad():
        layer(x)
        layer.weight.data[7, 7] = 1000.0  # no probe looks there
        torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))


def test_weights_made_in_inference_mode_are_packed_too() -> None:
    with torch.inference_mode():
        layer, x = Linear(20, 30).eval(), torch.randn(2, 20)
        torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))


@torch.no_grad()
def test_small_products_are_left_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear, "SMALL_WEIGHT", 1000)
    small, large = Linear(20, 30).eval(), Linear(40, 30).eval()
    assert not small.packs(torch.ones(2, 20))
    assert small.packs(torch.ones(packed_linear.SMALL_PRODUCT // 600 + 1, 20))
    assert large.packs(torch.ones(1, 40))
    with torch.enable_grad():
        assert not large.packs(torch.ones(1, 40))
    assert not large.train().packs(torch.ones(1, 40))
