"""Inception v3 of December 2015, in whose features published FIDs are measured.

Computes what the ADM evaluation suite (arXiv 2105.05233) lets TensorFlow compute from ``classify_image_graph_def.pb``,
including how that resizes images. The weights are the graph's own, under the names of the well-known conversion.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dar.features.extractor import Features, check_images, full_precision
from dar.features.inception_blocks import BlockA, BlockB, BlockC, BlockD, BlockE, Convolution, shrink
from dar.features.published import PublishedFile, locate, read_tensors
from dar.storage import weights_hash

INPUT_SIDE = 299
"""Side of the network's input, in pixels."""

NUM_LOGITS = 1008
"""Outputs of the graph, a few more than ImageNet's 1000 classes; no mapping to names is published with it."""

SPATIAL_CHANNELS = 7
"""Channels of ``mixed_6/conv`` that sFID looks at (arXiv 2103.03841)."""

# The name holds the first 8 digits of the hash, as its publishers check it; the rest is what users of the file state.
WEIGHTS_2015 = PublishedFile(
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    aliases=("pt_inception-2015-12-05-6726825d.pth",),
)
REMEDY = f"give {WEIGHTS_2015.name}, or a folder with it, as Inception's weights"

_UNUSED = "*.bn.num_batches_tracked"
"""Names of counters of training steps, which features do not depend on."""


class _Layers(nn.Module):
    """The network, named as its tensors are."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2, padding=0)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, padding=0)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, padding=0)
        self.Mixed_5b = BlockA(192, pooled=32)
        self.Mixed_5c = BlockA(256, pooled=64)
        self.Mixed_5d = BlockA(288, pooled=64)
        self.Mixed_6a = BlockB()
        self.Mixed_6b = BlockC(128)
        self.Mixed_6c = BlockC(160)
        self.Mixed_6d = BlockC(160)
        self.Mixed_6e = BlockC(192)
        self.Mixed_7a = BlockD()
        self.Mixed_7b = BlockE(1280)
        self.Mixed_7c = BlockE(2048, is_last=True)
        self.fc = nn.Linear(2048, NUM_LOGITS)


class Inception(_Layers):
    """The extractor of FID, sFID and Inception Score; satisfies ``Extractor``. Frozen, float32 whatever autocast says.

    Args:
        tensors: by published name, such as ``Mixed_5b.branch1x1.conv.weight``; ``load_inception`` reads them.
    """

    name = "inception-2015"
    class_names: tuple[str, ...] = ()

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.device("meta"):  # the weights are given, none is drawn
            super().__init__()
        self.load_state_dict(tensors, assign=True)
        self.requires_grad_(False).eval()
        self.hash = weights_hash(self)

    @torch.no_grad()
    def forward(self, images_B3HW: Tensor) -> Features:
        """Compute pooled and spatial features and logits of images.

        Args:
            images_B3HW: uint8, of any size.

        Returns:
            ``pooled``, B x 2048: the node ``pool_3``. ``spatial``, B x 2023: the first 7 channels of ``mixed_6/conv``,
            by row, column and channel. ``logits``, B x 1008: ``pooled`` times the classifier's weights, without bias.

        Raises:
            DARError: if these are no such images.
        """
        check_images(images_B3HW)
        device = self.fc.weight.device
        with full_precision(device):
            x = (resize(images_B3HW.to(device).float()) - 128) / 128
            x = shrink(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
            x = shrink(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
            x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
            x = self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x))))
            spatial = x[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)  # branch1x1, mixed_6/conv, comes first
            pooled = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(self.Mixed_6e(x)))).mean((2, 3))
            return Features(pooled, spatial, pooled @ self.fc.weight.T)


def load_inception(source: str | Path = "", device: str | torch.device = "cpu") -> Inception:
    """Load Inception with its published weights.

    Args:
        source: the published file, as ``.pth`` or ``.safetensors`` with the same tensor names, or a folder that holds
            it under its name; used as it is. Empty for the publisher's own, which is downloaded once, into the user's
            cache folder of the Hugging Face libraries, and checked by hash.
        device: where it computes.

    Raises:
        DARError: if the file is missing and cannot be downloaded, is not the published one, is damaged, or holds other
            tensors.
    """
    path = Path(source)
    if not str(source) or not path.is_file():
        path = locate(WEIGHTS_2015, source, "inception", REMEDY)
    with torch.device("meta"):
        layout = {name: tuple(tensor.shape) for name, tensor in _Layers().state_dict().items()}
    return Inception(read_tensors(path, layout, _UNUSED, REMEDY)).to(device)


def resize(images_BCHW: Tensor, size: int = INPUT_SIDE) -> Tensor:
    """Resize bilinearly as TensorFlow 1 does, without aligned corners or half-pixel centres; float32.

    Pixel i of the result lies at i * (H / size) of the image, where its two neighbours are mixed, or the last is
    repeated: left and up by up to half a pixel from where others put it, and no average over more where it shrinks.
    """
    return _mix_neighbours(_mix_neighbours(images_BCHW, 3, size), 2, size)  # columns first, as there


def _mix_neighbours(x: Tensor, dim: int, size: int) -> Tensor:
    length = x.shape[dim]
    places = torch.arange(size, device=x.device, dtype=torch.float32) * torch.tensor(length / size, device=x.device)
    lower = places.floor().long()
    upper = (lower + 1).clamp(max=length - 1)
    weight = (places - lower).view([-1 if d == dim else 1 for d in range(x.dim())])
    before, after = x.index_select(dim, lower), x.index_select(dim, upper)
    return before + (after - before) * weight
