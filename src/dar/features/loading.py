"""Feature extractors by name."""

from pathlib import Path

import torch

from dar.features.classifier import load_classifier
from dar.features.extractor import Extractor
from dar.features.inception import load_inception
from dar.features.vision_model import load_vision_model
from dar.storage import CONFIG, read_json

CIFAR10 = "cifar10"
"""Name of the classifier that the package brings along."""


def load_extractor(source: str, device: str | torch.device = "cpu") -> Extractor:
    """A feature extractor.

    Args:
        source: "inception" for the Inception network of 2015, whose weights are downloaded on first use; a ``.pth`` or
            ``.safetensors`` file of its published weights; "cifar10" for the small classifier that the package brings
            along; a folder of a classifier that `dar train classifier` made; or a folder or Hub id of a vision model
            of transformers, such as "facebook/dinov2-base".
        device: where it computes.

    Raises:
        DARError: if it is none of these, or its weights cannot be had.
    """
    path = Path(source)
    if source == "inception":
        return load_inception(device=device)
    if path.suffix in (".pth", ".safetensors"):
        return load_inception(path, device=device)
    if source == CIFAR10 or (path.is_dir() and "model_type" not in read_json(path / CONFIG)):
        return load_classifier(source).to(device)
    return load_vision_model(source, device=device)
