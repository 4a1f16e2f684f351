"""Optional packages that a job needs."""

from collections.abc import Sequence
from importlib.util import find_spec

from dar.errors import DARError

EXTRAS = {
    "data": ("datasets",),
    "train": ("accelerate", "datasets", "matplotlib", "yaml"),
    "evaluate": ("datasets", "matplotlib"),
    "serve": ("fastapi", "uvicorn", "prometheus_client"),
}
"""Modules that each extra installs."""

TRACKERS = ("tensorboard", "wandb")
"""Services that a training's log may also go to."""


def require_extra(extra: str) -> None:
    """Check that the packages of an extra are installed.

    Raises:
        DARError: naming those that are missing, and the remedy.
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise DARError(f"this needs {', '.join(missing)}: pip install -c constraints.txt -e '.[{extra}]'")


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that trackers can be used.

    Raises:
        DARError: for an unknown name, or a package that is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise DARError(f"there is no tracker {name!r}: choose one of {', '.join(TRACKERS)}")
        if find_spec(name) is None:
            raise DARError(f"the tracker {name} is not installed: pip install -c constraints.txt {name}")
