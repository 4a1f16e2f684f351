import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
    SwinConfig,
    SwinModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from dar.errors import DARError
from dar.features.preprocessing import MEAN, STD
from dar.features.vision_model import load_vision_model
from dar.storage import WEIGHTS, load_tensors, save_tensors
from tests import tiny

COLOURS: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
DINOV2 = Dinov2Config(**COLOURS, patch_size=14, image_size=56)
VIT = ViTConfig(**COLOURS, intermediate_size=64, patch_size=8, image_size=32)
RESNET = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
SWIN = SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4)
NAMES = {"id2label": {0: "cat", 1: "dog", 2: "owl"}, "label2id": {"cat": 0, "dog": 1, "owl": 2}}


def saved(kind: Any, config: Any, folder: Path, settings: dict[str, Any] | None = None) -> Any:
    """A random network, in a folder as transformers leaves it."""
    model = tiny.randomise(kind(config), seed=0)
    model.save_pretrained(folder)
    if settings is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return model


def images(count: int, size: int) -> Tensor:
    return (127.5 * (tiny.pixels(count, size=size) + 1)).to(torch.uint8)


def normalised(pictures: Tensor) -> Tensor:
    return (pictures / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "config", "size"), [(Dinov2Model, DINOV2, 56), (ViTModel, VIT, 32)])
def test_transformers_give_their_class_token(kind: Any, config: Any, size: int, tmp_path: Path) -> None:
    model = saved(kind, config, tmp_path / "some")
    found = load_vision_model(tmp_path / "some")
    features = found(images(2, size))
    expected = model(normalised(images(2, size))).last_hidden_state[:, 0]
    torch.testing.assert_close(features.pooled, expected, rtol=1e-4, atol=1e-5)
    assert features.pooled.shape == (2, 32)
    assert features.spatial is None
    assert features.logits is None
    assert found.name == f"{config.model_type}:some"
    assert found.class_names == ()


@torch.no_grad()
@pytest.mark.parametrize(("kind", "config", "width"), [(ResNetModel, RESNET, 16), (SwinModel, SWIN, 16)])
def test_others_give_the_mean_over_places(kind: Any, config: Any, width: int, tmp_path: Path) -> None:
    model = saved(kind, config, tmp_path, {"size": 32})
    features = load_vision_model(tmp_path)(images(2, 32))
    hidden = model(normalised(images(2, 32))).last_hidden_state
    expected = hidden.mean((2, 3)) if hidden.dim() == 4 else hidden.mean(1)
    assert features.pooled.shape == (2, width)
    torch.testing.assert_close(features.pooled, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "config", "size"),
    [
        (ViTForImageClassification, VIT, 32),
        (Dinov2ForImageClassification, DINOV2, 56),
        (ResNetForImageClassification, RESNET, 64),
    ],
)
def test_classifiers_give_logits_and_names_too(kind: Any, config: Any, size: int, tmp_path: Path) -> None:
    config = type(config)(**config.to_dict() | NAMES)
    model = saved(kind, config, tmp_path, {"size": size})
    found = load_vision_model(tmp_path)
    features = found(images(2, size))
    assert found.class_names == ("cat", "dog", "owl")
    assert features.logits is not None
    inward = normalised(images(2, size))
    torch.testing.assert_close(features.logits, model(inward).logits, rtol=1e-4, atol=1e-5)
    hidden = model.base_model(inward).last_hidden_state
    expected = hidden.mean((2, 3)) if hidden.dim() == 4 else hidden[:, 0]
    torch.testing.assert_close(features.pooled, expected, rtol=1e-4, atol=1e-5)


def test_mere_numbers_are_no_names(tmp_path: Path) -> None:
    saved(ViTForImageClassification, VIT, tmp_path)
    assert load_vision_model(tmp_path).class_names == ()


def test_images_of_any_size_are_prepared_as_the_file_says(tmp_path: Path) -> None:
    """An eighth of 80 pixels is cut off at each side; the outer 3 pixels are too far off to count."""
    saved(ViTModel, VIT, tmp_path, {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": 32})
    found = load_vision_model(tmp_path)
    large = images(1, 80)
    expected = found(large).pooled
    for rows, is_seen in ((slice(0, 3), False), (slice(12, 15), True)):
        marked = large.clone()
        marked[..., rows, :] = 255 - marked[..., rows, :]
        assert torch.equal(found(marked).pooled, expected) is not is_seen


def test_images_of_a_batch_do_not_meet(tmp_path: Path) -> None:
    saved(ResNetModel, RESNET, tmp_path, {"size": 32})
    found = load_vision_model(tmp_path)
    pictures = images(3, 32)
    torch.testing.assert_close(found(pictures).pooled[1:2], found(pictures[1:2]).pooled, rtol=1e-5, atol=1e-5)


def test_autocast_changes_nothing_and_nothing_has_a_gradient(tmp_path: Path) -> None:
    saved(ViTModel, VIT, tmp_path)
    found = load_vision_model(tmp_path)
    expected = found(images(1, 32)).pooled
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(found(images(1, 32)).pooled, expected)
    assert not expected.requires_grad


def test_hash_tells_weights_and_preprocessing_apart(tmp_path: Path) -> None:
    for name, settings in (("a", None), ("b", None), ("c", {"image_mean": [0.5] * 3})):
        saved(ViTModel, VIT, tmp_path / name, settings)
    tensors = load_tensors(tmp_path / "a" / WEIGHTS)
    tensors["layernorm.bias"] = tensors["layernorm.bias"] + 1
    saved(ViTModel, VIT, tmp_path / "d")
    save_tensors(tmp_path / "d" / WEIGHTS, tensors, {"format": "pt"})
    a, b, c, d = (load_vision_model(tmp_path / name).hash for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3


def test_other_images_are_refused(tmp_path: Path) -> None:
    saved(ViTModel, VIT, tmp_path)
    with pytest.raises(DARError, match="not uint8"):
        load_vision_model(tmp_path)(tiny.pixels(1))


@pytest.mark.parametrize("source", ["", "no/such/place", "not a name"])
def test_missing_networks_are_told_with_the_remedy(source: str) -> None:
    with pytest.raises(DARError, match=r"no vision model .*: give a folder with its config\.json"):
        load_vision_model(source)


def test_another_kind_of_network_is_told(tmp_path: Path) -> None:
    sizes = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    saved(BertModel, BertConfig(**sizes, intermediate_size=8), tmp_path)
    with pytest.raises(DARError, match="no vision model can be loaded"):
        load_vision_model(tmp_path)


def test_an_image_size_that_the_network_cannot_take_is_told_at_once(tmp_path: Path) -> None:
    saved(ViTModel, VIT, tmp_path, {"size": 40})
    with pytest.raises(DARError, match=r"no vision model can be loaded .*40"):
        load_vision_model(tmp_path)


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    saved(ViTModel, VIT, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'touched')!r}, 'w')")
    with pytest.raises(DARError, match="no vision model can be loaded"):
        load_vision_model(tmp_path)
    assert not (tmp_path / "touched").exists()


def test_pickles_are_not_read(tmp_path: Path) -> None:
    model = saved(ViTModel, VIT, tmp_path)
    (tmp_path / WEIGHTS).unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(DARError, match="no vision model can be loaded"):
        load_vision_model(tmp_path)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    saved(ResNetModel, RESNET, tmp_path)
    tensors = load_tensors(tmp_path / WEIGHTS)
    save_tensors(tmp_path / WEIGHTS, tensors | {"surplus": torch.zeros(1)}, {"format": "pt"})
    with pytest.raises(DARError, match="unexpected: surplus"):
        load_vision_model(tmp_path)
    name = "encoder.stages.0.layers.0.layer.0.convolution.weight"
    del tensors[name]
    save_tensors(tmp_path / WEIGHTS, tensors, {"format": "pt"})
    with pytest.raises(DARError, match=f"missing: {name}"):
        load_vision_model(tmp_path)


def test_a_damaged_preprocessor_file_is_told(tmp_path: Path) -> None:
    saved(ViTModel, VIT, tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(DARError, match=r"preprocessor_config\.json cannot be read as JSON"):
        load_vision_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_hidden_layers": 2**24}, "the configuration of .* asks for more than the 20000 tensors"),
        ({"num_attention_heads": 2**24}, "no vision model can be loaded from"),
        ({"num_attention_heads": 0}, "no vision model can be loaded from"),
        ({"patch_size": 0}, "no vision model can be loaded from"),
        ({"hidden_size": 2**24}, "no vision model can be loaded from"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, int], said: str) -> None:
    saved(ViTModel, VIT, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DARError, match=said):
        load_vision_model(tmp_path)
