from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from dar.errors import DARError
from dar.features.perceptual import LINEAR, VGG, PerceptualDistance, load_perceptual_distance
from tests import tiny

CONVOLUTIONS = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)}
CONVOLUTIONS |= {17: (256, 512)} | dict.fromkeys((19, 21, 24, 26, 28), (512, 512))
TAPS, POOLED = (2, 7, 14, 21, 28), (2, 7, 14, 21)
"""Numbers of the convolutions whose outputs are compared, and of those after which the image is halved."""

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def vgg() -> State:
    """Random weights of the published names and shapes, with one tensor of those that are left out."""
    torch.manual_seed(0)
    state = {"classifier.6.bias": torch.zeros(1000)}
    for number, (width, out) in CONVOLUTIONS.items():
        state[f"features.{number}.weight"] = torch.randn(out, width, 3, 3) * (2 / (9 * width)) ** 0.5
        state[f"features.{number}.bias"] = 0.1 * torch.randn(out)
    return state


@pytest.fixture(scope="module")
def linear() -> State:
    chance = torch.Generator().manual_seed(1)
    widths = (64, 128, 256, 512, 512)
    return {f"lin{i}.model.1.weight": torch.rand(1, widths[i], 1, 1, generator=chance) for i in range(5)}


@pytest.fixture(scope="module")
def folder(vgg: State, linear: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lpips")
    torch.save(vgg, folder / VGG.name)
    torch.save(linear, folder / LINEAR.name, _use_new_zipfile_serialization=False)
    return folder


@pytest.fixture(scope="module")
def distance(folder: Path) -> PerceptualDistance:
    return load_perceptual_distance(folder, "the.setting")


def other(folder: Path, into: Path, linear: object) -> Path:
    """The folder with another file of linear weights."""
    (into / VGG.name).symlink_to(folder / VGG.name)
    torch.save(linear, into / LINEAR.name)
    return into


def images(seed: int, size: int = 32) -> Tensor:
    return tiny.pixels(2, seed, size)


@torch.no_grad()
def test_distance_is_that_of_the_definition(distance: PerceptualDistance, vgg: State, linear: State) -> None:
    """Written out convolution by convolution."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = torch.cat([images(1), images(2)])
    x = (x - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1)
    expected = torch.zeros(2)
    for number in CONVOLUTIONS:
        x = F.conv2d(x, vgg[f"features.{number}.weight"], vgg[f"features.{number}.bias"], padding=1).clamp(min=0)
        if number in TAPS:
            unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
            weight = linear[f"lin{TAPS.index(number)}.model.1.weight"]
            expected += F.conv2d((unit[:2] - unit[2:]).square(), weight).mean((1, 2, 3))
        if number in POOLED:
            x = F.max_pool2d(x, 2)
    found = distance(images(1), images(2))
    assert found.shape == (2,)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("size", [16, 50])
def test_distance_is_one(distance: PerceptualDistance, size: int) -> None:
    one, two = images(1, size), images(2, size)
    assert torch.equal(distance(one, one), torch.zeros(2))
    assert (distance(one, two) > 0).all()
    torch.testing.assert_close(distance(one, two), distance(two, one), rtol=1e-5, atol=0)
    near = distance(0.9 * one + 0.1 * two, one)
    assert (near < distance(two, one)).all()


@torch.no_grad()
def test_images_of_a_batch_do_not_meet(distance: PerceptualDistance) -> None:
    together = distance(images(1), images(2))
    alone = torch.cat([distance(images(1)[i : i + 1], images(2)[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=0)


def test_gradients_reach_the_image_and_nothing_else(distance: PerceptualDistance) -> None:
    found, wanted = images(1).requires_grad_(), images(2).requires_grad_()
    distance(found, wanted).sum().backward()
    assert found.grad is not None
    assert found.grad.isfinite().all()
    assert found.grad.any()
    assert wanted.grad is None
    assert all(weight.grad is None for weight in distance.parameters())


def test_gradients_stay_finite_where_no_feature_is_active(vgg: State, linear: State) -> None:
    dead = {name: -tensor.abs() if name.endswith("bias") else tensor.clone() for name, tensor in vgg.items()}
    dead["features.28.weight"] = torch.zeros_like(dead["features.28.weight"])
    found = images(1).requires_grad_()
    PerceptualDistance(dead | linear)(found, images(2)).sum().backward()
    assert found.grad is not None
    assert found.grad.isfinite().all()


def test_the_tokenizer_learns_from_it(distance: PerceptualDistance) -> None:
    model, pixels = tiny.tokenizer(), tiny.pixels(2)
    output = model(pixels, torch.tensor([0.2, 0.7]), tiny.noise(2))
    distance(output.predicted_image, pixels).mean().backward()
    for part in (model.encoder.patchify, model.latent_decoder.inward, model.diffusion_decoder.out):
        assert part.weight.grad is not None
        assert part.weight.grad.any()


@torch.no_grad()
def test_half_precision_is_near(distance: PerceptualDistance) -> None:
    expected = distance(images(1), images(2))
    with torch.autocast("cpu", torch.bfloat16):
        found = distance(images(1), images(2))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0)


@torch.no_grad()
def test_safetensors_copies_are_the_same(
    distance: PerceptualDistance, vgg: State, linear: State, tmp_path: Path
) -> None:
    save_file(vgg, (tmp_path / VGG.name).with_suffix(".safetensors"))
    save_file(linear, (tmp_path / LINEAR.name).with_suffix(".safetensors"))
    copy = load_perceptual_distance(tmp_path, "the.setting")
    assert torch.equal(copy(images(1), images(2)), distance(images(1), images(2)))


def test_loading_draws_no_random_numbers(folder: Path) -> None:
    before = torch.get_rng_state()
    load_perceptual_distance(folder, "the.setting")
    assert torch.equal(torch.get_rng_state(), before)


def test_tensors_that_do_not_fit_are_named(folder: Path, linear: State, tmp_path: Path) -> None:
    wrong = dict(linear, surplus=torch.zeros(1))
    wrong["lin1.model.1.weight"] = wrong.pop("lin0.model.1.weight")
    with pytest.raises(DARError, match=r"vgg\.pth .*missing: lin0\.model\.1\.weight; extra: surplus; mis-shaped: lin1"):
        load_perceptual_distance(other(folder, tmp_path, wrong), "the.setting")


@pytest.mark.parametrize("value", [-1e-3, float("nan")])
def test_weights_that_make_no_distance_are_refused(folder: Path, linear: State, tmp_path: Path, value: float) -> None:
    wrong = {name: tensor.clone() for name, tensor in linear.items()}
    wrong["lin3.model.1.weight"][0, 7] = value
    with pytest.raises(DARError, match=r"lin3\.model\.1\.weight that are negative or no numbers"):
        load_perceptual_distance(other(folder, tmp_path, wrong), "the.setting")


def test_damaged_file_is_told(folder: Path, tmp_path: Path) -> None:
    source = other(folder, tmp_path, {})
    (source / LINEAR.name).write_bytes(b"<html>not found</html>")
    with pytest.raises(DARError, match=r"vgg\.pth is damaged .* put vgg16-397923af\.pth and vgg\.pth into a folder"):
        load_perceptual_distance(source, "the.setting")


def test_missing_files_are_told_with_the_remedy(tmp_path: Path) -> None:
    told = r"holds neither vgg16-397923af\.safetensors nor .*: get it from https://.* put .* give it as the\.setting"
    with pytest.raises(DARError, match=told):
        load_perceptual_distance(tmp_path, "the.setting")
    with pytest.raises(DARError, match=r"vgg16-397923af\.pth could not be downloaded from https.*OFFLINE.*: put"):
        load_perceptual_distance("", "the.setting")
