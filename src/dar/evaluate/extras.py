"""What evaluation needs beyond the core package."""

from importlib.util import find_spec

from dar.errors import DARError


def require_extras() -> None:
    """Check that the optional packages are installed.

    Raises:
        DARError: naming those that are missing, and the remedy.
    """
    missing = [name for name in ("datasets", "matplotlib") if find_spec(name) is None]
    if missing:
        raise DARError(f"evaluation needs {', '.join(missing)}: pip install -c constraints.txt -e '.[evaluate]'")
