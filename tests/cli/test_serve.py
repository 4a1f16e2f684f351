"""``dar serve`` as a process: what it says, how it refuses, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from dar.cli.serve import _address
from dar.errors import DARError
from dar.pipeline import DARPipeline
from dar.serve.server import listen


def serve(*options: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dar", "serve", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        (["--model", "nowhere"], {}, "nowhere"),
        (["--policy", "last-come"], {}, "there is no policy 'last-come'"),
        (["--slots", "many"], {}, "slots must be a whole number of at least 1, or auto, not 'many'"),
        (["--slots", "100000000"], {}, "compute at most"),
        (["--host", "256.0.0.1"], {}, "cannot listen on 256.0.0.1"),
        ([], {"DAR_API_KEY": " "}, "the API key is empty"),
    ],
)
def test_bad_options_are_one_sentence(options: list[str], environment: dict[str, str], said: str) -> None:
    with serve("--port", "0", *options, **environment) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert said in errors
    assert "Traceback" not in errors


def test_a_port_that_is_taken_is_told_before_a_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with serve("--port", port) as process:
            _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in errors


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
    ],
)
def test_its_address_can_be_opened_in_a_browser_here(host: str, shown: str) -> None:
    try:
        opened = listen(host, 0)
    except DARError:
        pytest.skip("this machine has no IPv6")
    with opened:
        address = _address(host, opened)
        assert address == f"http://{shown}:{opened.getsockname()[1]}"
        with closing(HTTPConnection(address.removeprefix("http://"), timeout=10)) as connection:
            connection.connect()


def test_it_says_what_it_serves_and_finishes_what_it_accepted(pipeline: DARPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "mine")
    with serve("--model", str(tmp_path / "mine"), "--port", "0", "--slots", "2") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        address = next(line.split()[1] for line in lines if line.startswith("page"))
        assert "3 classes" in lines[0]
        connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
        body = {"prompt": "cat", "model": "mine", "n": 4, "num_inference_steps": 40}
        connection.request("POST", "/v1/images/generations", json.dumps(body))
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        _, errors = process.communicate(timeout=60)
    assert len(answer["data"]) == 4
    assert process.returncode == 0
    assert "POST /v1/images/generations 200" in errors
