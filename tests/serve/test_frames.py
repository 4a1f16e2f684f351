"""Frames are what OpenAI's decoder takes, to the byte."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from dar.serve.errors import APIError
from dar.serve.frames import EventResponse, error_frame, event_frame


def test_an_event_names_its_type_and_ends_with_a_blank_line() -> None:
    assert event_frame({"type": "a.b", "x": "é\n"}) == b'event: a.b\ndata: {"type":"a.b","x":"\\u00e9\\n"}\n\n'


def test_an_error_has_no_type() -> None:
    assert error_frame({"error": {"code": "c"}}) == b'data: {"error":{"code":"c"}}\n\n'


class Source:
    closed = False

    def close(self) -> None:
        self.closed = True


def sent(events: AsyncIterator[dict], source: Source) -> bytes:
    parts: list[bytes] = []

    async def receive() -> dict:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        parts.append(message.get("body", b""))

    scope = {"type": "http", "method": "POST", "asgi": {"spec_version": "2.4"}}
    asyncio.run(EventResponse(events, source)(scope, receive, send))
    return b"".join(parts)


async def failing(error: Exception) -> AsyncIterator[dict]:
    yield {"type": "one"}
    raise error


@pytest.mark.parametrize(
    ("error", "code"), [(APIError(504, "late"), "timeout"), (RuntimeError("secret"), "internal_error")]
)
def test_a_failure_on_the_way_is_a_frame_and_closes_the_source(error: Exception, code: str) -> None:
    source = Source()
    found = sent(failing(error), source)
    assert found.startswith(b": accepted\n\nevent: one\n")
    assert f'"code":"{code}"'.encode() in found
    assert b"secret" not in found
    assert b"\nid:" not in found
    assert source.closed
