"""Any vision model that transformers knows, as a feature extractor."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers.utils.hub import cached_file

from dar.features.extractor import Extractor, Features, check_images, full_precision
from dar.features.preprocessing import Preprocessing, read_preprocessing
from dar.features.pretrained import find_pretrained, load_config, load_network, wrap_loading_errors
from dar.files import read_json
from dar.storage import weights_hash

PREPROCESSOR = "preprocessor_config.json"
REMEDY = "give a folder with its config.json and model.safetensors, or an id on the Hub"


class VisionModel(nn.Module):
    """A network of transformers that looks at images; satisfies ``Extractor``. Frozen, float32 whatever autocast says.

    ``pooled`` is the class token of the last hidden state, which in ViT and DINOv2 the final norm has left; in networks
    without one it is what they pool themselves, or else the mean over all places. ``logits`` are those of a network for
    classification, None of any other.

    Args:
        network: the network, on which images can be tried.
        preprocessing: from images to its input.
        name: what reports call its space.
    """

    def __init__(self, network: PreTrainedModel, preprocessing: Preprocessing, name: str) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.preprocessing, self.name = preprocessing, name
        self.has_class_token = any(key.endswith("cls_token") for key, _ in network.named_parameters())
        seen = f"{weights_hash(network)} {preprocessing}"  # the same weights see something else in other images
        self.hash = hashlib.sha256(seen.encode()).hexdigest()
        self.class_names = _class_names(network.config) if _classifies(network.config) else ()

    @torch.no_grad()
    def forward(self, images_B3HW: Tensor) -> Features:
        """Compute features of uint8 images of any size.

        Raises:
            DARError: if these are no such images.
        """
        check_images(images_B3HW)
        outputs: list[Any] = []
        watch = self.network.base_model.register_forward_hook(lambda *call: outputs.append(call[-1]))
        try:
            with full_precision(self.network.device):
                result = self.network(pixel_values=self.preprocessing(images_B3HW.to(self.network.device)))
        finally:
            watch.remove()
        return Features(self._pooled(outputs[0]), logits=getattr(result, "logits", None))

    def _pooled(self, output: Any) -> Tensor:
        hidden, own = getattr(output, "last_hidden_state", None), getattr(output, "pooler_output", None)
        if hidden is None:
            raise TypeError("it gives no hidden state for images")
        if self.has_class_token:
            return hidden[:, 0]
        if own is not None:
            return own.flatten(1)
        return hidden.mean(1) if hidden.dim() == 3 else hidden.mean((2, 3))


def load_vision_model(source: str | Path, device: str | torch.device = "cpu") -> Extractor:
    """Load a vision model with its own preprocessing.

    Only safetensors are read, no code that comes with a model is run, and none of transformers' image processors:
    ``read_preprocessing`` describes what is taken from preprocessor_config.json.

    Args:
        source: a folder that transformers saved, or an id on the Hub, whose files are downloaded once.
        device: where it computes.

    Returns:
        Named by the kind of network and the last part of ``source``, such as "dinov2:dinov2-base".

    Raises:
        DARError: if it is neither, no network for images, or not whole.
    """
    with wrap_loading_errors(source, "vision model", REMEDY):
        place = find_pretrained(source, "vision model", REMEDY)
        config = load_config(place)
        kind = AutoModelForImageClassification if _classifies(config) else AutoModel
        network = load_network(kind, place, config)
        path = cached_file(
            place.source,
            PREPROCESSOR,
            local_files_only=place.local_files_only,
            _raise_exceptions_for_missing_entries=False,
        )
        settings = {} if path is None else read_json(Path(path))
        preprocessing = read_preprocessing(settings, getattr(config, "image_size", None))
        name = Path(place.source).resolve().name if Path(place.source).is_dir() else Path(source).name
        model = VisionModel(network, preprocessing, f"{config.model_type}:{name}")
        model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))  # finds out whether it can look at images of its size
    return model.to(device)


def _classifies(config: PreTrainedConfig) -> bool:
    return any(name.endswith("ForImageClassification") for name in config.architectures or ())


def _class_names(config: PreTrainedConfig) -> tuple[str, ...]:
    """Read names of the classes; none where they are mere numbers."""
    labels: dict[Any, str] = config.id2label or {}
    names = tuple(str(labels[i]) for i in range(len(labels)))
    return () if all(name == f"LABEL_{i}" for i, name in enumerate(names)) else names
