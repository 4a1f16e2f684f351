"""Folders of models: their layout, and how a name leads to one."""

from importlib.resources import files
from pathlib import Path
from typing import TypedDict, Unpack

from dar.errors import DARError
from dar.files import CONFIG
from dar.locations import here, on_hub, unreachable

BUNDLED = "cifar10"
"""Name of the model that the package brings along."""

TOKENIZER, PRIOR = "tokenizer", "prior"
"""Subfolders of a model."""

RECIPE, FIGURES = "recipe.yaml", "figures.json"
"""Files that a model may hold beside them: how it was trained, and what was measured."""

MOST_RECIPE_BYTES = 2**18
"""Of a recipe; a longer file holds something else, and YAML is read slowly."""


class HubOptions(TypedDict, total=False):
    """Keywords of ``huggingface_hub.snapshot_download``, explained there.

    ``revision`` is a branch, a tag or a commit.
    """

    revision: str | None
    token: str | bool | None
    cache_dir: str | Path | None
    force_download: bool
    local_files_only: bool


def model_folder(source: str | Path | None, subfolder: str | None = None, **hub: Unpack[HubOptions]) -> Path:
    """Find or download the local folder of a model, or of a tokenizer or a prior alone.

    Args:
        source: a folder; "cifar10" or None for the model that the package brings along; or a Hub id, which is
            downloaded if need be. In this order.
        subfolder: a folder in it to give instead; of the Hub's files only those in it are then downloaded.
        **hub: see ``HubOptions``.

    Raises:
        DARError: if there is none of these, what is at a path is no model's folder, or a revision of a local folder is
            asked for.
    """
    folder = bundled_folder() if source is None else local_folder(source, subfolder)
    if folder is None:
        folder = _downloaded(str(source), subfolder, hub)
    elif hub.get("revision") is not None:
        raise DARError(f"{folder} is a folder here, which has no revisions: leave revision out, or give a Hub id")
    if subfolder and not (folder / subfolder).is_dir():
        raise DARError(f"{source or 'the bundled model'} has no folder {subfolder!r}")
    return folder / subfolder if subfolder else folder


def local_folder(source: str | Path, subfolder: str | None = None) -> Path | None:
    """Find a model's folder on this machine or in the package; None for what can only be on the Hub.

    What holds a ``subfolder`` need not be a model itself.

    Raises:
        DARError: if the name is a path's, and no model is there.
    """
    path = here(source, "model")
    if path is not None and (is_model(path) or (subfolder and path.is_dir())):
        return path
    if str(source) == BUNDLED:
        return bundled_folder()
    if path is None:
        return None
    if not path.is_dir():
        raise DARError(f"{path} is a file, not the folder of a model: give the folder that it is in")
    raise DARError(f"{path} is not the folder of a model: it holds neither {TOKENIZER}/ nor {PRIOR}/ nor {CONFIG}")


def bundled_folder() -> Path:
    """Find the folder of the model that the package brings along."""
    return Path(str(files("dar") / "models" / BUNDLED))


def check_whole(folder: Path) -> None:
    """Make sure that a model's folder has both parts.

    Raises:
        DARError: if it lacks one.
    """
    for part in (TOKENIZER, PRIOR):
        if not (folder / part).is_dir():
            raise DARError(f"{folder} is not a whole model: it has no folder {part!r}")


def is_model(folder: Path) -> bool:
    """Tell whether a folder holds a model, or a part of one."""
    return any((folder / name).exists() for name in (TOKENIZER, PRIOR, CONFIG))


def recipe_text(folder: Path) -> str | None:
    """Read how a model was trained, as it stands in its recipe; None where it has none."""
    path = folder / RECIPE
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(MOST_RECIPE_BYTES).decode("utf-8", errors="replace")


def part_folder(folder: Path, part: str) -> Path:
    """Find the folder of a model's tokenizer or prior; the folder itself, where that part was saved alone."""
    return folder / part if (folder / part).is_dir() else folder


def _downloaded(name: str, subfolder: str | None, hub: HubOptions) -> Path:
    from huggingface_hub import snapshot_download

    reachable = hub.get("local_files_only") is not True and on_hub(name, "model", "model")
    hub["local_files_only"] = not reachable
    patterns = [str(Path(subfolder or ".") / f"*.{ending}") for ending in ("json", "yaml", "safetensors")]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, **hub))
    except Exception as error:  # whatever the Hub's client, its network and the disk raise
        if not reachable:
            raise unreachable(name, "model") from error
        raise DARError(f"the model {name} could not be downloaded from the Hub ({error}): try again") from error
