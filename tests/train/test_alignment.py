import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, Dinov2Config, Dinov2Model

from dar.errors import DARError
from dar.features.preprocessing import MEAN
from dar.storage import WEIGHTS, load_tensors, save_tensors
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.train.alignment import AlignmentHead, AlignmentTarget, alignment_loss, load_alignment_target
from tests import tiny

WIDTH = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small DINOv2, whose position embeddings are of another grid than 16 x 16, as the published ones are."""
    config = Dinov2Config(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, patch_size=14, image_size=70)
    folder = tmp_path_factory.mktemp("dino")
    tiny.randomise(Dinov2Model(config), seed=0).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def target(folder: Path) -> AlignmentTarget:
    return load_alignment_target(folder)


def test_features_are_those_of_the_patches(target: AlignmentTarget, folder: Path) -> None:
    """ImageNet's mean colour is 0 to DINOv2."""
    mean = 2 * torch.tensor(MEAN).view(1, 3, 1, 1).expand(1, 3, 40, 40) - 1
    with torch.no_grad():
        expected = Dinov2Model.from_pretrained(folder)(torch.zeros(1, 3, 224, 224)).last_hidden_state
    assert expected.shape == (1, 1 + 256, WIDTH)
    torch.testing.assert_close(target(mean), expected[:, 1:], rtol=0, atol=1e-4)
    assert target.width == WIDTH


def test_images_are_brought_to_its_size_smoothly(target: AlignmentTarget) -> None:
    """A fine pattern averages out when it is made smaller."""
    stripes = torch.ones(1, 3, 672, 672)
    stripes[..., ::3] = -1
    grey = torch.full_like(stripes, 1 / 3)
    inner = target(stripes).unflatten(1, (16, 16))[:, 2:-2, 2:-2]
    torch.testing.assert_close(inner, target(grey).unflatten(1, (16, 16))[:, 2:-2, 2:-2], rtol=0, atol=0.05)


def test_features_come_row_by_row(target: AlignmentTarget) -> None:
    plain = torch.zeros(1, 3, 224, 224)
    marked = plain.clone()
    marked[..., 3 * 14 : 4 * 14, 5 * 14 : 6 * 14] = 1
    change = (target(marked) - target(plain)).norm(dim=-1)
    assert change.argmax() == 3 * 16 + 5


def test_it_is_frozen(target: AlignmentTarget) -> None:
    features = target(tiny.pixels(2).requires_grad_())
    assert not features.requires_grad
    assert not any(weight.requires_grad for weight in target.parameters())


def test_loading_draws_no_random_numbers(folder: Path) -> None:
    before = torch.get_rng_state()
    load_alignment_target(folder)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("grid", [4, 8, 16, 24, 32])
def test_head_gives_a_prediction_for_each_feature(grid: int) -> None:
    assert AlignmentHead(64, WIDTH)(torch.randn(2, grid**2, 64)).shape == (2, 256, WIDTH)


@torch.no_grad()
def test_head_averages_the_tokens_of_a_cell() -> None:
    head = AlignmentHead(64, WIDTH)
    tokens = torch.randn(1, 32, 32, 64, generator=torch.Generator().manual_seed(0))
    cells = tokens.unflatten(1, (16, 2)).unflatten(3, (16, 2)).mean((2, 4)).flatten(1, 2)
    torch.testing.assert_close(head(tokens.flatten(1, 2)), head.mlp(cells), rtol=0, atol=1e-5)
    torch.testing.assert_close(head(cells), head.mlp(cells), rtol=0, atol=1e-5)


def test_head_is_a_network_of_three_layers() -> None:
    shapes = [tuple(weight.shape) for weight in AlignmentHead(64, 768).parameters() if weight.dim() == 2]
    assert shapes == [(2048, 64), (2048, 2048), (768, 2048)]


def test_loss_is_one_less_the_cosine() -> None:
    a = torch.randn(3, 256, WIDTH, generator=torch.Generator().manual_seed(0))
    turned = torch.stack([a[..., 1::2], -a[..., ::2]], dim=-1).flatten(2)  # at right angles to each
    for other, expected in ((3 * a, 0.0), (-a, 2.0), (turned, 1.0)):
        torch.testing.assert_close(alignment_loss(a, other), torch.full((3,), expected), rtol=0, atol=1e-5)
    half = torch.cat([a[:, :128], -a[:, 128:]], dim=1)
    torch.testing.assert_close(alignment_loss(a, half), torch.ones(3), rtol=0, atol=1e-5)
    assert alignment_loss(a.bfloat16(), a.bfloat16()).dtype == torch.float32


def test_the_tokenizer_learns_from_it_up_to_the_layer(target: AlignmentTarget) -> None:
    config = dataclasses.replace(tiny.TOKENIZER, decoder_depth=3)
    model, pixels = tiny.tokenizer(config), tiny.pixels(2)
    head = AlignmentHead(config.decoder_width, target.width)
    output = model(pixels, torch.tensor([0.2, 0.7]), tiny.noise(2))
    alignment_loss(head(output.hidden[2]), target(pixels)).mean().backward()
    blocks = model.diffusion_decoder.blocks
    trained = [any(weight.grad is not None for weight in block.parameters()) for block in blocks]
    assert trained == [True, True, False]
    assert all(weight.grad is not None and weight.grad.any() for weight in head.parameters())
    assert model.encoder.patchify.weight.grad.any()


def test_the_head_is_no_part_of_the_tokenizer() -> None:
    assert not [name for name in SequentialDiffusionTokenizer(tiny.TOKENIZER).state_dict() if "align" in name]


@pytest.mark.parametrize("source", ["", "facebook/dinov2-base", "no/such/place", "not a name"])
def test_missing_weights_are_told_with_the_remedy(source: str) -> None:
    with pytest.raises(DARError, match=r"no DINOv2 .*: put .* tokenizer_training\.alignment_model"):
        load_alignment_target(source)


def test_folder_without_weights_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(DARError, match="no DINOv2 can be loaded"):
        load_alignment_target(tmp_path)
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(DARError, match="no DINOv2 can be loaded"):
        load_alignment_target(tmp_path)


def test_another_network_is_refused(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(DARError, match="is a bert, not a DINOv2"):
        load_alignment_target(tmp_path)


def test_weights_that_do_not_fit_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    tensors = load_tensors(folder / WEIGHTS)
    tensors["surplus"] = torch.zeros(1)
    save_tensors(tmp_path / WEIGHTS, tensors, {"format": "pt"})
    with pytest.raises(DARError, match="unexpected: surplus"):
        load_alignment_target(tmp_path)
    del tensors["surplus"], tensors["layernorm.weight"]
    save_tensors(tmp_path / WEIGHTS, tensors, {"format": "pt"})
    with pytest.raises(DARError, match=r"missing: layernorm\.weight"):
        load_alignment_target(tmp_path)
