from pathlib import Path

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model, ViTConfig

from dar.errors import DARError
from dar.features.dinov2 import load_dinov2
from tests import tiny


def test_it_is_loaded_whole_and_frozen(tmp_path: Path) -> None:
    config = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, patch_size=14, image_size=28)
    saved = tiny.randomise(Dinov2Model(config), seed=0)
    saved.half().save_pretrained(tmp_path)
    loaded = load_dinov2(tmp_path, "the.setting")
    assert all(torch.equal(tensor, saved.state_dict()[name].float()) for name, tensor in loaded.state_dict().items())
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    assert not any(weight.requires_grad for weight in loaded.parameters())
    assert not loaded.training


def test_errors_name_the_setting(tmp_path: Path) -> None:
    with pytest.raises(DARError, match=r"no DINOv2 can be loaded from .*: put .* and give it as the\.setting"):
        load_dinov2(tmp_path, "the.setting")


def test_another_network_is_refused(tmp_path: Path) -> None:
    ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(DARError, match="is a vit, not a DINOv2"):
        load_dinov2(tmp_path, "the.setting")
