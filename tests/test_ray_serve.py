"""The example that serves on more than one machine; skipped where there is no Ray."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = Path(__file__).parents[1] / "examples" / "ray_serve.py"
ENVIRONMENT = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": "local"}
LONG = {"class": "frog", "seed": 1, "num_inference_steps": 900}
"""A request that takes longer than others need to be answered."""


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


@contextmanager
def serving(*options: str) -> Iterator[int]:
    """Serve with replicas that take one request at a time, and one that may wait; gives the port."""
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed: dar[ray]")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [sys.executable, PROGRAM, "--port", str(port), "--slots", "1", "--queue", "1", *options]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 120
            while not is_ready(port) and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.5)
            assert process.poll() is None
            assert is_ready(port)
            yield port
        finally:
            process.send_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving("--replicas", "2") as served:
        yield served


def test_previews_are_streamed(port: int) -> None:
    with ask(port, "/v1/dar/stream", {"class": "frog", "seed": 1}) as answer:
        events = [json.loads(line[6:]) for line in answer if line.startswith(b"data: {")]
    assert [event["type"] for event in events] == ["dar.preview"] * (len(events) - 1) + ["dar.completed"]
    assert len(events) > 2
    assert events[0]["tokens"] == events[-1]["tokens"][: len(events[0]["tokens"])]


def test_one_replica_answers_while_the_other_is_busy(port: int) -> None:
    image = {"prompt": "ship", "seed": 2}
    with ask(port, "/v1/dar/stream", LONG) as busy, ask(port, "/v1/images/generations", image) as other:
        assert other.status == 200
        assert len(json.load(other)["data"]) == 1
        assert b"dar.completed" not in busy.read1()


def test_a_full_queue_answers_429(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            busy = stack.enter_context(ask(port, "/v1/dar/stream", LONG))
            assert busy.readline() == b": accepted\n"
        answers = queue.Queue[tuple[int, str | None]]()

        def wait() -> None:
            with ask(port, "/v1/images/generations", {"prompt": "ship"}) as answer:
                answers.put((answer.status, answer.headers["retry-after"]))

        threads = [threading.Thread(target=wait) for _ in range(2)]
        for thread in threads:
            thread.start()
        status, after = answers.get(timeout=30)
        assert status == 429
        assert int(after or 0) >= 1
    assert answers.get(timeout=60)[0] == 200
    for thread in threads:
        thread.join()


def test_a_replica_whose_model_cannot_generate_fails_with_the_reason() -> None:
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed: dar[ray]")
    program = f"""
import asyncio, runpy
from dar.pipeline import DARPipeline

def broken(*arguments, **settings):
    raise RuntimeError("the device is gone")

DARPipeline.__call__ = broken
Replica = runpy.run_path({str(PROGRAM)!r})["Replica"]
asyncio.run(Replica.__init__(Replica.__new__(Replica), None, "dar", 1))  # as Ray does
"""
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "the device is gone" in done.stderr
    assert "_engine" not in done.stderr
