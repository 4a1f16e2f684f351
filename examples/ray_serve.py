"""The server on more than one machine, as a deployment of Ray Serve: python examples/ray_serve.py --replicas 2

Each replica has a model and an engine of its own, and answers at all addresses of `dar serve`. Ray hands a request to
a replica with room, streams its answer, and starts more replicas while requests wait.
"""

from typing import Annotated

import typer
from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig

from dar.pipeline import DARPipeline
from dar.serve.app import create_app
from dar.serve.engine import Engine
from dar.serve.service import ServerOptions

MOST_IMAGES = 10
"""Of one request."""


@serve.ingress()
class Replica:
    """One engine behind the application of `dar serve`."""

    _engine: Engine | None = None

    def __init__(self, model: str | None, name: str, slots: int) -> None:
        self._name = name
        pipe = DARPipeline.from_pretrained(model)
        pipe([0], seed=0)  # Ray tells what this raises, and asks a replica as soon as it is made
        self._engine = Engine(pipe, slots=slots, queue_limit=MOST_IMAGES * slots)
        self._engine.start()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self._engine, ServerOptions(model_id=self._name))

    def __del__(self) -> None:
        if self._engine:
            self._engine.close()


def main(
    model: Annotated[str | None, typer.Option(help="Folder or Hub id; the bundled one unless told.")] = None,
    name: Annotated[str, typer.Option(help="What clients call the model.")] = "dar",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    replicas: Annotated[int, typer.Option(min=1, help="That are always there.")] = 2,
    most_replicas: Annotated[
        int | None, typer.Option(help="While requests wait; as many as always unless told.")
    ] = None,
    slots: Annotated[
        int, typer.Option(min=1, help="Images under way in a replica, and requests that it is given.")
    ] = 32,
    queue: Annotated[int, typer.Option(min=1, help="Requests that may wait; more are answered 429.")] = 128,
    gpus: Annotated[float, typer.Option(min=0, help="Of each replica.")] = 0,
) -> None:
    """Serve until Ctrl-C, on this machine or on the cluster that RAY_ADDRESS names."""
    scaling = AutoscalingConfig(
        min_replicas=replicas, max_replicas=max(replicas, most_replicas or 0), target_ongoing_requests=slots / 2
    )
    deployment = serve.deployment(
        name="dar",
        autoscaling_config=scaling,
        max_ongoing_requests=slots,
        max_queued_requests=queue,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        ray_actor_options={"num_cpus": 1, "num_gpus": gpus},
    )(Replica)
    serve.start(http_options={"host": host, "port": port})
    serve.run(deployment.bind(model, name, slots), blocking=True)


if __name__ == "__main__":
    typer.run(main)
