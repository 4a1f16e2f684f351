"""What all routes of a server share."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dar.pipeline import DARPipeline
from dar.serve.delivery import Delivery
from dar.serve.engine import Engine
from dar.serve.errors import APIError
from dar.serve.jobs import Job
from dar.serve.metrics import Metrics


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """How a server answers.

    Attributes:
        model_id: what clients call the model.
        api_key: that requests must bear; None lets all in.
        timeout: seconds after which an image that is not finished is given up.
        allowed_origins: pages of other hosts that browsers may let ask.
        largest_body: bytes.
    """

    model_id: str = "dar"
    api_key: str | None = None
    timeout: float = 300.0
    allowed_origins: tuple[str, ...] = ()
    largest_body: int = 2**24


class Service:
    """An engine, its metrics, and the options of the server before it.

    Args:
        engine: generates.
        options: of the server.
    """

    def __init__(self, engine: Engine, options: ServerOptions) -> None:
        self.engine, self.options, self.metrics = engine, options, Metrics(engine)
        self._created = int(time.time())

    @property
    def pipe(self) -> DARPipeline:
        """The model."""
        return self.engine.pipe

    def deliver(self, jobs: Sequence[Job]) -> Delivery:
        """Let the engine take jobs.

        Raises:
            APIError: if it doesn't.
        """
        return Delivery(self.engine, jobs, self.metrics, self.options.timeout)

    def model(self) -> dict[str, Any]:
        """Describe the model as OpenAI does."""
        return {"id": self.options.model_id, "object": "model", "created": self._created, "owned_by": "dar"}

    def check_model(self, name: str | None) -> None:
        """Make sure that a request means the model that is there.

        Raises:
            APIError: for another.
        """
        if name not in (None, self.options.model_id):
            message = f"there is no model {str(name)[:60]!r}: this server has {self.options.model_id!r}"
            raise APIError(404, message, param="model", code="model_not_found")
