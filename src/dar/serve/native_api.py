"""Every preview with its tokens, for the page and for notebooks: ``POST /v1/dar/stream``, ``GET /v1/dar/model``."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from dar.serve.body import json_object
from dar.serve.delivery import Delivery
from dar.serve.encoding import encoded_image
from dar.serve.errors import APIError
from dar.serve.fields import Fields
from dar.serve.frames import EventResponse
from dar.serve.jobs import Finished, Previewed
from dar.serve.service import Service
from dar.serve.wanted import MOST_STEPS, Wanted, read_wanted


def router(service: Service) -> APIRouter:
    """Make the routes."""
    routes = APIRouter()

    @routes.post("/v1/dar/stream")
    async def stream(request: Request) -> Response:
        given = await json_object(request, service.options.largest_body)
        wanted = await asyncio.to_thread(_read, service, given)
        delivery = service.deliver(wanted.with_previews().jobs)
        return EventResponse(_events(wanted, delivery), delivery)

    @routes.get("/v1/dar/model")
    async def model() -> dict[str, Any]:
        config, prior = service.pipe.tokenizer.config, service.pipe.prior.config
        return {
            "id": service.options.model_id,
            "classes": list(prior.class_names),
            "image_size": config.image_size,
            "num_tokens": config.num_tokens,
            "num_groups": config.num_groups,
            "steps": {"default": service.pipe.resolved({}).steps, "smallest": 1, "largest": MOST_STEPS},
            "settings": service.pipe.settings.values() | {"guidance_scale": str(service.pipe.settings.guidance_scale)},
        }

    return routes


def _read(service: Service, given: dict[str, Any]) -> Wanted:
    fields = Fields(given)
    wanted_class = fields.raw("class")
    if not isinstance(wanted_class, str | int):
        raise APIError(400, "class is missing: give the name or the number of one", param="class")
    wanted = read_wanted(service.pipe, fields, wanted_class, "class")
    fields.refuse_others()
    return wanted


async def _events(wanted: Wanted, delivery: Delivery) -> AsyncIterator[dict[str, Any]]:
    (job,), about = wanted.jobs, {"class": wanted.class_name, "seed": wanted.jobs[0].seed}
    async for _, event in delivery.events():
        if isinstance(event, Previewed | Finished):
            step = event.step if isinstance(event, Previewed) else job.settings.steps
            kind = "dar.preview" if isinstance(event, Previewed) else "dar.completed"
            picture = await asyncio.to_thread(encoded_image, event.pixels)
            yield {
                "type": kind,
                "step": step,
                "num_steps": job.settings.steps,
                "b64_png": picture,
                "tokens": list(event.tokens),
                **about,
            }
