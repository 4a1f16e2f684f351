"""Meaning of a name: something on this machine, something of the package, or a repository of the Hub.

The order is the same for models, tokenizers, extractors and data: what is here comes first, then a name of the
package, then the Hub. What looks like a path is never searched on the Hub.
"""

import os
from pathlib import Path
from typing import Literal

from dar.errors import DARError, quoted
from dar.files import is_there

Kind = Literal["model", "dataset"]

HUB_SECONDS = 3.0
"""Time that the Hub may take to say whether it has something."""

_ENDINGS = (
    *(".parquet", ".tar", ".zip", ".gz", ".tgz", ".npz", ".safetensors", ".pt", ".pth", ".ckpt"),
    *(".csv", ".json", ".jsonl", ".txt", ".yaml", ".yml"),
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
)
"""Endings that make a name a path; names on the Hub have dots too, but other endings."""


def looks_like_path(source: str | Path) -> bool:
    """Tell whether a name can only be meant as a path.

    It is if it begins with ``/``, ``./``, ``../`` or ``~``, ends in ``/`` or in a data file's ending, has two slashes
    or more, or if its first part is here.
    """
    text = str(source)
    return (
        isinstance(source, Path)
        or text in (".", "..")
        or text.startswith(("/", "./", "../", "~"))
        or text.endswith("/")
        or Path(text).suffix.lower() in _ENDINGS
        or text.count("/") >= 2
        or is_there(Path(text.split("/")[0]))
    )


def here(source: str | Path, what: str, remedy: str = "check the path") -> Path | None:
    """Find the path that a name stands for; None for what can only be a name of the package or on the Hub.

    Args:
        source: the name.
        what: it should be, such as "model", for errors.
        remedy: what errors ask the user to do.

    Raises:
        DARError: if it looks like a path, and there is nothing at it.
    """
    text = str(source)
    path = Path(text).expanduser() if text.startswith("~") else Path(text)
    if text and is_there(path):
        return path
    if not text or looks_like_path(source):
        raise DARError(f"there is no {what} at {quoted(text) or 'an empty path'}: {remedy}")
    return None


def on_hub(name: str, kind: Kind, what: str, remedy: str = "check the name") -> bool:
    """Ask the Hub, once and briefly, whether it has something.

    Args:
        name: the id.
        kind: of repository.
        what: it should be, for errors.
        remedy: what errors ask the user to do.

    Returns:
        True if it has, False if it cannot be reached, so that only what was downloaded earlier can be had.

    Raises:
        DARError: if it has no such thing, or the name cannot be one of the Hub's.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    missing = f"there is no {what} {quoted(name)}: neither here nor on the Hub: {remedy}"
    try:
        validate_repo_id(name)
        if constants.HF_HUB_OFFLINE:
            return False
        HfApi().repo_info(name, repo_type=kind, timeout=HUB_SECONDS)
    except HFValidationError:
        raise DARError(missing) from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 500)
        if status in (401, 403, 404):
            raise DARError(missing + (", or log in with `hf auth login`" if status != 404 else "")) from None
        return False
    except Exception:  # whatever its client's network raises
        return False
    return True


def check_on_hub(name: str, kind: Kind, what: str) -> None:
    """Make sure that the Hub has something or, where it cannot be reached, that some of it was kept here earlier.

    Raises:
        DARError: if neither is so.
    """
    if not on_hub(name, kind, what) and not _is_kept(name):
        raise unreachable(name, what)


def _is_kept(name: str) -> bool:
    """Tell whether the caches have a folder for an id; each library writes names in a way of its own."""
    from huggingface_hub import constants

    datasets_cache = os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME, "datasets")
    folders = (folder for cache in (constants.HF_HUB_CACHE, datasets_cache) for folder in Path(cache).glob("*"))
    return any(_letters(folder.name).endswith(_letters(name)) for folder in folders)


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def unreachable(name: str, what: str) -> DARError:
    """Explain that something is not on this machine while the Hub cannot be reached."""
    return DARError(
        f"there is no {what} {quoted(name)} here, and the Hub cannot be reached to look for it: check the name or path"
    )
