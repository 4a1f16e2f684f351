"""Errors of ``datasets``, turned into sentences that say what to do."""

import errno
from collections.abc import Callable
from typing import TypeVar

from dar.errors import DARError, quoted

T = TypeVar("T")

_FULL = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


def guarded(name: str, action: Callable[[], T]) -> T:
    """Run an action; whatever ``datasets`` raises becomes a DARError that says what to do.

    Args:
        name: of the data.
        action: what may fail.

    Raises:
        DARError: if it does.
    """
    try:
        return action()
    except Exception as error:  # datasets raises whatever its readers and the network raise
        chain = list(_chain(error))
        ours = next((one for one in chain if isinstance(one, DARError)), None)
        if ours is not None:
            raise ours from None
        raise DARError(_sentence(name, chain)) from error


def _chain(error: BaseException | None) -> list[BaseException]:
    """List an error and those that led to it."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _sentence(name: str, chain: list[BaseException]) -> str:
    import datasets

    cache = str(datasets.config.HF_DATASETS_CACHE)
    for error in chain:
        place = str(getattr(error, "filename", None) or "/")
        if isinstance(error, OSError) and (
            place.startswith(cache) or cache.startswith(f"{place}/") or error.errno in _FULL
        ):
            return (
                f"the cache of datasets, {cache}, cannot be written ({error.strerror}): free space, or set HF_HOME "
                "to a folder that can"
            )
    first = chain[0]
    reason = str(first).splitlines()[0] if str(first) else type(first).__name__
    return f"{name} cannot be opened as a data set ({quoted(reason)}): check the path or Hub id"
