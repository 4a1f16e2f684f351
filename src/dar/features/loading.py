"""Feature extractors by name."""

from pathlib import Path

from dar.device import Device, as_device
from dar.errors import DARError
from dar.features.classifier import BUNDLED, load_classifier
from dar.features.extractor import Extractor
from dar.features.inception import WEIGHTS_2015, load_inception
from dar.features.published import SUFFIXES
from dar.features.vision_model import load_vision_model
from dar.storage import CONFIG, read_json


def load_extractor(source: str, device: Device = "cpu") -> Extractor:
    """A feature extractor.

    Args:
        source: "inception" for the Inception network of 2015, whose weights are downloaded on first use; a ``.pth`` or
            ``.safetensors`` file of its published weights, or a folder that holds one under its name; "cifar10" for the
            small classifier that the package brings along; a folder of a classifier that `dar train classifier` made;
            a folder of a vision model of transformers. All else is taken as the Hub id of such a vision model, as
            "facebook/dinov2-base" is.
        device: where it computes.

    Raises:
        DARError: if it is none of these, its weights cannot be had, or there is no such device.
    """
    device = as_device(device)
    path = Path(source)
    if source == "inception":
        return load_inception(device=device)
    if source == BUNDLED:  # before a folder of that name
        return load_classifier(source).to(device)
    if path.suffix in SUFFIXES or WEIGHTS_2015.find(path):
        return load_inception(path, device=device)
    if path.is_dir() and _is_classifier(path):
        return load_classifier(source).to(device)
    return load_vision_model(source, device=device)


def _is_classifier(folder: Path) -> bool:
    """Whether a folder holds a classifier of this package rather than a network of transformers."""
    if not (folder / CONFIG).is_file():
        raise DARError(
            f"{folder} holds no extractor: give inception, {BUNDLED}, the file {WEIGHTS_2015.name}, a folder with it, "
            f"a folder with the {CONFIG} of a classifier or of a vision model, or such a model's id on the Hub"
        )
    return "model_type" not in read_json(folder / CONFIG)
