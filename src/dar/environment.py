"""The environment that results depend on: versions, revision, hardware."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("dar", "torch", "transformers", "accelerate", "datasets", "safetensors", "numpy")


def run_record() -> dict[str, Any]:
    """Record when, by what command and code, and on what machine this process runs."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "git_revision": git_revision(),
        "versions": versions(),
        "hardware": hardware(),
    }


def versions() -> dict[str, str]:
    """List the versions of Python and of packages that results depend on; empty where one is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def git_revision() -> str:
    """Find the commit that the package runs from, with a plus sign if files have changed; empty if none."""
    folder = Path(__file__).parent
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        return revision + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def hardware() -> dict[str, Any]:
    """Describe the machine, its cores, and its GPUs."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"machine": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count(), "gpus": gpus}


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
