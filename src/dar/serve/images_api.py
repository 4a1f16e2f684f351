"""OpenAI's image API: ``POST /v1/images/generations``, streamed or not, and ``GET /v1/models``.

Every field is emitted or refused; ``user``, ``moderation`` and ``style`` alone are accepted and mean nothing here.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from torch import Tensor

from dar.serve.body import json_object
from dar.serve.delivery import Delivery
from dar.serve.encoding import encoded_image
from dar.serve.errors import APIError
from dar.serve.fields import Fields
from dar.serve.frames import EventResponse
from dar.serve.jobs import Event, Finished, Job, Previewed
from dar.serve.service import Service
from dar.serve.wanted import Wanted, read_wanted

MOST_IMAGES = 10
MOST_PARTIAL = 3
FORMATS = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}
QUALITIES = {"low": 0.5, "medium": 1.0, "standard": 1.0, "high": 2.0, "hd": 2.0}
"""By quality: denoising steps, as a multiple of the model's own number."""


@dataclass(frozen=True)
class ImageRequest:
    """A checked request.

    Attributes:
        wanted: what to generate.
        stream: whether events are sent.
        partial_images: how many previews of each image.
        output: Pillow's format.
        compression: quality of JPEG and WebP, 0 to 100; None means Pillow's own.
        echoed: fields of each answer and event that repeat what was settled.
    """

    wanted: Wanted
    stream: bool
    partial_images: int
    output: str
    compression: int | None
    echoed: dict[str, Any]

    @property
    def jobs(self) -> list[Job]:
        """For the engine."""
        return (self.wanted.with_previews() if self.partial_images else self.wanted).jobs

    def encoded(self, pixels_3HW: Tensor) -> str:
        """Make the image file, in base64."""
        quality = {} if self.compression is None else {"quality": self.compression}
        return encoded_image(pixels_3HW, self.output, **quality)

    def usage(self, images: int) -> dict[str, Any]:
        """Count what was read and drawn."""
        drawn = images * (self.wanted.num_tokens - len(self.wanted.jobs[0].prefix))
        details = {"text_tokens": 1, "image_tokens": len(self.wanted.jobs[0].prefix)}
        read = sum(details.values())
        return {
            "input_tokens": read,
            "input_tokens_details": details,
            "output_tokens": drawn,
            "total_tokens": read + drawn,
        }


def read_request(service: Service, given: dict[str, Any]) -> ImageRequest:
    """Check the fields of a request.

    Raises:
        APIError: for the first that cannot be.
    """
    fields, config = Fields(given), service.pipe.tokenizer.config
    fields.ignore("user", "moderation", "style")
    prompt = fields.text("prompt")
    if not prompt:
        raise APIError(400, "prompt is missing: give the name or the number of a class", param="prompt")
    service.check_model(fields.text("model"))
    count = fields.integer("n", 1, 1, min(MOST_IMAGES, service.engine.capacity)) or 1
    native = f"{config.image_size}x{config.image_size}"
    fields.choice("size", ("auto", native), "auto")
    fields.choice("background", ("auto", "opaque"), "auto")
    fields.choice("response_format", ("b64_json",), "b64_json")
    output = fields.choice("output_format", tuple(FORMATS), "png")
    compression = fields.integer("output_compression", None, 0, 100)
    if compression is not None and output == "png":
        raise APIError(400, "output_compression goes with jpeg and webp: leave it out", param="output_compression")
    stream = fields.boolean("stream", False)
    partial = fields.integer("partial_images", 0, 0, MOST_PARTIAL) or 0
    if partial and not stream:
        raise APIError(400, "partial_images goes with stream: set stream to true", param="partial_images")
    quality = _read_quality(fields, config.num_steps)
    wanted = read_wanted(service.pipe, fields, prompt, "prompt", count)
    fields.refuse_others()
    echoed = {"size": native, "quality": quality, "background": "opaque", "output_format": output}
    return ImageRequest(wanted, stream, partial, FORMATS[output], compression, echoed)


def _read_quality(fields: Fields, own_steps: int) -> str:
    """Read the quality, and let it choose the number of steps where that is not given."""
    quality = fields.choice("quality", ("auto", *QUALITIES), "auto")
    if quality == "auto":
        return "medium"
    fields.settle("num_inference_steps", max(1, round(QUALITIES[quality] * own_steps)), by="quality")
    return quality


def partial_steps(count: int, num_steps: int) -> dict[int, int]:
    """Choose the steps after which previews are sent, evenly; by step, the preview's index."""
    chosen = sorted({(i + 1) * num_steps // (count + 1) for i in range(count)} & set(range(1, num_steps)))
    return {step: i for i, step in enumerate(chosen)}


def router(service: Service) -> APIRouter:
    """Make the routes."""
    routes = APIRouter()

    @routes.post("/v1/images/generations")
    async def generations(request: Request) -> Response:
        given = await json_object(request, service.options.largest_body)
        asked = await asyncio.to_thread(read_request, service, given)
        delivery = service.deliver(asked.jobs)
        if asked.stream:
            return EventResponse(_events(asked, delivery), delivery)
        with closing(delivery):
            finished = await delivery.finished(request)
        return JSONResponse(await asyncio.to_thread(_answer, asked, finished))

    @routes.post("/v1/images/edits")
    async def edits() -> Response:
        raise APIError(501, "images cannot be edited yet: generate some, or keep the layout of one with layout")

    @routes.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [service.model()]}

    @routes.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        service.check_model(name)
        return service.model()

    return routes


def _answer(asked: ImageRequest, finished: list[Finished]) -> dict[str, Any]:
    data = [
        {"b64_json": asked.encoded(event.pixels), "dar": _vendor(asked.wanted, job, i)}
        for i, (job, event) in enumerate(zip(asked.wanted.jobs, finished, strict=True))
    ]
    return {"created": int(time.time()), "data": data, **asked.echoed, "usage": asked.usage(len(data))}


def _vendor(wanted: Wanted, job: Job, index: int) -> dict[str, Any]:
    """What OpenAI's shapes have no field for."""
    return {
        "image_index": index,
        "seed": job.seed,
        "class": wanted.class_name,
        "num_inference_steps": job.settings.steps,
        "guidance_scale": str(job.settings.guidance_scale),
    }


async def _events(asked: ImageRequest, delivery: Delivery) -> AsyncIterator[dict[str, Any]]:
    """Make the events of previews and images as they come."""
    steps = asked.wanted.jobs[0].settings.steps
    assert steps is not None
    chosen = partial_steps(asked.partial_images, steps)
    async for number, event in delivery.events():
        found = await asyncio.to_thread(_event, asked, chosen, number, event)
        if found is not None:
            yield found


def _event(asked: ImageRequest, chosen: dict[int, int], number: int, event: Event) -> dict[str, Any] | None:
    job = asked.wanted.jobs[number]
    about: dict[str, Any] = {"created_at": int(time.time()), **asked.echoed}
    vendor = _vendor(asked.wanted, job, number)
    match event:
        case Previewed() if event.step in chosen:
            about |= {"type": "image_generation.partial_image", "partial_image_index": chosen[event.step]}
            vendor |= {"step": event.step, "tokens": len(event.tokens)}
        case Finished():
            about |= {"type": "image_generation.completed", "usage": asked.usage(1)}
        case _:
            return None
    return {**about, "b64_json": asked.encoded(event.pixels), "dar": vendor}
