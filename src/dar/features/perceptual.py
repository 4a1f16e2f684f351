"""LPIPS, a distance between images as they look to VGG-16 (arXiv 1801.03924, version 0.1)."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dar.errors import DARError
from dar.features.published import PublishedFile, locate, read_tensors

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Widths of VGG-16's convolutions; features are taken at the end of each stage, before pooling."""

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Mean and standard deviation of the colours of images in [-1, 1]."""

NORM_EPS = 1e-10

VGG = PublishedFile(
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)
LINEAR = PublishedFile(
    "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth",
    "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
)

_UNUSED = "classifier.*"
"""Names of VGG-16's tensors that turn features into classes."""


class PerceptualDistance(nn.Module):
    """The perceptual distance LPIPS: weighted squared differences of normalised VGG-16 features. Frozen.

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
        self.register_buffer("shift", torch.tensor(SHIFT, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE, dtype=torch.float32).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, images_B3HW: Tensor, references_B3HW: Tensor) -> Tensor:
        """Compute distances, at least 0; only the first images get a gradient.

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
        """Compute features at the end of each stage, of unit length over channels: B x C x h x w, float32."""
        x = (x_B3HW - self.shift) / self.scale
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                yield F.normalize(x.float(), dim=1, eps=NORM_EPS)
            x = layer(x)
        yield F.normalize(x.float(), dim=1, eps=NORM_EPS)


def load_perceptual_distance(source: str | Path, setting: str) -> PerceptualDistance:
    """Load LPIPS with its published weights, in float32 on the CPU.

    Args:
        source: a folder that holds ``vgg16-397923af`` and ``vgg``, each as ``.safetensors`` or ``.pth``, with the
            published tensor names; used as it is. Empty for the publishers' own files, which are downloaded once, into
            the user's cache folder of the Hugging Face libraries, and checked by hash.
        setting: where users say what to load; errors name it.

    Raises:
        DARError: if a file is missing and cannot be downloaded, is not the published one, is damaged, or holds other
            tensors.
    """
    remedy = f"put {VGG.name} and {LINEAR.name} into a folder and give it as {setting}"
    vgg, linear = (locate(file, source, "perceptual", remedy) for file in (VGG, LINEAR))
    tensors = read_tensors(vgg, _vgg_layout(), _UNUSED, remedy)
    tensors |= read_tensors(linear, _linear_layout(), _UNUSED, remedy)
    for name in _linear_layout():
        if not (tensors[name] >= 0).all():
            raise DARError(f"{linear} has weights in {name} that are negative or no numbers: {remedy}")
    return PerceptualDistance(tensors)


def _convolutions() -> nn.Sequential:
    """Make VGG-16 up to the end of its last stage, numbered as its tensors are."""
    layers: list[nn.Module] = []
    width = 3
    for stage in STAGES:
        for out in stage:
            layers += [nn.Conv2d(width, out, 3, padding=1), nn.ReLU()]
            width = out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:-1])


def _vgg_layout() -> dict[str, tuple[int, ...]]:
    """List names and shapes of the convolutions' tensors."""
    with torch.device("meta"):
        return {f"features.{name}": tuple(tensor.shape) for name, tensor in _convolutions().state_dict().items()}


def _linear_layout() -> dict[str, tuple[int, ...]]:
    """List names and shapes of the weights of channels, one tensor a stage."""
    return {f"lin{i}.model.1.weight": (1, stage[-1], 1, 1) for i, stage in enumerate(STAGES)}
