"""Handling of Ctrl-C and SIGTERM: the step is finished and a checkpoint saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Records whether Ctrl-C or SIGTERM came."""

    interrupted = False
    preempted = False


@contextmanager
def stop_requested() -> Iterator[Stop]:
    """Note Ctrl-C and SIGTERM instead of dying of them; a second Ctrl-C interrupts at once."""
    stop = Stop()

    def note(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and stop.interrupted:
            raise KeyboardInterrupt
        if number == signal.SIGINT:
            stop.interrupted = True
        else:
            stop.preempted = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
