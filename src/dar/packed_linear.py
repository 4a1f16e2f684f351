"""Matrix products with weights that oneDNN has packed: up to four times as fast on CPUs for a few rows.

For few rows, PyTorch's own product reads weights at a quarter to a half of the speed of memory; for many, it takes up
to half as long again. The packed copy takes as much memory again. Where there is no such packing, as on GPUs or for
float16 on most CPUs, the plain product is taken, and for small layers too.
"""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

T = TypeVar("T")

SMALL_WEIGHT = 2**17
SMALL_PRODUCT = 2**23
"""Numbers of a weight, and multiplications, below both of which the packed product's call costs more than it saves."""

PROBED_BYTES = 32
"""At each of the places of a weight that are compared."""


@dataclass(frozen=True)
class PackedWeight:
    """A weight matrix, packed where that is possible.

    Attributes:
        weight: out x in, packed or plain.
        is_packed: whether oneDNN has packed it.
    """

    weight: Tensor
    is_packed: bool

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Multiply: ... x in -> ... x out."""
        if not self.is_packed:
            return F.linear(x, self.weight, bias)
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, bias, "none", [], "")

    def product_added(self, x: Tensor, other: Tensor) -> Tensor:
        """Multiply, and add another tensor of the result's shape."""
        if not self.is_packed:
            return other + F.linear(x, self.weight)
        return torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, None, "add")


def pack(weight: Tensor) -> PackedWeight:
    """Pack a weight matrix, out x in, for products without gradients."""
    weight = weight.detach()
    if type(weight) is not Tensor or weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return PackedWeight(weight, is_packed=False)
    try:
        return PackedWeight(torch.ops.mkldnn._reorder_linear_weight(weight), is_packed=True)
    except (RuntimeError, AttributeError):  # a dtype that this CPU lacks, or another release of torch
        return PackedWeight(weight, is_packed=False)


class KeptPacking:
    """Keeps what was packed until a weight changes; copies of it begin empty."""

    def __init__(self) -> None:
        self._state: tuple[Any, ...] | None = None
        self._made: Any = None

    def of(self, weights: Iterable[Tensor], make: Callable[[], T], *, made_of: object = None) -> T:
        """Return what ``make`` makes of weights and ``made_of``, made anew only when one of them has changed."""
        own = [getattr(weight, "_local_tensor", weight) for weight in weights]  # of a sharded one, this process's part
        state = made_of, *map(_state, own)
        if state != self._state:
            self._made, self._state = make(), state
        return cast(T, self._made)

    def __deepcopy__(self, memo: dict[int, Any]) -> "KeptPacking":
        return KeptPacking()

    def __reduce__(self) -> tuple[type["KeptPacking"], tuple[()]]:
        return KeptPacking, ()


def _state(weight: Tensor) -> tuple[object, ...]:
    """Tell a weight from what it was before it changed.

    PyTorch counts most changes. Those of fused optimizers, of ``.data`` and in inference mode show in the numbers only,
    a few of which are compared: a change of other numbers alone is not noticed there.
    """
    version = None if weight.is_inference() else weight._version
    return weight.data_ptr(), version, weight.dtype, _probe(weight)


def _probe(weight: Tensor) -> tuple[bytes, ...]:
    """Read numbers at the start, in the middle and at the end; nothing where they aren't in this process's memory."""
    if type(weight) not in (Tensor, nn.Parameter) or not weight.is_cpu or not weight.is_contiguous():
        return ()
    start, total = weight.data_ptr(), weight.nbytes
    size = min(PROBED_BYTES, total)
    return tuple([ctypes.string_at(start + offset, size) for offset in (0, (total - size) // 2, total - size)])


class Linear(nn.Linear):
    """``nn.Linear`` with the same weights and results, to rounding; they are packed where that pays.

    Never where gradients are wanted, nor in training mode, since they change with each step.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self._packing = KeptPacking()

    def forward(self, x: Tensor) -> Tensor:
        """Multiply: ... x in -> ... x out."""
        if not self.packs(x):
            return super().forward(x)
        return self._packing.of([self.weight], lambda: pack(self.weight)).product(x, self.bias)

    def packs(self, x: Tensor) -> bool:
        """Tell whether a packed weight is to multiply this input."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return False
        return self.weight.numel() >= SMALL_WEIGHT or x.numel() * self.out_features >= SMALL_PRODUCT


def products(layers: Sequence[Linear], x: Tensor, packing: KeptPacking) -> tuple[Tensor, ...]:
    """Multiply an input by several layers with biases: in one product where their weights are packed.

    Args:
        layers: that take this input.
        x: ... x in.
        packing: keeps the packed weights of these layers.

    Returns:
        ... x out, one for each layer.
    """
    if not layers[0].packs(x):
        return tuple([layer(x) for layer in layers])
    weights: list[Tensor] = [layer.weight for layer in layers]
    biases: list[Tensor] = [layer.bias for layer in layers]
    weight, bias = packing.of([*weights, *biases], lambda: (pack(torch.cat(weights)), torch.cat(biases).detach()))
    return weight.product(x, bias).split([len(each) for each in weights], dim=-1)
