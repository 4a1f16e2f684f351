"""One engine for all clients: every token step and every denoising step serves all images that are on their way.

An image is admitted at any token step and has its own position, class, seed and settings.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch

from dar.checks import positive
from dar.generation.state import Denoised, GenerationState
from dar.pipeline import DARPipeline
from dar.serve.jobs import (
    Cancelled,
    Draining,
    Event,
    Failed,
    Finished,
    Job,
    Listener,
    Previewed,
    QueueFull,
    Started,
    Ticket,
)
from dar.serve.scheduling import Policy, first_come

LOG = logging.getLogger(__name__)

DEFAULT_SLOTS = 32
DEFAULT_QUEUE = 128

QUIET_SHARE = 4
"""The share of an image's tokens, one part of so many, that others may draw while it waits to be denoised with them;
where previews are wanted it waits for one group of tokens at most."""


@dataclass(eq=False)
class _Accepted:
    """A job, whom to tell, and since when it has been running."""

    job: Job
    listener: Listener
    ticket: Ticket = field(default_factory=Ticket)
    started: float = 0.0
    ready_since: int | None = None  # the token step at which its next denoising step could run


class Engine:
    """Generates images for many clients in a thread of its own.

    Args:
        pipe: the model.
        slots: the most images on their way at one time.
        queue_limit: the most that wait for a slot.
        policy: which of them gets the next one.

    Attributes:
        pipe: the model.
        slots: as given.
        ready: whether an image has been generated; the engine begins with one of its own, by which it warms up.

    Raises:
        DARError: if one of the numbers is not a whole number of at least 1.
    """

    def __init__(
        self,
        pipe: DARPipeline,
        *,
        slots: int = DEFAULT_SLOTS,
        queue_limit: int = DEFAULT_QUEUE,
        policy: Policy = first_come,
    ) -> None:
        self.pipe, self.slots = pipe, positive("the number of slots", slots)
        self.ready = False
        self._queue_limit, self._policy = positive("the limit of the queue", queue_limit), policy
        self._accepted: list[_Accepted] = []  # until they have been told how they ended
        self._waiting: list[_Accepted] = []
        self._running: list[_Accepted] = []
        self._state: GenerationState | None = None  # a row for each of those running
        self._changed = threading.Condition()
        self._draining = self._closing = False
        self._mean_seconds = 1.0
        self._token_steps = 1
        self._thread = threading.Thread(target=self._serve, name="dar-engine", daemon=True)

    @property
    def running(self) -> int:
        """How many images have a slot, or have just had one."""
        return len(self._accepted) - len(self._waiting)

    @property
    def capacity(self) -> int:
        """How many images there is room for in slots and queue."""
        return self.slots + self._queue_limit

    @property
    def draining(self) -> bool:
        """Whether new jobs are refused, since the engine is to end."""
        return self._draining

    @property
    def waiting(self) -> int:
        """How many jobs wait for a slot."""
        return len(self._waiting)

    def start(self) -> None:
        """Start the thread; ``ready`` turns true when the first image has been generated."""
        self._thread.start()

    def submit(self, jobs: Sequence[Job], listeners: Sequence[Listener]) -> list[Ticket]:
        """Accept jobs, all or none.

        Args:
            jobs: one an image.
            listeners: of each job, called from the engine's thread.

        Raises:
            QueueFull: if there is no room for them.
            Draining: after ``drain`` or ``close``.
        """
        accepted = [_Accepted(job, listener) for job, listener in zip(jobs, listeners, strict=True)]
        with self._changed:
            if self._draining:
                raise Draining
            if len(self._accepted) + len(jobs) > self.capacity:
                raise QueueFull(self.retry_after())
            self._accepted += accepted
            self._waiting += accepted
            self._changed.notify_all()
        return [one.ticket for one in accepted]

    def retry_after(self) -> float:
        """Estimate the seconds until those who wait now have been served, at least 1."""
        return max(1.0, len(self._accepted) * self._mean_seconds / self.slots)

    def drain(self, timeout: float | None = None) -> bool:
        """Finish what was accepted and take nothing new.

        Args:
            timeout: seconds to wait at most; None means as long as it takes.

        Returns:
            Whether all was finished.
        """
        with self._changed:
            self._draining = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._accepted, timeout)

    def close(self) -> None:
        """Stop at once; jobs that are not finished are cancelled."""
        with self._changed:
            self._draining = self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        with self._changed:
            left, self._waiting, self._running, self._state = self._accepted, [], [], None
            self._accepted = list(left)
        for one in left:
            self._tell(one, Cancelled())

    def _serve(self) -> None:
        try:
            self.pipe([0], seed=0)
            self.ready = True
        except Exception:  # clients are told when theirs fail too
            LOG.exception("the first image failed")
        while self._wait_for_work():
            try:
                self._drop_cancelled()
                self._admit()
                self._advance()
            except Exception as error:  # whatever is raised ends the images under way, and not the engine
                LOG.exception("a step failed")
                with self._changed:
                    under_way = [one for one in self._accepted if one not in self._waiting]
                    self._running, self._state = [], None
                self._fail(under_way, error)

    def _tell(self, one: _Accepted, event: Event) -> None:
        """Call a job's listener; what goes wrong there ends this job and no other."""
        is_end = isinstance(event, Finished | Failed | Cancelled)
        try:
            if one in self._accepted:  # else it has been told how it ended
                one.listener(event)
        except Exception:
            LOG.exception("a listener failed; its job is cancelled")
            one.ticket.cancel()
        with self._changed:
            if is_end and one in self._accepted:
                self._accepted.remove(one)
                self._changed.notify_all()  # who drains looks again

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._waiting or self._running)
            return not self._closing

    def _drop_cancelled(self) -> None:
        with self._changed:
            cancelled = [one for one in self._waiting if one.ticket.is_cancelled]
            self._waiting = [one for one in self._waiting if not one.ticket.is_cancelled]
        gone = [row for row, one in enumerate(self._running) if one.ticket.is_cancelled]
        cancelled += [self._running[row] for row in gone]
        self._remove(gone)
        for one in cancelled:
            self._tell(one, Cancelled())

    def _admit(self) -> None:
        """Give free slots to waiting jobs."""
        starting: list[_Accepted] = []
        with self._changed:
            while self._waiting and len(self._running) + len(starting) < self.slots:
                starting.append(self._waiting.pop(self._next_of([one.job for one in self._waiting])))
        for _, alike in groupby(starting, lambda one: (one.job.class_index, one.job.settings, one.job.prefix)):
            self._begin(list(alike))

    def _next_of(self, waiting: Sequence[Job]) -> int:
        try:
            return self._policy(waiting)
        except Exception:  # no order is no reason to stop
            LOG.exception("the policy failed; the oldest job starts")
            return 0

    def _begin(self, alike: list[_Accepted]) -> None:
        """Begin jobs that differ in their seeds only; they share what is computed of their prefix."""
        job, now = alike[0].job, time.monotonic()
        try:
            prefix = torch.tensor([job.prefix], dtype=torch.int64)
            state = GenerationState(
                self.pipe.tokenizer, self.pipe.prior, [job.class_index], [job.seed], [job.settings], prefix
            )
            if len(alike) > 1:
                state = state.fork([one.job.seed for one in alike])
            joined = state if self._state is None else GenerationState.joined([self._state, state])
        except Exception as error:
            LOG.exception("a job could not begin")
            self._fail(alike, error)
            return
        self._state = joined
        for one in alike:
            one.started = now
            self._running.append(one)
            self._tell(one, Started())

    def _advance(self) -> None:
        """Run the denoising steps that can run, if one is due, or else draw a token of every image.

        A step waits for those of other images, while their tokens are drawn: one call of the network for many takes
        half of the time of a call for each.
        """
        state = self._state
        if state is None:
            return
        ready, drawable = state.ready(), state.drawable()
        for row, one in enumerate(self._running):
            one.ready_since = None if row not in ready else one.ready_since or self._token_steps
        if ready and (not drawable or len(ready) == len(state) or any(self._is_due(row) for row in ready)):
            self._report(state.denoise())
        else:
            state.draw()
            self._token_steps += 1

    def _is_due(self, row: int) -> bool:
        """Tell whether an image has waited for others as long as it may, in tokens."""
        one, config = self._running[row], self.pipe.tokenizer.config
        patience = config.tokens_per_group if one.job.previews else config.num_tokens // QUIET_SHARE
        return self._token_steps - (one.ready_since or 0) >= patience

    def _report(self, denoised: Denoised) -> None:
        """Free the slots of finished images, and tell what a step has made."""
        state, finished, told = self._state, list[int](), list[tuple[_Accepted, Event]]()
        assert state is not None
        for row, step, pixels in zip(denoised.rows, denoised.steps, denoised.pixels, strict=True):
            one = self._running[row]
            if state.is_finished(row):
                finished.append(row)
                self.ready = True
                told.append((one, Finished(pixels.cpu(), tuple(state.tokens[row].tolist()))))
                self._mean_seconds += 0.1 * (time.monotonic() - one.started - self._mean_seconds)
            elif one.job.previews:
                known = state.tokens[row, : state.counts[row]].tolist()
                told.append((one, Previewed(step, state.num_steps(row), pixels.cpu(), tuple(known))))
        self._remove(finished)
        for one, event in told:
            self._tell(one, event)

    def _remove(self, rows: Sequence[int]) -> None:
        """Free the slots of some rows."""
        if not rows:
            return
        kept = [row for row in range(len(self._running)) if row not in rows]
        assert self._state is not None
        self._state = self._state.select(kept) if kept else None
        with self._changed:
            self._running = [self._running[row] for row in kept]

    def _fail(self, jobs: list[_Accepted], error: Exception) -> None:
        message = f"the image could not be computed: {error or type(error).__name__}"
        for one in jobs:
            self._tell(one, Failed(message))
