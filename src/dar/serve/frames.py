"""Frames of server-sent events, as OpenAI's clients read them.

Neither ``id:`` nor ``retry:`` is ever sent: after the former, clients stumble over comments.
"""

import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from dar.serve.errors import APIError

LOG = logging.getLogger(__name__)


class Closable(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Stop."""


HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
"""Keep proxies from holding events back."""


class EventResponse(StreamingResponse):
    """Streams events; an error after the first one is an event too.

    Args:
        events: objects, each with its ``type``.
        source: what they come from, closed at the end and when the client goes away, even before the first event.
    """

    def __init__(self, events: AsyncIterator[Mapping[str, Any]], source: Closable) -> None:
        super().__init__(_frames(events), media_type="text/event-stream", headers=HEADERS)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._source.close()


async def _frames(events: AsyncIterator[Mapping[str, Any]]) -> AsyncIterator[bytes]:
    yield b": accepted\n\n"  # headers are sent at once
    try:
        async for event in events:
            yield event_frame(event)
    except APIError as error:
        yield error_frame(error.body())
    except Exception:
        LOG.exception("a stream failed")
        yield error_frame(APIError(500, "the server has made a mistake: it is in its log").body())


def event_frame(data: Mapping[str, Any]) -> bytes:
    """Make the frame of an event, named by its ``type``; without the blank line at its end it would be lost."""
    return f"event: {data['type']}\ndata: {_json(data)}\n\n".encode()


def error_frame(body: Mapping[str, Any]) -> bytes:
    """Make the frame of an error that comes after the answer has begun."""
    return f"data: {_json(body)}\n\n".encode()


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))  # in ASCII, and without line breaks
