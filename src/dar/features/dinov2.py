"""DINOv2 (arXiv 2304.07193), as transformers has it."""

from pathlib import Path

from transformers import Dinov2Config, Dinov2Model

from dar.errors import DARError
from dar.features.pretrained import find_pretrained, load_config, load_network, wrap_loading_errors

DINOV2_BASE = "facebook/dinov2-base"


def load_dinov2(source: str | Path, setting: str) -> Dinov2Model:
    """Load DINOv2, frozen, in float32 on the CPU.

    Args:
        source: an id on the Hub, whose files are downloaded once, or a folder that transformers saved.
        setting: where users say what to load; errors name it.

    Raises:
        DARError: if it is neither, another network, or not whole.
    """
    remedy = f"put the config.json and model.safetensors of {DINOV2_BASE} into a folder and give it as {setting}"
    with wrap_loading_errors(source, "DINOv2", remedy):
        place = find_pretrained(source, "DINOv2", remedy)
        config = load_config(place)
        if not isinstance(config, Dinov2Config):
            raise DARError(f"{source} is a {config.model_type}, not a DINOv2: give {DINOV2_BASE} or a folder with it")
        network = load_network(Dinov2Model, place, config)
        assert isinstance(network, Dinov2Model)
        return network
