"""The example that serves on more than one machine; skipped where there is no Ray."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = Path(__file__).parents[1] / "examples" / "ray_serve.py"


@contextmanager
def ask(port: int, path: str, body: dict[str, Any] | None = None) -> Iterator[HTTPResponse]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET" if body is None else "POST", path, body and json.dumps(body))
        with connection.getresponse() as answer:
            yield answer


def is_ready(port: int) -> bool:
    try:
        with ask(port, "/ready") as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Serve with two replicas that take one request at a time."""
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed: dar[ray]")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [sys.executable, PROGRAM, "--port", str(port), "--replicas", "2", "--slots", "1", "--queue", "1"]
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "local"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 120
            while not is_ready(port) and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.5)
            assert process.poll() is None
            assert is_ready(port)
            yield port
        finally:
            process.send_signal(signal.SIGINT)


def test_previews_are_streamed(port: int) -> None:
    with ask(port, "/v1/dar/stream", {"class": "frog", "seed": 1}) as answer:
        events = [json.loads(line[6:]) for line in answer if line.startswith(b"data: {")]
    assert [event["type"] for event in events] == ["dar.preview"] * (len(events) - 1) + ["dar.completed"]
    assert len(events) > 2
    assert events[0]["tokens"] == events[-1]["tokens"][: len(events[0]["tokens"])]


def test_one_replica_answers_while_the_other_is_busy(port: int) -> None:
    long = {"class": "frog", "seed": 1, "num_inference_steps": 900}
    image = {"prompt": "ship", "seed": 2}
    with ask(port, "/v1/dar/stream", long) as busy, ask(port, "/v1/images/generations", image) as other:
        assert other.status == 200
        assert len(json.load(other)["data"]) == 1
        assert b"dar.completed" not in busy.read1()
