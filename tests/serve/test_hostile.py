"""What hostile and clumsy clients send: no traceback comes back, no slot is lost, and the server stays well."""

import base64
import json
import random
import socket
import time
from contextlib import suppress
from typing import Any

import pytest

from dar.pipeline import DARPipeline
from dar.serve.engine import Engine
from dar.serve.service import ServerOptions
from tests.hostile import nested
from tests.serve.live import serving
from tests.serve.test_live import ask, get, wait_for

pytestmark = pytest.mark.slow

PATHS = (
    "/v1/images/generations",
    "/v1/dar/stream",
    "/v1/images/edits",
    "/v1/models",
    "/nothing",
    "/%00",
    "/v1/../../x",
)
NAMES = (
    *("prompt", "class", "model", "n", "size", "quality", "background", "output_format", "output_compression"),
    *("response_format", "stream", "partial_images", "seed", "guidance_scale", "temperature", "top_k", "top_p"),
    *("num_inference_steps", "layout", "layout_tokens", "kept_tokens", "user", "style", "\ud800", "__proto__", ""),
)


def odd_value(chance: random.Random) -> Any:
    deep = nested(chance.choice((1, 50, 900)), chance)
    return chance.choice(
        [
            *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, "", "cat", "0", "auto", "png"),
            *("\ud800", "\x00", "a" * 10_000, "NaN", "1:2", "-1:", "1:2@9-3", "../../etc/passwd", "http://127.0.0.1/x"),
            *([], {}, [1] * 1000, [1, "2"], {"a": {"b": []}}, deep, base64.b64encode(b"x" * 50_000).decode()),
            *("data:image/png;base64,iVBORw0KGgo=", [[[]]], [None], [2**70]),
        ]
    )


def odd_body(chance: random.Random) -> bytes:
    body = {name: odd_value(chance) for name in chance.sample(NAMES, chance.randint(0, 6))}
    if chance.random() < 0.7:
        body |= {"prompt": "cat", "class": "cat"}
    content = json.dumps(body).encode()
    kind = chance.random()
    if kind < 0.1:
        return content[: chance.randint(0, len(content))]
    if kind < 0.15:
        return chance.randbytes(chance.randint(0, 3000))
    if kind < 0.2:
        return b'--x\r\ncontent-disposition: form-data; name="image"\r\n\r\n' + content
    return content


def test_a_thousand_odd_requests(pipeline: DARPipeline) -> None:
    chance = random.Random(0)
    with serving(pipeline, ServerOptions(largest_body=2**17)) as (address, engine):
        for _ in range(1000):
            kinds = ("application/json", "multipart/form-data", "multipart/form-data; boundary=x", "\x7f")
            found = raw(address, chance.choice(PATHS), odd_body(chance), chance.choice(kinds))
            assert b"Traceback" not in found
            assert b".py" not in found
            status = int(found.split(b" ", 2)[1])
            assert status in (200, 400, 404, 405, 413, 501), found[:300]
        wait_for(lambda: engine.running == engine.waiting == 0)
        assert get(address, "/health")[0] == 200
        assert ask(address, {"prompt": "cat"})[0] == 200


def raw(address: str, path: str, body: bytes, kind: str) -> bytes:
    """Post without the care of a library."""
    with connected(address) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\n"
        connection.sendall(head.encode("latin-1") + f"content-length: {len(body)}\r\n\r\n".encode())
        with suppress(BrokenPipeError, ConnectionResetError):  # it was refused before all of it was sent
            connection.sendall(body)
        return received(connection)


def connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def received(connection: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(2**16):
            found += part
    return found


def test_five_hundred_aborts(pipeline: DARPipeline) -> None:
    """At odd moments: in the head, in the body, while waiting, while images are made."""
    chance = random.Random(1)
    with serving(pipeline, slots=4, queue_limit=500) as (address, engine):
        for i in range(500):
            body = json.dumps({"prompt": "cat", "n": chance.randint(1, 3), "stream": bool(i % 2)}).encode()
            head = f"POST /v1/images/generations HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            whole = head + body
            with connected(address) as connection:
                connection.sendall(whole if chance.random() < 0.7 else whole[: chance.randint(0, len(whole))])
                time.sleep(chance.choice((0, 0.001, 0.01, 0.05)))
            if i % 50 == 0:
                assert get(address, "/health")[0] == 200
        wait_for(lambda: engine.running == engine.waiting == 0)
        assert_well(address, engine)


def test_slow_senders_keep_nobody_waiting(pipeline: DARPipeline) -> None:
    with serving(pipeline) as (address, engine):
        slow = [connected(address) for _ in range(50)]
        for connection in slow:
            connection.sendall(b"POST /v1/images/generations HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
        start = time.monotonic()
        assert_well(address, engine)
        assert time.monotonic() - start < 10
        for connection in slow:
            connection.close()


def assert_well(address: str, engine: Engine) -> None:
    assert get(address, "/health")[0] == get(address, "/ready")[0] == 200
    assert ask(address, {"prompt": "cat"})[0] == 200
    wait_for(lambda: engine.running == 0)
