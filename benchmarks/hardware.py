"""What the hardware gives, measured: bytes read a second, operations of matrix products a second, by type."""

import json
import platform
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import Spread, repeated, spread

Shape = tuple[int, int, int]

SHAPES: tuple[Shape, ...] = (
    (1024, 768, 3072),
    (1024, 3072, 768),
    (2048, 2048, 2048),
    (4096, 1024, 4096),
    (4096, 4096, 4096),
)
"""Rows, inner and outer width of the products: those of the v1 decoder's layers, and larger ones."""

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types whose matrix rate is measured; named here, since older commits run this too."""

ARRAYS = 4
CACHES = 8
"""What is read in turn is at least so many times as large as the last cache."""

LEAST_BYTES = 2**30

WAYS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "sum": torch.sum,
        "largest": torch.amax,
        "matrix times vector": lambda array: array.view(-1, 1024) @ array[:1024],
    }
)
"""Reductions that read an array once; which is the fastest differs between processors."""

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "amx_fp16")
_IN_HARDWARE: Mapping[str, tuple[str, ...]] = {
    "bfloat16": ("avx512_bf16", "amx_bf16", "bf16"),
    "float16": ("avx512_fp16", "amx_fp16", "asimdhp"),
}


@dataclass(frozen=True)
class Hardware:
    """Limits that were measured.

    Attributes:
        bandwidth: bytes read a second.
        rates: operations a second of matrix products, by the name of the type.
    """

    bandwidth: float
    rates: Mapping[str, float]

    def best(self, other: "Hardware") -> "Hardware":
        """What was measured to be most, of each limit."""
        rates = {name: max(rate, other.rates.get(name, rate)) for name, rate in self.rates.items()}
        return Hardware(max(self.bandwidth, other.bandwidth), rates)


def read_bandwidth(
    device: torch.device, budget: float, total: int | None = None, ways: Collection[str] = WAYS
) -> dict[str, Spread]:
    """Bytes read a second by reductions of several arrays in turn.

    Args:
        device: where they are.
        budget: seconds of runs of each reduction.
        total: bytes of all arrays; None means far more than the last cache holds.
        ways: which reductions.
    """
    total = max(LEAST_BYTES, CACHES * last_cache_bytes()) if total is None else total
    size = total // ARRAYS // 4096 * 1024  # numbers of 4 bytes, in rows of 1024
    arrays = [torch.ones(size, device=device) for _ in range(ARRAYS)]
    found = {}
    for name in ways:
        turn = cycle(arrays)
        runs = repeated(lambda of=WAYS[name], turn=turn: of(next(turn)), device, budget)  # type: ignore[misc]
        found[name] = spread([4 * size / run for run in runs])
    return found


def matrix_rates(device: torch.device, dtype: torch.dtype, budget: float, shapes: Sequence[Shape]) -> dict[str, Spread]:
    """Operations a second of products like a linear layer's, by shape."""
    found = {}
    for rows, inner, outer in shapes:
        x, weight = torch.randn(rows, inner, device=device), torch.randn(outer, inner, device=device)
        x, weight = x.to(dtype), weight.to(dtype)
        runs = repeated(lambda x=x, weight=weight: F.linear(x, weight), device, budget)  # type: ignore[misc]
        found[f"{rows} x {inner} x {outer}"] = spread([2 * rows * inner * outer / run for run in runs])
        if sum(runs) > 4 * budget:  # a type that the hardware lacks: larger shapes would take long
            break
    return found


def best(found: Mapping[str, Spread]) -> float:
    """The best median: what one way reaches in most of its runs."""
    return max(one["median"] for one in found.values())


def best_name(found: Mapping[str, Spread]) -> str:
    return max(found, key=lambda name: found[name]["median"])


def measured_floor(
    device: torch.device, budget: float, total: int | None = None, shapes: Sequence[Shape] = SHAPES
) -> dict[str, Any]:
    """Bandwidth by reduction, and rate by type and shape, each with its spread; arguments as above."""
    rates = {name: matrix_rates(device, dtype, budget, shapes) for name, dtype in TYPES.items()}
    return {"bandwidth": read_bandwidth(device, budget, total), "rates": rates}


def limits(floor: Mapping[str, Any]) -> Hardware:
    return Hardware(best(floor["bandwidth"]), {name: best(found) for name, found in floor["rates"].items()})


def last_cache_bytes() -> int:
    """Size of the CPU's largest cache; 0 where the system doesn't tell."""
    sizes = [path.read_text().strip() for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    units = {"K": 2**10, "M": 2**20}
    return max((int(size[:-1]) * units[size[-1]] for size in sizes if size[-1:] in units), default=0)


def processor() -> dict[str, Any]:
    """Name, caches and instructions of the CPU, as far as the system tells; threads that compute."""
    facts = _lscpu()
    flags = facts.get("Flags", "").split()
    return {
        "name": facts.get("Model name") or platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "last_cache_bytes": last_cache_bytes(),
        "instructions": [flag for flag in _FLAGS if flag in flags],
        "in_hardware": ["float32", *(name for name, some in _IN_HARDWARE.items() if set(some) & set(flags))],
    }


def _lscpu() -> dict[str, str]:
    try:
        result = subprocess.run(["lscpu", "--json"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return {}
    entries = json.loads(result.stdout)["lscpu"]
    return {one["field"].rstrip(":"): one["data"] for one in _flattened(entries)}


def _flattened(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some versions of lscpu nest their lines."""
    return [found for one in entries for found in (one, *_flattened(one.get("children", [])))]
