"""From the engine's thread to the event loop: the events of a request's jobs, in order; who goes away cancels them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from fastapi import Request

from dar.serve.engine import Engine
from dar.serve.errors import APIError, refused
from dar.serve.jobs import Cancelled, Draining, Event, Failed, Finished, Job, QueueFull
from dar.serve.metrics import JobMetrics, Metrics


class Delivery:
    """The events of some jobs.

    Args:
        engine: takes the jobs.
        jobs: all are taken, or none.
        metrics: what to count them in.
        seconds: after which what is not finished is given up.

    Raises:
        APIError: if the engine does not take them.
    """

    def __init__(self, engine: Engine, jobs: Sequence[Job], metrics: Metrics, seconds: float) -> None:
        loop, self._queue = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Event]]()
        self._count, self._seconds, self._deadline = len(jobs), seconds, loop.time() + seconds
        listeners = [_Listener(loop, self._queue, i, metrics.job()) for i in range(len(jobs))]
        try:
            self._tickets = engine.submit(jobs, listeners)
        except (QueueFull, Draining) as error:
            metrics.rejected("queue_full" if isinstance(error, QueueFull) else "draining")
            raise refused(error) from error

    def close(self) -> None:
        """Cancel what is not finished."""
        for ticket in self._tickets:
            ticket.cancel()

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """Give each event with the number of its job, until all jobs are finished.

        Raises:
            APIError: if a job fails, or time is up.
        """
        left = self._count
        while left:
            number, event = await self._next()
            if isinstance(event, Failed):
                raise APIError(500, event.message)
            if isinstance(event, Cancelled):
                raise APIError(503, "the server is shutting down: try again later", retry_after=1)
            left -= isinstance(event, Finished)
            yield number, event

    async def _next(self) -> tuple[int, Event]:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._queue.get()
        except TimeoutError:
            raise APIError(
                504, f"the image was not finished within {self._seconds:g} seconds: try again later"
            ) from None

    async def finished(self, request: Request) -> list[Finished]:
        """Wait for all images, in the order of the jobs; stop when the client goes away."""
        gathering = asyncio.ensure_future(self._all_finished())
        leaving = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait([gathering, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not gathering.done():
                raise APIError(499, "the client went away")
            return gathering.result()
        finally:
            for task in (gathering, leaving):
                task.cancel()

    async def _all_finished(self) -> list[Finished]:
        found = {number: event async for number, event in self.events() if isinstance(event, Finished)}
        return [found[number] for number in range(self._count)]


class _Listener:
    """Puts the events of one job where the event loop finds them."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[tuple[int, Event]], number: int, metrics: JobMetrics
    ) -> None:
        self._loop, self._queue, self._number, self._metrics = loop, queue, number, metrics

    def __call__(self, event: Event) -> None:
        self._metrics.note(event)
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (self._number, event))


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
