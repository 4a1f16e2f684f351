"""Blocks of Inception v3 (arXiv 1512.00567) as the network of December 2015 has them, under their well-known names.

Letters A to E name the kinds of block in the order of their depth. Average pools leave the padding out of their means.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPS = 1e-3

Kernel = int | tuple[int, int]


class _Norm(nn.Module):
    """Normalisation of a convolution's output, as published."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))
        self.register_buffer("running_mean", torch.empty(width))
        self.register_buffer("running_var", torch.empty(width))


class Convolution(nn.Module):
    """A convolution, normalised and rectified: B x ``inward`` x H x W -> B x ``out`` x h x w.

    Args:
        inward: channels of its input.
        out: channels of its output.
        kernel: side, or height and width.
        stride: of its steps; with 1 the image keeps its size.
        padding: zeros around the image, given where it does not keep its size.
    """

    def __init__(self, inward: int, out: int, kernel: Kernel, stride: int = 1, padding: int | str = "same") -> None:
        super().__init__()
        self.conv = nn.Conv2d(inward, out, kernel, stride, padding, bias=False)
        self.bn = _Norm(out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Scale the kernel rather than the many pixels: the same to rounding, and faster."""
        scale = self.bn.weight * (self.bn.running_var + NORM_EPS).rsqrt()
        kernel, bias = self.conv.weight * scale.view(-1, 1, 1, 1), self.bn.bias - self.bn.running_mean * scale
        return F.relu(F.conv2d(x_BCHW, kernel, bias, self.conv.stride, self.conv.padding))


def average_pool(x_BCHW: Tensor) -> Tensor:
    """Average each pixel and its neighbours, fewer of them at the border."""
    return F.avg_pool2d(x_BCHW, 3, stride=1, padding=1, count_include_pad=False)


def max_pool(x_BCHW: Tensor) -> Tensor:
    """Take the largest of each pixel and its neighbours."""
    return F.max_pool2d(x_BCHW, 3, stride=1, padding=1)


def shrink(x_BCHW: Tensor) -> Tensor:
    """Take the largest of 3 x 3 pixels, half as many in each direction."""
    return F.max_pool2d(x_BCHW, 3, stride=2)


class BlockA(nn.Module):
    """On 35 x 35 pixels: B x ``inward`` -> B x (224 + ``pooled``) channels."""

    def __init__(self, inward: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inward, 64, 1)
        self.branch5x5_1 = Convolution(inward, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5)
        self.branch3x3dbl_1 = Convolution(inward, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3)
        self.branch3x3dbl_3 = Convolution(96, 96, 3)
        self.branch_pool = Convolution(inward, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute all branches and concatenate their channels."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(average_pool(x))], dim=1)


class BlockB(nn.Module):
    """From 35 x 35 to 17 x 17 pixels: B x 288 -> B x 768 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3 = Convolution(288, 384, 3, stride=2, padding=0)
        self.branch3x3dbl_1 = Convolution(288, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """Compute all branches and concatenate their channels."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, shrink(x)], dim=1)


class BlockC(nn.Module):
    """On 17 x 17 pixels: B x 768 -> B x 768 channels; 7 x 7 convolutions are split into rows and columns.

    Args:
        width: channels between these.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(768, 192, 1)
        self.branch7x7_1 = Convolution(768, width, 1)
        self.branch7x7_2 = Convolution(width, width, (1, 7))
        self.branch7x7_3 = Convolution(width, 192, (7, 1))
        self.branch7x7dbl_1 = Convolution(768, width, 1)
        self.branch7x7dbl_2 = Convolution(width, width, (7, 1))
        self.branch7x7dbl_3 = Convolution(width, width, (1, 7))
        self.branch7x7dbl_4 = Convolution(width, width, (7, 1))
        self.branch7x7dbl_5 = Convolution(width, 192, (1, 7))
        self.branch_pool = Convolution(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute all branches and concatenate their channels, ``branch1x1`` first."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(average_pool(x))], dim=1)


class BlockD(nn.Module):
    """From 17 x 17 to 8 x 8 pixels: B x 768 -> B x 1280 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(768, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2, padding=0)
        self.branch7x7x3_1 = Convolution(768, 192, 1)
        self.branch7x7x3_2 = Convolution(192, 192, (1, 7))
        self.branch7x7x3_3 = Convolution(192, 192, (7, 1))
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2, padding=0)

    def forward(self, x: Tensor) -> Tensor:
        """Compute all branches and concatenate their channels."""
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([three, seven, shrink(x)], dim=1)


class BlockE(nn.Module):
    """On 8 x 8 pixels: B x ``inward`` -> B x 2048 channels; two branches fork at their ends.

    Args:
        inward: channels of its input.
        is_last: whether it is the network's last block, whose pool takes largest values instead of means. So the
            graph of 2015 was exported; nobody meant it, but published figures are computed so.
    """

    def __init__(self, inward: int, is_last: bool = False) -> None:
        super().__init__()
        self.pool = max_pool if is_last else average_pool
        self.branch1x1 = Convolution(inward, 320, 1)
        self.branch3x3_1 = Convolution(inward, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, (1, 3))
        self.branch3x3_2b = Convolution(384, 384, (3, 1))
        self.branch3x3dbl_1 = Convolution(inward, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1))
        self.branch_pool = Convolution(inward, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute all branches and concatenate their channels."""
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        forks = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        forks += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *forks, self.branch_pool(self.pool(x))], dim=1)
