"""The server's process: it listens, and ends only when what was accepted is finished."""

import signal
import socket
import threading
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from dar.errors import DARError
from dar.serve.app import create_app
from dar.serve.engine import Engine
from dar.serve.service import ServerOptions

AFTER_DRAINING = 10
"""Seconds in which answers that are finished must have been sent."""


class Server(uvicorn.Server):
    """Drains the engine at the first SIGTERM or SIGINT, while new requests get 503; a second one ends it at once."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self._engine = engine

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal."""
        if self._engine.draining:
            super().handle_exit(signal.SIGINT, frame)
            super().handle_exit(signal.SIGINT, frame)  # the second is what makes uvicorn drop connections
        else:
            threading.Thread(target=self._drain, name="dar-drain", daemon=True).start()

    def _drain(self) -> None:
        self._engine.drain()
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """Open the socket, so that a port that is taken is told before a model is loaded.

    Raises:
        DARError: if that cannot be.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DARError(f"cannot listen on {host} port {port} ({reason}): choose another --port or --host") from error
    return opened


def run(engine: Engine, options: ServerOptions, opened: socket.socket) -> None:
    """Serve until a signal comes; starts the engine, and closes it at the end."""
    engine.start()
    try:
        Server(configure(create_app(engine, options)), engine).run(sockets=[opened])
    finally:
        engine.close()


def configure(app: ASGIApp) -> uvicorn.Config:
    """Make uvicorn's configuration."""
    return uvicorn.Config(
        app,
        http="h11",  # whose limit on heads is set below
        log_config=None,
        access_log=False,  # the application logs requests with their ids
        server_header=False,
        timeout_graceful_shutdown=AFTER_DRAINING,
        h11_max_incomplete_event_size=2**16,
    )
