"""A live server on loopback, in a thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
