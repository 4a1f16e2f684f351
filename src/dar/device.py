"""Device and dtype of models."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dar.dtypes import DTYPES, checked_dtype, plain_name
from dar.errors import DARError, quoted

Device = str | int | torch.device
"""A device of torch or its name in any case, such as "cuda", "cuda:1" or "cpu"; a number is that of a GPU."""


def as_device(device: Device) -> torch.device:
    """Look up a device by its name.

    Raises:
        DARError: if nothing can be computed there.
    """
    try:
        found = torch.device(device.strip().lower() if isinstance(device, str) else device)
        torch.zeros(1, device=found).item()  # fails where values are not kept, too
    except (RuntimeError, AssertionError, TypeError, ImportError) as error:  # torch raises any, at length
        raise DARError(f"cannot compute on {quoted(device)} here: choose another device, such as cpu") from error
    return found


def as_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Look up a dtype by its name, such as "bfloat16" or "torch.bfloat16".

    Raises:
        DARError: if models cannot be loaded in it.
    """
    found: torch.dtype = getattr(torch, checked_dtype(dtype))
    return found


def placement(
    given: Sequence[Device | torch.dtype], device: Device | None, dtype: str | torch.dtype | None
) -> tuple[torch.device | None, torch.dtype | None]:
    """Read device and dtype from the arguments of a ``to``: in any order, or by keyword; None if not given.

    Raises:
        DARError: if none is given, one is given twice, or there is no such device or dtype.
    """
    dtypes = [one for one in given if isinstance(one, torch.dtype) or _names_dtype(one)]
    devices = [one for one in given if one not in dtypes]
    dtypes += [] if dtype is None else [dtype]
    devices += [] if device is None else [device]
    if len(dtypes) > 1 or len(devices) > 1 or not dtypes + devices:
        listing = ", ".join(map(str, [*devices, *dtypes])) or "nothing"
        raise DARError(f"a model moves to one device, one dtype, or both, not to {quoted(listing)}")
    return (
        as_device(devices[0]) if devices else None,  # type: ignore[arg-type]
        as_dtype(dtypes[0]) if dtypes else None,  # type: ignore[arg-type]
    )


def convert_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Convert a model's saved weights to a dtype; tables that follow from its sizes, such as angles, stay float32."""
    for tensor in model.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)


def full_tensor(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor, in all processes together; return any other as it is."""
    gather: Callable[[], Tensor] | None = getattr(tensor, "full_tensor", None)  # of a DTensor
    return tensor if gather is None else gather()


def _names_dtype(name: object) -> bool:
    return isinstance(name, str) and plain_name(name) in DTYPES


def use_bf16(precision: str) -> bool:
    """Decide whether to compute in bfloat16; "auto" means where the hardware has it."""
    if precision == "auto":
        if torch.cuda.is_available():
            return torch.cuda.is_bf16_supported(including_emulation=False)
        return bool(torch.cpu._is_avx512_bf16_supported())
    return precision == "bf16"
