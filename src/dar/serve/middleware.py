"""What is done around every request: its id, its line in the log, and the key that it must bear."""

import hmac
import logging
import time
import uuid

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dar.serve.errors import APIError

LOG = logging.getLogger("dar.access")

REQUEST_ID = "x-request-id"
LONGEST_ID = 128
PROTECTED = ("/v1/", "/metrics")
"""Paths that need the key, where there is one; the page and the probes don't."""


class RequestLog:
    """Gives each request an id, its client's own if it has one, and logs how it was answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name, started, status = _request_id(Headers(scope=scope)), time.monotonic(), 499  # the client went away

        scope[REQUEST_ID] = name

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = name
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            path = scope["path"].encode("unicode_escape").decode()[:200]
            LOG.info("%s %s %s %d %.3fs", name, scope["method"], path, status, time.monotonic() - started)


class KeyCheck:
    """Refuses requests without the key.

    Args:
        app: what is behind.
        key: that requests bear as "Authorization: Bearer KEY".
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._key = app, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and scope["path"].startswith(PROTECTED) and scope["method"] != "OPTIONS":
            kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._key):
                error = APIError(401, "the API key is missing or wrong: send it as Authorization: Bearer KEY")
                await JSONResponse(error.body(), error.status)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _request_id(headers: Headers) -> str:
    given = headers.get(REQUEST_ID, "")
    is_plain = given.isascii() and given.isprintable() and 0 < len(given) <= LONGEST_ID
    return given if is_plain else uuid.uuid4().hex
