"""Packages beyond the core that a job needs."""

from importlib.util import find_spec

from dar.errors import DARError

EXTRAS = {
    "data": ("datasets",),
    "train": ("accelerate", "datasets", "matplotlib", "yaml"),
    "evaluate": ("datasets", "matplotlib"),
}
"""Modules by the extra that installs them."""


def require_extra(extra: str) -> None:
    """Check that the packages of an extra are installed.

    Raises:
        DARError: naming those that are missing, and the remedy.
    """
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise DARError(f"this needs {', '.join(missing)}: pip install -c constraints.txt -e '.[{extra}]'")
