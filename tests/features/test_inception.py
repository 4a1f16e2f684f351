import math
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from dar.errors import DARError
from dar.features import inception
from dar.features.inception import WEIGHTS_2015, Inception, load_inception, resize
from dar.features.inception_blocks import BlockE, Convolution, average_pool
from dar.features.published import PublishedFile

State = dict[str, Tensor]

STEM = {"1a_3x3": (3, 32, 3, 3), "2a_3x3": (32, 32, 3, 3), "2b_3x3": (32, 64, 3, 3), "3b_1x1": (64, 80, 1, 1)}
STEM |= {"4a_3x3": (80, 192, 3, 3)}
"""Input and output channels, height and width of the kernels."""


def a(inward: int, pooled: int) -> dict[str, tuple[int, ...]]:
    five = {"5x5_1": (inward, 48, 1, 1), "5x5_2": (48, 64, 5, 5)}
    three = {"3x3dbl_1": (inward, 64, 1, 1), "3x3dbl_2": (64, 96, 3, 3), "3x3dbl_3": (96, 96, 3, 3)}
    return {"1x1": (inward, 64, 1, 1), "_pool": (inward, pooled, 1, 1)} | five | three


def c(width: int) -> dict[str, tuple[int, ...]]:
    seven = {"7x7_1": (768, width, 1, 1), "7x7_2": (width, width, 1, 7), "7x7_3": (width, 192, 7, 1)}
    double = {"7x7dbl_1": (768, width, 1, 1), "7x7dbl_2": (width, width, 7, 1), "7x7dbl_3": (width, width, 1, 7)}
    double |= {"7x7dbl_4": (width, width, 7, 1), "7x7dbl_5": (width, 192, 1, 7)}
    return {"1x1": (768, 192, 1, 1), "_pool": (768, 192, 1, 1)} | seven | double


def e(inward: int) -> dict[str, tuple[int, ...]]:
    three = {"3x3_1": (inward, 384, 1, 1), "3x3_2a": (384, 384, 1, 3), "3x3_2b": (384, 384, 3, 1)}
    double = {"3x3dbl_1": (inward, 448, 1, 1), "3x3dbl_2": (448, 384, 3, 3)}
    double |= {"3x3dbl_3a": (384, 384, 1, 3), "3x3dbl_3b": (384, 384, 3, 1)}
    return {"1x1": (inward, 320, 1, 1), "_pool": (inward, 192, 1, 1)} | three | double


BLOCKS = {"5b": a(192, 32), "5c": a(256, 64), "5d": a(288, 64), "6b": c(128), "6c": c(160), "6d": c(160), "6e": c(192)}
BLOCKS["6a"] = {"3x3": (288, 384, 3, 3), "3x3dbl_1": (288, 64, 1, 1), "3x3dbl_2": (64, 96, 3, 3)}
BLOCKS["6a"] |= {"3x3dbl_3": (96, 96, 3, 3)}
BLOCKS["7a"] = {"3x3_1": (768, 192, 1, 1), "3x3_2": (192, 320, 3, 3), "7x7x3_1": (768, 192, 1, 1)}
BLOCKS["7a"] |= {"7x7x3_2": (192, 192, 1, 7), "7x7x3_3": (192, 192, 7, 1), "7x7x3_4": (192, 192, 3, 3)}
BLOCKS |= {"7b": e(1280), "7c": e(2048)}


@pytest.fixture(scope="module")
def state() -> State:
    """Random weights of the published names and shapes, with the counters that the published file holds too."""
    chance = torch.Generator().manual_seed(0)
    layers = {f"Conv2d_{name}": sizes for name, sizes in STEM.items()}
    layers |= {f"Mixed_{block}.branch{name}": sizes for block in BLOCKS for name, sizes in BLOCKS[block].items()}
    found = {"fc.weight": 0.05 * torch.randn(1008, 2048, generator=chance)}
    found["fc.bias"] = torch.randn(1008, generator=chance)
    for name, (inward, out, height, width) in layers.items():
        kernel = torch.randn(out, inward, height, width, generator=chance)
        found[f"{name}.conv.weight"] = kernel * (2 / (inward * height * width)) ** 0.5
        found[f"{name}.bn.weight"] = 1 + 0.1 * torch.randn(out, generator=chance)
        found[f"{name}.bn.bias"] = 0.1 * torch.randn(out, generator=chance)
        found[f"{name}.bn.running_mean"] = 0.1 * torch.randn(out, generator=chance)
        found[f"{name}.bn.running_var"] = 0.5 + torch.rand(out, generator=chance)
        found[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    return found


@pytest.fixture(scope="module")
def folder(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inception")
    torch.save(state, folder / WEIGHTS_2015.name)
    return folder


@pytest.fixture(scope="module")
def network(folder: Path) -> Inception:
    return load_inception(folder)


def images(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    images_uint8 = np.random.RandomState(seed).randint(0, 256, (count, 3, height, width))
    return torch.from_numpy(images_uint8).to(torch.uint8)


def test_number_of_parameters_is_that_of_the_published_network(network: Inception) -> None:
    """94 normalised convolutions and a classifier of 1008 classes."""
    assert sum(weight.numel() for weight in network.parameters()) == 23_850_960
    assert len(network.state_dict()) == 94 * 5 + 2


@pytest.mark.parametrize(("height", "width"), [(32, 32), (256, 256), (299, 299), (300, 200), (1, 1)])
def test_features_are_float32_of_the_published_widths(network: Inception, height: int, width: int) -> None:
    features = network(images(1, height, width))
    assert features.spatial is not None
    assert features.logits is not None
    assert (features.pooled.shape, features.spatial.shape) == ((1, 2048), (1, 7 * 17 * 17))
    assert features.logits.shape == (1, 1008)
    for tensor in (features.pooled, features.spatial, features.logits):
        assert tensor.dtype == torch.float32
        assert tensor.isfinite().all()
        assert not tensor.requires_grad


def reference(x: Tensor, layer: str, state: State, stride: int = 1, padding: tuple[int, int] | None = None) -> Tensor:
    """A layer written out, normalised after its convolution."""
    kernel = state[f"{layer}.conv.weight"]
    same = (kernel.shape[2] // 2, kernel.shape[3] // 2)
    x = F.conv2d(x, kernel, stride=stride, padding=same if padding is None else padding)
    mean, var, weight, bias = (
        state[f"{layer}.bn.{name}"].view(-1, 1, 1) for name in ("running_mean", "running_var", "weight", "bias")
    )
    return ((x - mean) / (var + 0.001).sqrt() * weight + bias).clamp(min=0)


def mean_of_neighbours(x: Tensor) -> Tensor:
    """Sums over 3 x 3 pixels, divided by how many of them lie within the image."""
    ones = torch.ones(x.shape[1], 1, 3, 3)
    sums = F.conv2d(x, ones, padding=1, groups=x.shape[1])
    return sums / F.conv2d(torch.ones_like(x), ones, padding=1, groups=x.shape[1])


def chain(x: Tensor, block: str, state: State, *layers: str) -> Tensor:
    for layer in layers:
        x = reference(x, f"Mixed_{block}.branch{layer}", state)
    return x


def reference_e(x: Tensor, block: str, pooled: Tensor, state: State) -> Tensor:
    three, double = chain(x, block, state, "3x3_1"), chain(x, block, state, "3x3dbl_1", "3x3dbl_2")
    forks = [chain(three, block, state, f"3x3_2{i}") for i in "ab"]
    forks += [chain(double, block, state, f"3x3dbl_3{i}") for i in "ab"]
    return torch.cat([chain(x, block, state, "1x1"), *forks, chain(pooled, block, state, "_pool")], dim=1)


@torch.no_grad()
def test_the_network_is_that_of_the_definition(network: Inception, state: State) -> None:
    """Written out layer by layer, from the resized image to all three results."""
    picture, valid = images(1, 299, 299), (0, 0)
    x = (picture.float() - 128) / 128
    x = reference(x, "Conv2d_1a_3x3", state, 2, valid)
    x = reference(x, "Conv2d_2a_3x3", state, 1, valid)
    x = F.max_pool2d(reference(x, "Conv2d_2b_3x3", state), 3, 2)
    x = reference(reference(x, "Conv2d_3b_1x1", state), "Conv2d_4a_3x3", state, 1, valid)
    x = F.max_pool2d(x, 3, 2)
    assert x.shape == (1, 192, 35, 35)
    for block in ("5b", "5c", "5d"):
        branches = [chain(x, block, state, "1x1"), chain(x, block, state, "5x5_1", "5x5_2")]
        branches.append(chain(x, block, state, "3x3dbl_1", "3x3dbl_2", "3x3dbl_3"))
        x = torch.cat([*branches, chain(mean_of_neighbours(x), block, state, "_pool")], dim=1)
    double = reference(chain(x, "6a", state, "3x3dbl_1", "3x3dbl_2"), "Mixed_6a.branch3x3dbl_3", state, 2, valid)
    x = torch.cat([reference(x, "Mixed_6a.branch3x3", state, 2, valid), double, F.max_pool2d(x, 3, 2)], dim=1)
    assert x.shape == (1, 768, 17, 17)
    for block in ("6b", "6c", "6d", "6e"):
        one = chain(x, block, state, "1x1")
        if block == "6d":
            mixed_6_conv = one
        seven = chain(x, block, state, "7x7_1", "7x7_2", "7x7_3")
        double = chain(x, block, state, *(f"7x7dbl_{i}" for i in range(1, 6)))
        x = torch.cat([one, seven, double, chain(mean_of_neighbours(x), block, state, "_pool")], dim=1)
    three = reference(chain(x, "7a", state, "3x3_1"), "Mixed_7a.branch3x3_2", state, 2, valid)
    seven = chain(x, "7a", state, "7x7x3_1", "7x7x3_2", "7x7x3_3")
    seven = reference(seven, "Mixed_7a.branch7x7x3_4", state, 2, valid)
    x = torch.cat([three, seven, F.max_pool2d(x, 3, 2)], dim=1)
    assert x.shape == (1, 1280, 8, 8)
    x = reference_e(x, "7b", mean_of_neighbours(x), state)
    x = reference_e(x, "7c", F.max_pool2d(x, 3, 1, 1), state)
    pooled = x.sum((2, 3)) / 64
    found = network(picture)
    torch.testing.assert_close(found.pooled, pooled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.logits, pooled @ state["fc.weight"].T, rtol=1e-3, atol=1e-4)
    assert found.spatial is not None
    for row, column, channel in ((0, 0, 0), (0, 1, 0), (3, 16, 6), (16, 2, 4)):
        place = (row * 17 + column) * 7 + channel
        torch.testing.assert_close(found.spatial[0, place], mixed_6_conv[0, channel, row, column], rtol=1e-4, atol=1e-5)


def test_normalising_the_kernel_is_normalising_the_output() -> None:
    chance = torch.Generator().manual_seed(0)
    layer = Convolution(5, 7, (1, 3)).requires_grad_(False)
    for tensor in layer.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape, generator=chance) + 0.1)
    x = torch.randn(2, 5, 9, 9, generator=chance)
    expected = reference(x, "it", {f"it.{name}": tensor for name, tensor in layer.state_dict().items()})
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_average_pool_leaves_out_the_padding() -> None:
    torch.testing.assert_close(average_pool(torch.full((1, 2, 5, 5), 3.0)), torch.full((1, 2, 5, 5), 3.0))


def test_only_the_last_block_takes_the_largest(network: Inception) -> None:
    blocks = [name for name, block in network.named_children() if isinstance(block, BlockE)]
    spike = torch.zeros(1, 1, 8, 8)
    spike[..., 4, 4] = 9
    largest = {name: network.get_submodule(name).pool(spike).max().item() for name in blocks}
    assert largest == {"Mixed_7b": 1, "Mixed_7c": 9}


def test_resizing_doubles_a_ramp() -> None:
    """Pixel i lies at i / 2; the last is repeated."""
    ramp = torch.arange(4.0).mul(10).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    found = resize(ramp, 8)
    assert found[0, 0].tolist() == [[0, 5, 10, 15, 20, 25, 30, 30]] * 8
    assert resize(ramp.mT, 8)[0, 0].T.tolist() == [[0, 5, 10, 15, 20, 25, 30, 30]] * 8
    half_pixels = F.interpolate(ramp, size=8, mode="bilinear", align_corners=False)
    assert not torch.allclose(found, half_pixels)


def test_resizing_to_the_same_size_changes_nothing() -> None:
    picture = images(2, 299, 299).float()
    assert torch.equal(resize(picture), picture)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (300, 200), (256, 512), (1, 2)])
def test_resizing_mixes_the_four_neighbours(height: int, width: int) -> None:
    """Each pixel by itself, in float64."""
    picture = images(1, height, width).double()[0, 0]
    found = resize(images(1, height, width).float())[0, 0]
    for row, column in ((0, 0), (1, 298), (150, 7), (149, 150), (298, 298)):
        y, x = row * height / 299, column * width / 299
        top, left = math.floor(y), math.floor(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        upper = picture[top, left] + (picture[top, right] - picture[top, left]) * (x - left)
        lower = picture[bottom, left] + (picture[bottom, right] - picture[bottom, left]) * (x - left)
        assert found[row, column].item() == pytest.approx((upper + (lower - upper) * (y - top)).item(), abs=0.02)


def test_images_are_resized_first(network: Inception) -> None:
    """Twice as large by repeating pixels and smaller again is not the same as never having been small."""
    small = images(1, 23, 23)
    large = F.interpolate(small, scale_factor=13, mode="nearest")  # 299 pixels
    resized = resize(small.float()).round().to(torch.uint8)
    torch.testing.assert_close(network(small).pooled, network(resized).pooled, rtol=0.02, atol=0.02)
    assert not torch.allclose(network(small).pooled, network(large).pooled, rtol=0.02, atol=0.02)


def test_images_of_a_batch_do_not_meet(network: Inception) -> None:
    pictures = images(3, 40, 40)
    together, alone = network(pictures), network(pictures[1:2])
    torch.testing.assert_close(together.pooled[1:2], alone.pooled, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together.spatial[1:2], alone.spatial, rtol=1e-5, atol=1e-5)


def test_autocast_changes_nothing(network: Inception) -> None:
    expected = network(images(1, 32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        found = network(images(1, 32, 32))
    assert torch.equal(found.pooled, expected.pooled)
    assert torch.equal(found.logits, expected.logits)


def test_it_is_frozen_and_names_itself(network: Inception) -> None:
    assert not any(weight.requires_grad for weight in network.parameters())
    assert not network.training
    assert (network.name, network.class_names) == ("inception-2015", ())
    assert len(network.hash) == 64


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (torch.zeros(1, 3, 8, 8), r"images are torch\.float32, not uint8"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"images are \(3, 8, 8\), not B x 3"),
        (torch.zeros(1, 8, 8, 3, dtype=torch.uint8), "channels first"),
        (torch.zeros(1, 3, 0, 8, dtype=torch.uint8), "not B x 3"),
    ],
)
def test_other_images_are_refused(network: Inception, wrong: Tensor, told: str) -> None:
    with pytest.raises(DARError, match=told):
        network(wrong)


def test_all_copies_are_the_same(network: Inception, state: State, folder: Path, tmp_path: Path) -> None:
    """The hash is that of the weights alone, without the counters."""
    save_file(state, tmp_path / "pt_inception-2015-12-05-6726825d.safetensors")
    save_file({name: state[name] for name in network.state_dict()}, tmp_path / "another.safetensors")
    sources = [folder / WEIGHTS_2015.name, tmp_path, tmp_path / "another.safetensors"]
    assert [load_inception(source).hash for source in sources] == [network.hash] * 3
    changed = dict(network.state_dict())
    changed["fc.bias"] = changed["fc.bias"] + 1
    assert Inception(changed).hash != network.hash


def test_loading_draws_no_random_numbers(folder: Path) -> None:
    before = torch.get_rng_state()
    load_inception(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_tensors_that_do_not_fit_are_named(state: State, tmp_path: Path) -> None:
    wrong = dict(state, surplus=torch.zeros(1))
    del wrong["Mixed_6d.branch1x1.conv.weight"]
    wrong["fc.weight"], wrong["fc.bias"] = torch.zeros(1000, 2048), torch.zeros(1000)
    save_file(wrong, tmp_path / "wrong.safetensors")
    told = (
        r"missing: Mixed_6d\.branch1x1\.conv\.weight; extra: surplus; mis-shaped: fc\.bias .*1000.*1008.*, fc\.weight"
    )
    with pytest.raises(DARError, match=told):
        load_inception(tmp_path / "wrong.safetensors")


@pytest.mark.parametrize("name", ["torn.pth", "torn.safetensors"])
def test_a_truncated_file_is_told(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((folder / WEIGHTS_2015.name).read_bytes()[:10_000])
    with pytest.raises(DARError, match=rf"{name} is (damaged|not a whole)"):
        load_inception(tmp_path / name)


def test_missing_weights_are_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        DARError, match=r"holds neither weights-inception.* nor pt_inception.*\.pth: get it .* and give"
    ):
        load_inception(tmp_path)
    with pytest.raises(DARError, match=r"could not be downloaded from https://.*OFFLINE.*: give"):
        load_inception()


def test_a_download_of_another_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.pth").write_bytes(b"other weights")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    file = PublishedFile((tmp_path / "other.pth").as_uri(), WEIGHTS_2015.sha256)
    monkeypatch.setattr(inception, "WEIGHTS_2015", file)
    with pytest.raises(DARError, match=r"no longer holds the published weights .*6726825d.*: give"):
        load_inception()
