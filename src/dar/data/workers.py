"""Worker processes that compute ahead."""

import multiprocessing
import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from dar.errors import DARError
from dar.fields import MOST_WORKERS

A = TypeVar("A")
B = TypeVar("B")


def in_workers(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """Map a function over items in order, computed ahead by worker processes; each item goes to one of them.

    Args:
        function: runs in the workers; with more than 0 of them it must be a module's function or a method.
        items: iterated over in this process.
        workers: 0 computes in this process.

    Raises:
        DARError: if the function does, a worker dies, or there cannot be so many.
    """
    if workers == 0:
        yield from map(function, items)
        return
    if not 0 < workers <= MOST_WORKERS:
        raise DARError(f"workers must be a number from 0 to {MOST_WORKERS}, not {workers}")
    others = multiprocessing.active_children()
    results = _start_workers(
        DataLoader(
            _Applied(function),
            sampler=items,
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=workers,
            worker_init_fn=_leave_signals_to_the_parent,
            generator=torch.Generator(),  # leaves the global one alone
        )
    )
    # They leave signals alone: a program that ended meanwhile would wait for them for ever.
    weakref.finalize(results, _kill, [child for child in multiprocessing.active_children() if child not in others])
    while True:
        try:
            result = next(results, None)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DARError(
                "a worker process that decodes images died, probably for lack of memory: "
                "lower the number of workers, or free memory (in containers also /dev/shm)"
            ) from error
        if result is None:
            return
        if isinstance(result, DARError):
            raise result
        yield result


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ignore signals that reach all processes at once; the parent still needs its data to stop in good order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _start_workers(loader: "DataLoader[Any]") -> Iterator[Any]:
    """Start a loader's workers; their death is then noticed where results are awaited.

    torch would rather raise it wherever the main thread happens to be, from a signal handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    results = iter(loader)
    signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    return results


def _kill(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()


@dataclass(frozen=True)
class _Applied(Dataset[Any], Generic[A, B]):
    """Computes in a worker; DARErrors come back whole, without the worker's traceback in their text."""

    function: Callable[[A], B]

    def __getitem__(self, item: A) -> B | DARError:
        try:
            return self.function(item)
        except DARError as error:
            return DARError(str(error))


def _unchanged(result: B) -> B:
    return result
