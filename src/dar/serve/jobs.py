"""What the engine takes, and what it tells while it works."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dar.errors import DARError
from dar.generation.settings import GenerationSettings


@dataclass(frozen=True)
class Job:
    """One image to generate.

    Attributes:
        class_index: its class.
        seed: fixes the image, together with class, settings and prefix.
        settings: how to sample; the number of steps is known.
        prefix: first tokens to keep instead of generating them.
        previews: whether ``Previewed`` is told after each step but the last.
    """

    class_index: int
    seed: int
    settings: GenerationSettings
    prefix: tuple[int, ...] = ()
    previews: bool = False


@dataclass(frozen=True)
class Started:
    """The job has left the queue and has a slot."""


@dataclass(frozen=True)
class Previewed:
    """A denoising step is done, and it was not the last.

    Attributes:
        step: how many are done, from 1.
        num_steps: how many there are in all.
        pixels: 3 x H x W in [-1, 1], on the CPU.
        tokens: those that were kept, or that the steps so far have looked at, whichever are more.
    """

    step: int
    num_steps: int
    pixels: Tensor
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Finished:
    """The image is there.

    Attributes:
        pixels: 3 x H x W in [-1, 1], on the CPU.
        tokens: all N.
    """

    pixels: Tensor
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Failed:
    """The image could not be computed.

    Attributes:
        message: why, in a sentence for people.
    """

    message: str


@dataclass(frozen=True)
class Cancelled:
    """The job was cancelled, and its slot is free."""


Event = Started | Previewed | Finished | Failed | Cancelled
"""The last event of a job is ``Finished``, ``Failed`` or ``Cancelled``."""

Listener = Callable[[Event], None]
"""Is called from the engine's thread, and must not block it."""


class Ticket:
    """A job that the engine has accepted."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask to stop the job, from any thread; the engine does so before its next token."""
        self._cancelled.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._cancelled.is_set()


class QueueFull(DARError):
    """The queue has no room for these jobs.

    Attributes:
        retry_after: seconds after which to try again.
    """

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the queue is full: try again in {retry_after:.0f} seconds")
        self.retry_after = retry_after


class Draining(DARError):
    """The engine finishes what it has accepted and takes nothing new.

    Attributes:
        retry_after: seconds after which to try again, elsewhere perhaps.
    """

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__("the server is shutting down: try again later")
        self.retry_after = retry_after
