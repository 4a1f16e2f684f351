"""LPIPS, a distance between images as they look to VGG-16 (arXiv 1801.03924, version 0.1)."""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import cached_assets_path, constants
from torch import Tensor, nn
from torch.nn import functional as F

from dar.errors import DARError
from dar.storage import check_names_and_shapes, load_tensors

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Widths of VGG-16's convolutions; features are taken at the end of each stage, before pooling."""

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""What is subtracted from the colours of images in [-1, 1], and what then divides them."""

NORM_EPS = 1e-10


@dataclass(frozen=True)
class PublishedFile:
    """A file of weights that its publisher keeps in one place.

    Attributes:
        url: where it is; ends in its name.
        sha256: of its content.
    """

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rsplit("/", 1)[-1]


VGG = PublishedFile(
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)
LINEAR = PublishedFile(
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
    "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
)
REMEDY = f"put {VGG.name} and {LINEAR.name} into a folder and give it as tokenizer_training.perceptual_weights"

_UNUSED = "classifier."
"""Prefix of VGG-16's tensors that turn features into classes."""


class PerceptualDistance(nn.Module):
    """How different images look: weighted squared differences of normalised VGG-16 features. Frozen.

    Args:
        tensors: by published name: ``features.{0, 2, 5, ...}.{weight, bias}`` and ``lin{0 to 4}.model.1.weight``.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        with torch.device("meta"):  # the weights are given, none is drawn
            self.features = _convolutions()
        self.load_state_dict({name: tensors[name] for name in self.state_dict()}, assign=True)
        self.channel_weights = nn.ParameterList(tensors[name] for name in _linear_layout())
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, images_B3HW: Tensor, references_B3HW: Tensor) -> Tensor:
        """Distances, at least 0; only the first images get a gradient.

        Args:
            images_B3HW: in [-1, 1] or a little beyond, H and W at least 16.
            references_B3HW: what each of them should look like.

        Returns:
            B, float32.
        """
        with torch.no_grad():
            wanted = list(self._features(references_B3HW))
        distances = [
            ((found - reference).square() * weight).sum(1).mean((1, 2))
            for found, reference, weight in zip(self._features(images_B3HW), wanted, self.channel_weights, strict=True)
        ]
        return torch.stack(distances).sum(0)

    def _features(self, x_B3HW: Tensor) -> Iterator[Tensor]:
        """Features at the end of each stage, of unit length over channels: B x C x h x w, float32."""
        x = (x_B3HW - self.shift) / self.scale
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                yield F.normalize(x.float(), dim=1, eps=NORM_EPS)
            x = layer(x)
        yield F.normalize(x.float(), dim=1, eps=NORM_EPS)


def load_perceptual_distance(source: str | Path = "") -> PerceptualDistance:
    """LPIPS with its published weights, in float32 on the CPU.

    Args:
        source: a folder that holds ``vgg16-397923af`` and ``vgg``, each as ``.safetensors`` or ``.pth``, with the
            published tensor names; used as it is. Empty for the publishers' own files, which are downloaded once, into
            the user's cache folder of the Hugging Face libraries, and checked by hash.

    Raises:
        DARError: if a file is missing and cannot be downloaded, is not the published one, is damaged, or holds other
            tensors.
    """
    tensors = _read(_find(VGG, source), _vgg_layout()) | _read(linear := _find(LINEAR, source), _linear_layout())
    for name in _linear_layout():
        if not (tensors[name] >= 0).all():
            raise DARError(f"{linear} has weights in {name} that are negative or no numbers: {REMEDY}")
    return PerceptualDistance(tensors)


def download(file: PublishedFile, folder: Path) -> Path:
    """Path of a published file in ``folder``, where it is downloaded to if it isn't there.

    Raises:
        DARError: if it cannot be downloaded, or has another hash; nothing is then kept.
    """
    path = folder / file.name
    try:
        if not path.exists():
            if constants.HF_HUB_OFFLINE:
                raise ConnectionError("HF_HUB_OFFLINE is set")
            torch.hub.download_url_to_file(file.url, str(path), hash_prefix=file.sha256)
    except RuntimeError as error:
        raise DARError(f"{file.url} no longer holds the published weights ({error}): {REMEDY}") from error
    except (OSError, HTTPException) as error:
        raise DARError(f"{file.name} could not be downloaded from {file.url} ({error}): {REMEDY}") from error
    return path


def _convolutions() -> nn.Sequential:
    """VGG-16 up to the end of its last stage, numbered as its tensors are."""
    layers: list[nn.Module] = []
    width = 3
    for stage in STAGES:
        for out in stage:
            layers += [nn.Conv2d(width, out, 3, padding=1), nn.ReLU()]
            width = out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:-1])


def _vgg_layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the convolutions' tensors."""
    with torch.device("meta"):
        return {f"features.{name}": tuple(tensor.shape) for name, tensor in _convolutions().state_dict().items()}


def _linear_layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of channels, one tensor a stage."""
    return {f"lin{i}.model.1.weight": (1, stage[-1], 1, 1) for i, stage in enumerate(STAGES)}


def _find(file: PublishedFile, source: str | Path) -> Path:
    if not str(source):
        try:
            folder = cached_assets_path("dar", "perceptual")
        except (OSError, ValueError) as error:
            raise DARError(f"there is no cache folder to download {file.name} to ({error}): {REMEDY}") from error
        return download(file, folder)
    paths = [Path(source) / Path(file.name).with_suffix(suffix) for suffix in (".safetensors", ".pth")]
    for path in paths:
        if path.is_file():
            return path
    raise DARError(f"{source} holds neither {paths[0].name} nor {paths[1].name}: get it from {file.url}, and {REMEDY}")


def _read(path: Path, layout: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Tensors of exactly these names and shapes, in float32."""
    content = load_tensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    tensors = {name: tensor for name, tensor in content.items() if not name.startswith(_UNUSED)}
    check_names_and_shapes(path, layout, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    return {name: tensor.detach().float() for name, tensor in tensors.items()}


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(str(path), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, LookupError, TypeError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DARError(
            f"{path} is damaged or holds more than tensors, and was not loaded ({reason}): {REMEDY}"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise DARError(f"{path} is no dictionary of tensors: {REMEDY}")
    return content
