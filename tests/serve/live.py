"""A live server on loopback, in a thread."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from dar.pipeline import DARPipeline
from dar.serve.app import create_app
from dar.serve.engine import Engine
from dar.serve.server import Server, configure, listen
from dar.serve.service import ServerOptions


@contextmanager
def serving(pipe: DARPipeline, options: ServerOptions | None = None, **engine: Any) -> Iterator[tuple[str, Engine]]:
    """Serve until the block ends; gives the address and the engine."""
    served = Engine(pipe, **engine)
    served.start()
    opened = listen("127.0.0.1", 0)
    server = Server(configure(create_app(served, options or ServerOptions(model_id="tiny"))), served)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not (served.ready and server.started) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{opened.getsockname()[1]}", served
    finally:
        server.should_exit = True
        thread.join()
        served.close()
        opened.close()


@dataclass(frozen=True)
class Reply:
    """What a server has answered; names of headers are in lower case."""

    status: int
    text: str
    headers: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.text)


def request(address: str, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
    """Ask a server without a library's care."""
    connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
    try:
        connection.request(method, path, body, headers)
        found = connection.getresponse()
        named = {name.lower(): value for name, value in found.getheaders()}
        return Reply(found.status, found.read().decode(), named)
    finally:
        connection.close()
