"""How much memory a device has left, as the operating system or the driver tells."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

_SYSTEM = Path("/")


def free_memory(device: torch.device) -> int:
    """Bytes that this process can still allocate on a device, its own unused reserve on a GPU included."""
    if device.type == "cuda" and torch.cuda.is_available():  # fake tensors may claim to be on one
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_ram()


def free_ram(system: Path = _SYSTEM) -> int:
    """Bytes of RAM that this process can still allocate: what the system has, or its control groups (containers) allow.

    Args:
        system: root of the file system with ``proc`` and ``sys``.
    """
    return min(_available(system / "proc" / "meminfo"), *_left_in_groups(system))


def _available(meminfo: Path) -> int:
    """Bytes that the system can give without swapping; all that there are, where it tells no more."""
    try:
        lines = meminfo.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_in_groups(system: Path) -> Iterator[int]:
    """Bytes that each control group of this process leaves it; a huge number for those without a limit."""
    yield 2**62
    try:
        lines = (system / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2 of the interface
            names, root = ("memory.max", "memory.current", "inactive_file"), system / "sys/fs/cgroup"
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            root = system / "sys/fs/cgroup/memory"
        else:
            continue
        own = root / path.strip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(root):
                yield from _left(group, *names)


def _left(group: Path, limit: str, used: str, reclaimable: str) -> Iterator[int]:
    """Bytes below one group's limit, what it caches of files taken as free; nothing where it has none."""
    try:
        most, now = int((group / limit).read_text()), int((group / used).read_text())
        facts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        yield max(0, most - now + int(facts.get(reclaimable, 0)))
    except (OSError, ValueError):  # "max", or a container that shows its own group only at the root
        return
