"""Progress of jobs: a bar where a person watches, a line now and then in a log."""

import sys
import time
from typing import Any

from tqdm import tqdm

from dar.errors import printable

LOG_SECONDS = 30.0
"""The least time between two lines in a log."""

LOG_FORMAT = "{n_fmt} of {total_fmt} {unit}s, {elapsed} so far, {remaining} left, {rate_fmt}{postfix}"
"""Line of a log, after what is being done; the names are tqdm's."""


def say(sentence: object, *, error: bool = False) -> None:
    """Print a line, above a bar where there is one; names from outside in it steer no terminal.

    Args:
        sentence: what to print.
        error: whether it goes to standard error.
    """
    tqdm.write(printable(sentence), file=sys.stderr if error else None)


def progress_bar(
    total: int | None,
    unit: str = "image",
    desc: str | None = None,
    *,
    initial: int = 0,
    smoothing: float = 0.3,
    shown: bool = True,
    log_seconds: float = LOG_SECONDS,
) -> "tqdm[Any]":
    """Show on standard error how far a job is; a context manager with ``update``.

    Args:
        total: how many there are; None where that is not known.
        unit: what is counted, in the singular.
        desc: what is being done.
        initial: how many were done before.
        smoothing: weight of the latest rate in a bar, from 0 (the average) to 1.
        shown: whether to write anything.
        log_seconds: the least time between two lines where standard error is no terminal and no notebook.
    """
    if not shown:
        return tqdm(total=total, initial=initial, unit=unit, desc=desc, disable=True)
    if _is_watched():
        return tqdm(total=total, initial=initial, unit=unit, desc=desc, smoothing=smoothing, dynamic_ncols=True)
    return _LogLines(
        total=total,
        initial=initial,
        unit=unit,
        desc=desc,
        smoothing=0,
        bar_format=None if total is None else f"{desc}: {LOG_FORMAT}" if desc else LOG_FORMAT,
        mininterval=log_seconds,
        miniters=1,
        leave=False,
        delay=1e-9,  # no line at the start
    )


def _is_watched() -> bool:
    """Tell whether standard error is a terminal or a notebook, where a bar can be redrawn."""
    return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")


class _LogLines(tqdm):  # type: ignore[type-arg]  # at run time the class takes no type
    """Writes whole lines instead of a bar, no two within ``mininterval`` seconds, and one at the end."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._said_at, self._said_n = time.monotonic(), self.initial

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line if the last one is old enough and there is news; the arguments are for bars."""
        if time.monotonic() - self._said_at >= self.mininterval and self.n != self._said_n:
            self._say()

    def clear(self, nolock: bool = False) -> None:
        """Leave what is written."""

    def close(self) -> None:
        """Write the last line."""
        if not self.disable and self.n != self._said_n:
            self._say()
        super().close()

    def _say(self) -> None:
        self._said_at, self._said_n = time.monotonic(), self.n
        self.fp.write(f"{self}\n")
        self.fp.flush()
