"""Streaming: a denoising step runs as soon as its group of tokens is generated."""

from collections.abc import Iterator

from dar.generation.memory import wrap_out_of_memory
from dar.generation.request import Request
from dar.generation.results import Preview
from dar.generation.state import GenerationState
from dar.prior import Prior
from dar.tokenizer import SequentialDiffusionTokenizer


def previews(tokenizer: SequentialDiffusionTokenizer, prior: Prior, request: Request) -> Iterator[Preview]:
    """Generate a batch: a preview after every step, each computed when it is asked for."""
    steps = request.settings.steps
    assert steps is not None
    with wrap_out_of_memory(len(request)):
        settings = [request.settings] * len(request)
        state = GenerationState(tokenizer, prior, request.indices, request.seeds, settings, request.prefix)
        for step in range(1, steps + 1):
            while not state.ready():
                state.draw()
            pixels, known = state.denoise().pixels, state.tokens[:, : state.counts[0]].clone()
            yield Preview(step, pixels, known, step == steps, steps, request.class_names, request.seeds)
