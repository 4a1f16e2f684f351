"""Checks of a command's names and paths before anything heavy is imported, so that a slip is answered at once.

All of these raise a DARError that names the thing, and say nothing if all is well.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dar.locations import check_on_hub, here

_EXTRACTORS, _REFERENCES = ("inception", "cifar10"), ("cifar10",)
"""Names of extractors and references that the package brings along."""


def model(source: str | None, *, classes: Sequence[str] = ()) -> None:
    """Check a whole model, and the classes to use it with."""
    from dar.model_folder import check_whole, model_folder

    folder = model_folder(source)
    check_whole(folder)
    _check_classes(folder, classes)


def tokenizer(source: str | None) -> None:
    """Check a whole model or a tokenizer alone."""
    from dar.model_folder import model_folder

    model_folder(source)


def data(*sources: str | None) -> None:
    """Check data sets; None is none."""
    for source in sources:
        if source is not None and here(source, "data set") is None:
            check_on_hub(source, "dataset", "data set")


def extractors(*sources: str | None) -> None:
    """Check feature extractors; None is none."""
    for source in sources:
        if source is not None and here(source, "extractor") is None and source not in _EXTRACTORS:
            check_on_hub(source, "model", "extractor")


def references(sources: Iterable[str]) -> None:
    """Check reference images, or statistics of them."""
    for source in sources:
        if here(source, "reference") is None and source not in _REFERENCES:
            check_on_hub(source, "dataset", "reference")


def paths(what: str, *paths: str | Path | None) -> None:
    """Check that something is at each path; None is none."""
    for path in paths:
        if path is not None:
            here(Path(path), what)


def _check_classes(folder: Path, classes: Sequence[str]) -> None:
    from dar.files import CONFIG, read_json
    from dar.model_folder import PRIOR
    from dar.prior.config import PriorConfig

    content = read_json(folder / PRIOR / CONFIG)
    try:
        config = PriorConfig(**content)
    except (TypeError, ValueError):
        return  # loading the model will say what is wrong with it
    if classes:
        config.class_indices(classes)
