"""Feature extractors by name."""

from pathlib import Path

import torch

from dar.device import Device, as_device
from dar.errors import DARError
from dar.features.classifier import BUNDLED, load_classifier
from dar.features.extractor import Extractor
from dar.features.inception import WEIGHTS_2015, load_inception
from dar.features.published import SUFFIXES
from dar.features.vision_model import load_vision_model
from dar.files import CONFIG, read_json
from dar.locations import here

INCEPTION = "inception"


def load_extractor(source: str, device: Device = "cpu") -> Extractor:
    """Load a feature extractor by its name.

    Args:
        source: a ``.pth`` or ``.safetensors`` file of Inception's published weights of 2015, or a folder that holds one
            under its name; a folder of a classifier that `dar train classifier` made, or of a vision model of
            transformers; "inception" for that network, whose weights are downloaded on first use, or "cifar10" for the
            small classifier that the package brings along; the Hub id of a vision model, as "facebook/dinov2-base" is.
            In this order.
        device: where it computes.

    Raises:
        DARError: if it is none of these, its weights cannot be had, or there is no such device.
    """
    device = as_device(device)
    path = here(source, "extractor")
    if path is not None and _holds_extractor(path):
        return _load_from(path, device)
    if source == INCEPTION:
        return load_inception(device=device)
    if source == BUNDLED:
        return load_classifier(source).to(device)
    if path is not None:
        raise DARError(
            f"{path} holds no extractor: give {INCEPTION}, {BUNDLED}, the file {WEIGHTS_2015.name}, a folder with it, "
            f"a folder with the {CONFIG} of a classifier or of a vision model, or such a model's id on the Hub"
        )
    return load_vision_model(source, device=device)


def _holds_extractor(path: Path) -> bool:
    return path.suffix in SUFFIXES or WEIGHTS_2015.find(path) is not None or (path / CONFIG).is_file()


def _load_from(path: Path, device: torch.device) -> Extractor:
    if path.suffix in SUFFIXES or WEIGHTS_2015.find(path):
        return load_inception(path, device=device)
    if "model_type" in read_json(path / CONFIG):  # as transformers writes it
        return load_vision_model(path, device=device)
    return load_classifier(path).to(device)
