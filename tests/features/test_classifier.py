import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dar.errors import DARError
from dar.features.classifier import ARCHITECTURES, ClassifierConfig, ImageClassifier, bundled_folder, load_classifier
from dar.features.extractor import Extractor
from dar.files import read_json
from dar.pipeline import load_prior
from dar.storage import WEIGHTS, load_tensors, save_tensors
from dar.train.classifier_recipe import load_classifier_recipe
from tests import tiny

CONFIG = ClassifierConfig(name="shapes", class_names=("disc", "square", "star"), image_size=16, widths=(6, 8), depth=2)


@pytest.fixture(scope="module")
def classifier() -> ImageClassifier:
    model = tiny.randomise(ImageClassifier(CONFIG), seed=7)
    chance = np.random.RandomState(8)
    for name, buffer in model.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.copy_(torch.from_numpy(chance.uniform(0.2, 1.5, tuple(buffer.shape))))
    return model


def images(count: int, height: int = 16, width: int = 16, seed: int = 1) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randint(0, 256, (count, 3, height, width), dtype=np.uint8))


def test_it_is_an_extractor(classifier: ImageClassifier) -> None:
    extractor: Extractor = classifier
    found = extractor(images(5))
    assert found.pooled.shape == (5, 8)
    assert found.pooled.min() >= 0
    assert found.spatial is None
    assert found.logits is not None
    assert found.logits.shape == (5, 3)
    assert {found.pooled.dtype, found.logits.dtype} == {torch.float32}
    assert not found.pooled.requires_grad
    assert (extractor.name, extractor.class_names) == ("classifier:shapes", CONFIG.class_names)
    assert len(extractor.hash) == 64


def test_features_are_those_of_the_definition(classifier: ImageClassifier) -> None:
    """Written out layer by layer."""
    weights = classifier.state_dict()

    def layer(x: Tensor, prefix: str, stride: int) -> Tensor:
        x = F.conv2d(x, weights[f"{prefix}.0.weight"], stride=stride, padding=1)
        mean, var, scale, shift = (
            weights[f"{prefix}.1.{name}"].view(-1, 1, 1) for name in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (var + 1e-5).sqrt() * scale + shift).clamp(min=0)

    x = images(2).float() / 127.5 - 1
    for stage in range(2):
        x = layer(x, f"stages.{3 * stage}", stride=2)
        for block in range(1, 3):
            x = x + layer(x, f"stages.{3 * stage + block}.inner", stride=1)
    pooled = x.mean((2, 3))
    found = classifier(images(2))
    torch.testing.assert_close(found.pooled, pooled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        found.logits, pooled @ weights["head.weight"].T + weights["head.bias"], rtol=1e-4, atol=1e-5
    )


def test_images_of_a_batch_do_not_meet(classifier: ImageClassifier) -> None:
    together = classifier(images(6))
    alone = [classifier(images(6)[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(together.pooled, torch.cat([found.pooled for found in alone]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together.logits, torch.cat([found.logits for found in alone]), rtol=1e-5, atol=1e-6)


def test_images_of_other_sizes_are_scaled(classifier: ImageClassifier) -> None:
    flat = torch.tensor([30, 200, 90], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = classifier(flat.expand(1, 3, 16, 16)).pooled
    for height, width in ((32, 32), (7, 40), (1, 1), (100, 16)):
        torch.testing.assert_close(classifier(flat.expand(1, 3, height, width)).pooled, expected, rtol=1e-4, atol=1e-5)
    fine = images(1, 64, 64)
    aliased = classifier(fine[:, :, ::4, ::4]).pooled
    averaged = classifier(F.avg_pool2d(fine.float(), 4).round().byte()).pooled
    found = classifier(fine).pooled
    assert (found - averaged).norm() < (found - aliased).norm() / 4


def test_gradients_are_computed_in_training_mode_only(classifier: ImageClassifier) -> None:
    model = ImageClassifier(CONFIG).train()
    model(images(4)).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not model.eval()(images(4)).logits.requires_grad


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (images(2).float(), "images are torch.float32, not uint8"),
        (images(2)[:, :1], r"\(2, 1, 16, 16\), not B x 3 x H x W"),
        (images(2)[0], r"\(3, 16, 16\), not B x 3 x H x W"),
        (images(2).permute(0, 2, 3, 1), r"\(2, 16, 16, 3\)"),
    ],
)
def test_what_is_no_image_is_refused(classifier: ImageClassifier, wrong: Tensor, said: str) -> None:
    with pytest.raises(DARError, match=said):
        classifier(wrong)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "name must not be empty"),
        ({"class_names": "cat"}, "class_names must be at least 2 names"),
        ({"class_names": ("cat",)}, "at least 2 names"),
        ({"class_names": ("cat", "")}, "none may be empty"),
        ({"widths": ()}, "widths must be a list"),
        ({"widths": 64}, "widths must be a list"),
        ({"widths": (64, 0)}, "widths must be whole numbers"),
        ({"widths": (64, 8.0)}, "widths must be whole numbers"),
        ({"depth": True}, "depth must be"),
        ({"image_size": 3}, "image_size 3 is too small"),
    ],
)
def test_sizes_that_cannot_be_are_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ClassifierConfig(**{"name": "a", "class_names": ("b", "c"), "widths": (4, 4), **change})  # type: ignore[arg-type]


def test_saved_and_loaded_it_is_the_same(classifier: ImageClassifier, tmp_path: Path) -> None:
    classifier.save_pretrained(tmp_path)
    loaded = load_classifier(tmp_path)
    assert loaded.config == CONFIG
    assert loaded.hash == classifier.hash
    assert torch.equal(loaded(images(4)).pooled, classifier(images(4)).pooled)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_hash_tells_weights_and_statistics_apart(classifier: ImageClassifier, tmp_path: Path) -> None:
    classifier.save_pretrained(tmp_path)
    tensors, hashes = load_tensors(tmp_path / WEIGHTS), {classifier.hash}
    for name in ("head.bias", "stages.0.1.running_var"):
        changed = dict(tensors, **{name: tensors[name] + 1e-3})
        save_tensors(tmp_path / WEIGHTS, changed)
        hashes.add(load_classifier(tmp_path).hash)
    assert len(hashes) == 3
    larger = ImageClassifier(replace(classifier.config, image_size=2 * classifier.config.image_size))
    larger.load_state_dict(classifier.state_dict())
    assert larger.hash not in hashes, "the same weights see something else"


def test_folders_that_hold_none_are_refused(classifier: ImageClassifier, tmp_path: Path) -> None:
    with pytest.raises(DARError, match=r"there is no model at .*nowhere"):
        load_classifier(tmp_path / "nowhere")
    with pytest.raises(DARError, match=r"config\.json does not exist"):
        load_classifier(tmp_path)
    classifier.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"widths": [6, 10]}))
    with pytest.raises(DARError, match="mis-shaped"):
        load_classifier(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"widths": "wide"}))
    with pytest.raises(DARError, match="does not describe"):
        load_classifier(tmp_path)


def test_the_bundled_one_is_what_its_card_tells() -> None:
    classifier = load_classifier("cifar10")
    folder = bundled_folder()
    facts, card = read_json(folder / "training.json"), (folder / "README.md").read_text()
    assert facts["hash"] == classifier.hash
    assert classifier.hash in card
    assert (facts["training_images"], facts["test_images"]) == (50_000, 10_000)
    assert facts["test_accuracy"] > 0.8
    assert f"| test accuracy | {facts['test_accuracy']:.2%} |" in card
    assert (folder / WEIGHTS).stat().st_size < 3e6
    recipe = load_classifier_recipe("classifier-cifar10")
    assert load_classifier_recipe(folder / "recipe.yaml") == recipe
    assert recipe.config(classifier.class_names) == classifier.config


def test_the_bundled_one_knows_the_bundled_models_classes() -> None:
    classifier = load_classifier("cifar10")
    assert classifier.name == "classifier:cifar10"
    assert classifier.class_names == load_prior().config.class_names
    found = classifier(images(3, 32, 32))
    assert found.pooled.shape == (3, 256)
    assert found.logits is not None
    assert found.logits.shape == (3, 10)
    assert found.pooled.isfinite().all()


def test_a_folder_of_the_bundled_ones_name_goes_first(
    classifier: ImageClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier.save_pretrained(tmp_path / "cifar10")
    monkeypatch.chdir(tmp_path)
    assert load_classifier("cifar10").name == "classifier:shapes"


def test_architectures_differ_and_all_halve_the_image_in_every_stage() -> None:
    for architecture in ARCHITECTURES:
        config = ClassifierConfig(
            name="two", class_names=("a", "b"), image_size=16, architecture=architecture, widths=(8, 12), depth=2
        )
        network = tiny.randomise(ImageClassifier(config), seed=1)
        stages = network.stage_features(tiny.pixels(3))
        assert [tuple(stage.shape) for stage in stages] == [(3, 8, 8, 8), (3, 12, 4, 4)]
        images = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        pixels = images.float() / 127.5 - 1
        torch.testing.assert_close(network(images).pooled, network.stage_features(pixels)[-1].mean((2, 3)))


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="architecture must be 'strided', 'pooled' or 'mixer', not 'vgg'"):
        ClassifierConfig(name="two", class_names=("a", "b"), architecture="vgg")
