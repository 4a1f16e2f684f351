"""One engine for all clients: every token step and every denoising step serves all images that are on their way.

An image is admitted at any token step and has its own position, class, seed and settings.
"""

import logging
import threading
import time
from collections.abc import Sequence
from itertools import groupby

from dar.checks import positive
from dar.pipeline import DARPipeline
from dar.serve.batch import Accepted, Batch
from dar.serve.jobs import (
    Cancelled,
    Draining,
    Event,
    Failed,
    Finished,
    Job,
    Listener,
    QueueFull,
    Started,
    Ticket,
)
from dar.serve.scheduling import Policy, first_come

LOG = logging.getLogger(__name__)

DEFAULT_SLOTS = 32
DEFAULT_QUEUE = 128


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
        self._accepted: list[Accepted] = []  # until they have been told how they ended
        self._waiting: list[Accepted] = []
        self._batch = Batch(pipe)
        self._changed = threading.Condition()
        self._draining = self._closing = False
        self._mean_seconds = 1.0
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
        accepted = [Accepted(job, listener) for job, listener in zip(jobs, listeners, strict=True)]
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
            left, self._waiting = list(self._accepted), []
        self._batch.clear()
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
                self._batch.clear()
                self._fail(under_way, error)

    def _tell(self, one: Accepted, event: Event) -> None:
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
            self._changed.wait_for(lambda: self._closing or self._waiting or len(self._batch))
            return not self._closing

    def _drop_cancelled(self) -> None:
        with self._changed:
            cancelled = [one for one in self._waiting if one.ticket.is_cancelled]
            self._waiting = [one for one in self._waiting if not one.ticket.is_cancelled]
        under_way = [one for one in self._batch.images if one.ticket.is_cancelled]
        self._batch.remove(under_way)
        for one in cancelled + under_way:
            self._tell(one, Cancelled())

    def _admit(self) -> None:
        """Give free slots to waiting jobs."""
        starting: list[Accepted] = []
        with self._changed:
            while self._waiting and len(self._batch) + len(starting) < self.slots:
                starting.append(self._waiting.pop(self._next_of([one.job for one in self._waiting])))
        for _, alike in groupby(starting, lambda one: (one.job.class_index, one.job.settings, one.job.prefix)):
            self._begin(list(alike))

    def _next_of(self, waiting: Sequence[Job]) -> int:
        try:
            return self._policy(waiting)
        except Exception:  # no order is no reason to stop
            LOG.exception("the policy failed; the oldest job starts")
            return 0

    def _begin(self, alike: list[Accepted]) -> None:
        try:
            self._batch.begin(alike)
        except Exception as error:
            LOG.exception("a job could not begin")
            self._fail(alike, error)
            return
        for one in alike:
            self._tell(one, Started())

    def _advance(self) -> None:
        for one, event in self._batch.advance():
            if isinstance(event, Finished):
                self.ready = True
                self._mean_seconds += 0.1 * (time.monotonic() - one.started - self._mean_seconds)
            self._tell(one, event)

    def _fail(self, jobs: list[Accepted], error: Exception) -> None:
        message = f"the image could not be computed: {error or type(error).__name__}"
        for one in jobs:
            self._tell(one, Failed(message))
