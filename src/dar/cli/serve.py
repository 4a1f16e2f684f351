"""``dar serve``."""

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dar.checks import spelled_number
from dar.cli import checks, options
from dar.cli.loading import loading
from dar.dtypes import FLOAT32, plain_name
from dar.errors import DARError
from dar.extras import require_extra
from dar.model_folder import BUNDLED

if TYPE_CHECKING:
    from dar.pipeline import DARPipeline
    from dar.serve.engine import Engine

KEY_VARIABLE = "DAR_API_KEY"

THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where to find what listens on all addresses."""


def serve(
    model: options.Model = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    slots: Annotated[
        str,
        typer.Option(metavar="INTEGER|auto", help="Images on their way at one time; auto: as many as fit into memory."),
    ] = "32",
    queue: Annotated[int, typer.Option(min=1, help="Images that may wait for a slot; more are refused.")] = 128,
    policy: Annotated[
        str, typer.Option(help="Which waits least: first-come, or fewest-tokens left to draw.")
    ] = "first-come",
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which an unfinished image is given up.")
    ] = 300.0,
    name: Annotated[str | None, typer.Option(help="What clients call the model; by default its own name.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar=KEY_VARIABLE, show_envvar=True, help="Key that requests must bear.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Page of another host that may ask from browsers; repeat it for several.")
    ] = None,
    device: options.Device = "cpu",
    dtype: options.Dtype = FLOAT32,
) -> None:
    """Serve images: OpenAI's image API with previews, and a page to try it.

    Example: dar serve, then open http://127.0.0.1:8000
    """
    require_extra("serve")
    checks.model(model)
    if api_key is not None and not api_key.strip():
        raise DARError(f"the API key is empty: set --api-key or {KEY_VARIABLE} to a secret, or leave both out")
    with loading():
        from dar.pipeline import DARPipeline
        from dar.serve.engine import Engine
        from dar.serve.scheduling import policy_named
        from dar.serve.server import listen, run
        from dar.serve.service import ServerOptions

        chosen = policy_named(policy)
        opened = listen(host, port)
        pipe = DARPipeline.from_pretrained(model, device=device, dtype=dtype)
    engine = Engine(pipe, slots=_slots(slots, pipe), queue_limit=queue, policy=chosen)
    known_as = name or (BUNDLED if model is None else Path(model).name)
    _tell(pipe, engine, known_as, _address(host, opened), is_open=api_key is None)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    run(
        engine,
        ServerOptions(model_id=known_as, api_key=api_key, timeout=timeout, allowed_origins=tuple(allow_origin or ())),
        opened,
    )


def _slots(given: str, pipe: "DARPipeline") -> int:
    """Settle the number of slots, such that all fit into memory.

    Raises:
        DARError: if they don't, or it is no number.
    """
    from dar.generation.request import fitting_batch_size

    most = spelled_number(given)
    if given == "auto":
        most = fitting_batch_size(pipe.tokenizer, pipe.prior.config, pipe.settings, {"kept_tokens": [0]}, "auto", 10**6)
    if most is None or most < 1:
        raise DARError(f"slots must be a whole number of at least 1, or auto, not {given[:40]!r}")
    return fitting_batch_size(pipe.tokenizer, pipe.prior.config, pipe.settings, {"kept_tokens": [0]}, None, most)


def _address(host: str, opened: socket.socket) -> str:
    """Return the address of a socket that a browser on this machine can open."""
    bound, port = opened.getsockname()[:2]
    name = THIS_MACHINE.get(bound, host)
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{port}"


def _tell(pipe: "DARPipeline", engine: "Engine", name: str, address: str, *, is_open: bool) -> None:
    """Say what is served, where and to whom, before it begins."""
    config = pipe.tokenizer.config
    size = f"{config.image_size} x {config.image_size} pixels, {pipe.prior.config.num_classes} classes"
    lines = {
        "model": f"{name}, {pipe.name}: {size}",
        "computing": f"{pipe.device}, {plain_name(pipe.dtype)}",
        "slots": f"{engine.slots}",
        "key": "none: whoever reaches this address may ask" if is_open else "needed",
        "page": address,
        "API": f"{address}/v1 (OpenAI's images; /health, /ready, /metrics)",
    }
    for about, text in lines.items():
        options.say(f"{about:<12}{text}")
