"""Reading the body of a request: limited in size, depth and time."""

import asyncio
import json
from typing import Any, NoReturn

from fastapi import Request
from starlette.requests import ClientDisconnect

from dar.serve.errors import APIError

SECONDS = 30.0
"""In which a body must have arrived."""


async def json_object(request: Request, limit: int) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        request: whose body it is.
        limit: the most bytes.

    Raises:
        APIError: if it is larger, comes too slowly, or is no object of plain JSON.
    """
    try:
        async with asyncio.timeout(SECONDS):
            content = await _content(request, limit)
    except ClientDisconnect:
        raise APIError(499, "the client went away") from None
    except TimeoutError:
        raise APIError(408, f"the body did not arrive within {SECONDS:.0f} seconds: send it at once") from None
    try:
        found = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise APIError(400, 'the body is not valid JSON: send an object such as {"prompt": "frog"}') from None
    if not isinstance(found, dict):
        raise APIError(400, 'the body must be a JSON object, such as {"prompt": "frog"}')
    return found


async def _content(request: Request, limit: int) -> bytes:
    content = bytearray()
    declared = request.headers.get("content-length", "0")
    too_large = APIError(413, f"the body is larger than {limit} bytes: send a smaller one")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise too_large
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise too_large
    return bytes(content)


def _refuse(name: str) -> NoReturn:
    """NaN and infinities are no JSON, though Python reads them."""
    raise ValueError(name)
