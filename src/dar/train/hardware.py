"""Speed and memory of hardware: this machine's, measured, or another's, as published."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dar.errors import DARError, quoted


@dataclass(frozen=True)
class GPU:
    """Specifications that a maker publishes of a GPU.

    Attributes:
        title: what it is called.
        memory_gb: of the GPU, 10^9 bytes.
        bf16_tflops: dense matrix products in bfloat16 that add up in float32, 10^12 operations a second; None where it
            has no bfloat16.
        fp32_tflops: in float32, without TensorFloat-32, which PyTorch does not use by default.
    """

    title: str
    memory_gb: float
    bf16_tflops: float | None
    fp32_tflops: float


GPUS: Mapping[str, GPU] = MappingProxyType(
    {
        # NVIDIA H200 and H100 data sheets, SXM; "with sparsity" halved.
        "h200": GPU("H200", 141, 989.5, 67),
        "h100": GPU("H100", 80, 989.5, 67),
        # NVIDIA A100 data sheet.
        "a100-80": GPU("A100 (80 GB)", 80, 312, 19.5),
        "a100-40": GPU("A100 (40 GB)", 40, 312, 19.5),
        # NVIDIA L40S, L4 and T4 data sheets; "with sparsity" halved.
        "l40s": GPU("L40S", 48, 362, 91.6),
        "l4": GPU("L4", 24, 121, 30.3),
        "t4": GPU("T4", 16, None, 8.1),
        # NVIDIA V100 data sheet, SXM2.
        "v100": GPU("V100", 32, None, 15.7),
        # NVIDIA Ada and GA102 architecture white papers, products that add up in float32.
        "rtx4090": GPU("GeForce RTX 4090", 24, 165.2, 82.6),
        "rtx3090": GPU("GeForce RTX 3090", 24, 71, 35.6),
    }
)
"""By the names that ``--on`` takes."""


@dataclass(frozen=True)
class Hardware:
    """Hardware that a training is to run on.

    Attributes:
        name: in words, of one process's device.
        processes: how many compute together, each on a device of its own.
        rate: matrix products of one, operations a second, in the dtype that the training computes in.
        memory: of one, bytes.
        bf16: whether the training computes in bfloat16 there.
        is_measured: whether the rate was measured, rather than published.
    """

    name: str
    processes: int
    rate: float
    memory: float
    bf16: bool
    is_measured: bool


def published(text: str, precision: str) -> Hardware:
    """Look up hardware by its published specifications.

    Args:
        text: such as "h100", or "h100x8" for eight.
        precision: of the training, see ``TrainingRecipe``.

    Raises:
        DARError: for hardware that is not in ``GPUS``, or has no bfloat16 where that is wanted.
    """
    name, count = split_name(text)
    gpu = GPUS[name]
    if precision == "bf16" and gpu.bf16_tflops is None:
        raise DARError(f"the {gpu.title} has no bfloat16: leave precision=auto, or choose precision=fp32")
    bf16 = precision != "fp32" and gpu.bf16_tflops is not None
    tflops = gpu.bf16_tflops if bf16 and gpu.bf16_tflops else gpu.fp32_tflops
    return Hardware(gpu.title, count, 1e12 * tflops, 1e9 * gpu.memory_gb, bf16, is_measured=False)


def split_name(text: str) -> tuple[str, int]:
    """Split "h100x8" into a key of ``GPUS`` and a count.

    Raises:
        DARError: for what is none of them, with the nearest.
    """
    name, count = text.strip().lower(), 1
    if name not in GPUS and (match := re.fullmatch(r"(.+)x([0-9]{1,5})", name)):
        name, count = match[1], int(match[2])
    if name in GPUS and count:
        return name, count
    near = [key for key in GPUS if name and key.startswith(name)] or difflib.get_close_matches(name, GPUS, n=2)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise DARError(
        f"there are no figures of {quoted(text)!r}: {hint}choose one of {', '.join(GPUS)}, with x and how many after it"
    )


def this_machine(processes: int, precision: str) -> Hardware:
    """Describe this process's device; its matrix products are measured for a second."""
    import torch

    from dar.device import use_bf16
    from dar.train.estimate import matrix_rate

    bf16 = use_bf16(precision)
    dtype = torch.bfloat16 if bf16 else torch.float32
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        name, device, memory = properties.name, torch.device("cuda"), float(properties.total_memory)
    else:
        name, device = "this machine", torch.device("cpu")
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / here
    return Hardware(name, processes, matrix_rate(device, dtype), memory, bf16, is_measured=True)
