"""A small image classifier, whose features and classes compare models of small images on one machine."""

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dar.features.extractor import Features, check_images, full_precision
from dar.fields import MAX_SIZE, check_sizes, is_whole, lists_to_tuples, require_names, require_one_of
from dar.files import CONFIG
from dar.hub import HubModel
from dar.storage import weights_hash

ARCHITECTURES = ("strided", "pooled", "mixer")

MIXER_KERNEL = 5

BUNDLED = "cifar10"
"""Name of the classifier that the package brings along, and of a reference as it sees it."""

CARD_TEMPLATE = """---
{{ card_data }}
---

An image classifier of the D-AR package, used as a feature extractor. `dar.features.classifier.load_classifier` loads
this folder.
"""


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """Sizes and classes of a classifier.

    Attributes:
        name: of the data that it was trained on, such as "cifar10".
        class_names: one name a class, in the order of the class indices.
        image_size: height and width, in pixels, that images are brought to.
        architecture: how stages halve the image and what follows: "strided" (a convolution of stride 2, then residual
            convolutions), "pooled" (a convolution and pooling, then the same), or "mixer" (patches of 2 x 2, then
            depthwise and pointwise convolutions in turn, arXiv 2201.09792).
        widths: channels of the stages, each of which halves the image; the last is the width of the features.
        depth: residual blocks of a stage, after it has halved the image.

    Raises:
        ValueError: at construction, naming the value that cannot be.
    """

    name: str
    class_names: tuple[str, ...]
    image_size: int = 32
    architecture: str = "strided"
    widths: tuple[int, ...] = (64, 128, 256)
    depth: int = 1

    def __post_init__(self) -> None:
        lists_to_tuples(self)
        check_sizes(self)
        if not self.name:
            raise ValueError("name must not be empty")
        require_names(self, "class_names", 2)
        require_one_of(self, "architecture", *ARCHITECTURES)
        if not isinstance(self.widths, tuple) or not self.widths:
            raise ValueError(f"widths must be a list of at least one width, not {self.widths!r}")
        if not all(is_whole(width) and 0 < width <= MAX_SIZE for width in self.widths):
            raise ValueError(f"widths must be whole numbers from 1 to {MAX_SIZE}, not {self.widths!r}")
        if self.image_size < 2 ** len(self.widths):
            raise ValueError(f"image_size {self.image_size} is too small to be halved by {len(self.widths)} stages")


class ImageClassifier(nn.Module, HubModel, library_name="dar", model_card_template=CARD_TEMPLATE):
    """A residual convolutional network with batch normalisation; an ``Extractor`` once it is in evaluation mode.

    Args:
        config: sizes and classes.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        for channels, width in pairwise((3, *config.widths)):
            layers += _STAGES[config.architecture](channels, width, config.depth)
        self.stages = nn.Sequential(*layers)
        self.head = nn.Linear(config.widths[-1], len(config.class_names))

    def forward(self, images_B3HW: Tensor) -> Features:
        """Compute features (pooled: averages of the last stage's activations, which are at least 0) and class logits.

        Images that are not image_size x image_size are scaled to that, whatever their shape: bicubic, antialiased.
        In evaluation mode it computes in float32 and without gradients, and images do not depend on what else is in
        their batch.

        Args:
            images_B3HW: uint8.

        Raises:
            DARError: if these are no such images.
        """
        check_images(images_B3HW)
        if self.training:
            return self._features(images_B3HW)
        with torch.no_grad(), full_precision(self.head.weight.device):
            return self._features(images_B3HW)

    def _features(self, images_B3HW: Tensor) -> Features:
        weight = self.head.weight
        pixels = _scaled(images_B3HW.to(weight.device), self.config.image_size).to(weight.dtype) / 127.5 - 1
        pooled = self.stages(pixels.contiguous(memory_format=torch.channels_last)).mean((2, 3))
        return Features(pooled=pooled.float(), logits=self.head(pooled).float())

    def stage_features(self, pixels_B3HW: Tensor) -> list[Tensor]:
        """Compute activations at the end of each stage, with gradients.

        Args:
            pixels_B3HW: in [-1, 1] or a little beyond, H = W = ``config.image_size``.

        Returns:
            One B x C x h x w for each of the ``config.widths``.
        """
        x, found = pixels_B3HW.contiguous(memory_format=torch.channels_last), []
        length = len(self.stages) // len(self.config.widths)
        for i, layer in enumerate(self.stages, start=1):
            x = layer(x)
            if i % length == 0:
                found.append(x)
        return found

    @property
    def name(self) -> str:
        """Name of its feature space in reports."""
        return f"classifier:{self.config.name}"

    @property
    def hash(self) -> str:
        """SHA-256 of its weights and configuration, whose image size changes what the same weights see."""
        content = asdict(self.config)
        if content["architecture"] == ARCHITECTURES[0]:
            del content["architecture"]  # references made before there were others name classifiers so
        config = json.dumps(content, sort_keys=True)
        return hashlib.sha256(f"{weights_hash(self)} {config}".encode()).hexdigest()

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a logit."""
        return self.config.class_names


def load_classifier(source: str | Path) -> ImageClassifier:
    """Load a trained classifier, frozen and in float32.

    Args:
        source: a folder; "cifar10" for the one that the package brings along; or a Hub id. In this order.

    Raises:
        DARError: if there is none, or its files are damaged or do not fit each other.
    """
    is_folder = (Path(source) / CONFIG).is_file()
    folder = bundled_folder() if str(source) == BUNDLED and not is_folder else source
    classifier: ImageClassifier = ImageClassifier.from_pretrained(folder)
    return classifier.requires_grad_(False)


def bundled_folder() -> Path:
    """Find the folder of the classifier that the package brings along."""
    return Path(str(files("dar") / "classifiers" / BUNDLED))


def _strided_stage(channels: int, width: int, depth: int) -> list[nn.Module]:
    kernel = 4 if channels == 3 else 3  # at stride 2, a kernel of 3 would look at some pixels more often than at others
    halving = _Convolution(channels, width, kernel, stride=2)
    return [halving, *(_Residual(_Convolution(width, width, 3)) for _ in range(depth))]


def _pooled_stage(channels: int, width: int, depth: int) -> list[nn.Module]:
    halving = nn.Sequential(_Convolution(channels, width, 3), nn.MaxPool2d(2))
    return [halving, *(_Residual(_Convolution(width, width, 3)) for _ in range(depth))]


def _mixer_stage(channels: int, width: int, depth: int) -> list[nn.Module]:
    def activated(convolution: nn.Module) -> nn.Sequential:
        return nn.Sequential(convolution, nn.GELU(), nn.BatchNorm2d(width))

    def block() -> nn.Sequential:
        depthwise = activated(nn.Conv2d(width, width, MIXER_KERNEL, padding=MIXER_KERNEL // 2, groups=width))
        return nn.Sequential(_Residual(depthwise), activated(nn.Conv2d(width, width, 1)))

    return [activated(nn.Conv2d(channels, width, 2, stride=2)), *(block() for _ in range(depth))]


_STAGES = {"strided": _strided_stage, "pooled": _pooled_stage, "mixer": _mixer_stage}


class _Convolution(nn.Sequential):
    """Convolution, batch normalisation and ReLU."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int = 1) -> None:
        convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=1, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(width), nn.ReLU())


class _Residual(nn.Module):
    """A residual block: x + f(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.inner(x_BCHW)


def _scaled(images_B3HW: Tensor, size: int) -> Tensor:
    """Scale images to float32 in [0, 255], size x size."""
    pixels = images_B3HW.float()
    if pixels.shape[2:] == (size, size):
        return pixels
    return F.interpolate(pixels, (size, size), mode="bicubic", antialias=True).clamp(0, 255)
