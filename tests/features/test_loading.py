from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import ViTConfig, ViTModel

from dar.errors import DARError
from dar.features.classifier import ClassifierConfig, ImageClassifier
from dar.features.inception import WEIGHTS_2015, Inception, _Layers
from dar.features.loading import load_extractor
from tests import tiny

CONFIG = ClassifierConfig(name="shapes", class_names=("disc", "star"), image_size=16, widths=(4,))
VIT = ViTConfig(
    hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, patch_size=8, image_size=32
)


@pytest.fixture(scope="module")
def inception() -> dict[str, Tensor]:
    """Tensors of the published names and shapes."""
    with torch.device("meta"):
        layout = _Layers().state_dict()
    return {name: torch.zeros(tensor.shape) for name, tensor in layout.items()}


@pytest.mark.parametrize("name", WEIGHTS_2015.known_as)
def test_inception_is_found_in_a_folder_under_each_of_its_names(
    inception: dict[str, Tensor], name: str, tmp_path: Path
) -> None:
    if name.endswith(".pth"):
        torch.save(inception, tmp_path / name)
    else:
        save_file(inception, tmp_path / name)
    for source in (tmp_path, tmp_path / name):
        assert load_extractor(str(source)).hash == Inception(inception).hash


def test_a_folder_of_either_kind_of_network_is_told_from_the_other(tmp_path: Path) -> None:
    tiny.randomise(ImageClassifier(CONFIG), seed=0).save_pretrained(tmp_path / "classifier")
    tiny.randomise(ViTModel(VIT), seed=0).save_pretrained(tmp_path / "vision")
    assert load_extractor(str(tmp_path / "classifier")).name == "classifier:shapes"
    assert load_extractor(str(tmp_path / "vision")).name == "vit:vision"


def test_a_folder_that_holds_an_extractor_goes_before_the_packages_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cifar10").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_extractor("cifar10").name == "classifier:cifar10"  # a folder of images, perhaps
    tiny.randomise(ImageClassifier(CONFIG), seed=0).save_pretrained(tmp_path / "cifar10")
    assert load_extractor("cifar10").name == "classifier:shapes"


def test_a_folder_of_something_else_is_told_what_an_extractor_may_be(tmp_path: Path) -> None:
    told = r"holds no extractor: give inception, cifar10, the file weights-inception.*config\.json.* on the Hub$"
    with pytest.raises(DARError, match=told):
        load_extractor(str(tmp_path))


def test_a_name_of_nothing_here_is_a_vision_model_on_the_hub() -> None:
    with pytest.raises(DARError, match="no vision model can be loaded from someone/something"):
        load_extractor("someone/something")


def test_a_device_that_is_not_there_is_refused_first() -> None:
    with pytest.raises(DARError, match="cannot compute on nonsense here"):
        load_extractor("cifar10", "nonsense")
