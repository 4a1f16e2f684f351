"""From the fields of a request to jobs: classes, seeds, settings and tokens to keep, as both routes take them."""

import secrets
from dataclasses import dataclass, replace
from typing import Any

from dar.generation.layout import kept_prefix, layout_prefix
from dar.generation.settings import SEQUENTIAL, GenerationSettings, GivenSettings
from dar.images import read_image
from dar.pipeline import DARPipeline
from dar.prior.guidance import Guidance
from dar.serve.errors import APIError, about
from dar.serve.fields import Fields
from dar.serve.jobs import Job

MOST_STEPS = 1000
MOST_SEED = 2**63 - 1
RANDOM_BITS = 31
"""Of a seed that is drawn: few enough for every client's numbers."""

MOST_LAYOUT_PIXELS = 2**22


@dataclass(frozen=True)
class Wanted:
    """Images of one class that differ in their seeds.

    Attributes:
        class_name: its name.
        jobs: one an image.
        num_tokens: N of each image.
    """

    class_name: str
    jobs: list[Job]
    num_tokens: int

    def with_previews(self) -> "Wanted":
        """Return the same with previews."""
        return replace(self, jobs=[replace(job, previews=True) for job in self.jobs])


def read_wanted(pipe: DARPipeline, fields: Fields, wanted_class: Any, param: str, count: int = 1) -> Wanted:
    """Read and check what is to be generated; encodes a layout.

    Args:
        pipe: the model.
        fields: of the request.
        wanted_class: name or index of the class.
        param: the field that it came from.
        count: images; image i has the seed + i.

    Raises:
        APIError: for what cannot be.
    """
    with about(param, "invalid_class"):
        index = pipe.prior.config.class_index(wanted_class)
    settings = read_settings(pipe, fields)
    seed = fields.integer("seed", None, 0, MOST_SEED - count)
    first = secrets.randbits(RANDOM_BITS) if seed is None else seed
    prefix = read_prefix(pipe, fields)
    jobs = [Job(index, first + i, settings, prefix) for i in range(count)]
    return Wanted(pipe.prior.config.class_names[index], jobs, pipe.prior.config.num_tokens)


def read_settings(pipe: DARPipeline, fields: Fields) -> GenerationSettings:
    """Read how to sample; the model's own settings hold for what is left out, but tokens are drawn one by one."""
    given: GivenSettings = {"sampler": SEQUENTIAL}
    scale = fields.raw("guidance_scale")
    if scale is not None:
        if isinstance(scale, str) and len(scale) > 100:
            raise APIError(400, "guidance_scale must be a number, or a text such as 1:3", param="guidance_scale")
        with about("guidance_scale"):
            given["guidance_scale"] = Guidance.of(scale)
    for name in ("temperature", "top_p", "top_k"):
        value = fields.raw(name)
        if value is not None:
            with about(name):
                GenerationSettings(**{name: value})
            given[name] = value
    steps = fields.integer("num_inference_steps", None, 1, MOST_STEPS)
    if steps is not None:
        given["steps"] = steps
    with about("guidance_scale"):
        return pipe.resolved(given)


def read_prefix(pipe: DARPipeline, fields: Fields) -> tuple[int, ...]:
    """Read the tokens to keep: those of a layout picture, or numbers."""
    picture, length = (
        fields.content("layout"),
        fields.integer("layout_tokens", None, 1, pipe.tokenizer.config.num_tokens),
    )
    kept = fields.integers("kept_tokens", pipe.tokenizer.config.num_tokens)
    if kept:
        if picture is not None or length is not None:
            raise APIError(400, "a layout and tokens to keep were both given: leave one out", param="kept_tokens")
        with about("kept_tokens"):
            return tuple(kept_prefix(pipe.tokenizer.config, kept, 1)[0].tolist())
    if (picture is None) != (length is None):
        missing = "layout" if picture is None else "layout_tokens"
        raise APIError(
            400, "a layout needs both: layout, the picture, and layout_tokens, how many to keep", param=missing
        )
    if picture is None:
        return ()
    with about("layout"):
        image = read_image(picture, "the layout picture", MOST_LAYOUT_PIXELS)
        prefix = layout_prefix(pipe.tokenizer, image, length, 1)
    assert prefix is not None
    return tuple(prefix[0].tolist())
