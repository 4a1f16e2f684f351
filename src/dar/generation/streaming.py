"""Streaming: a denoising step runs as soon as its group of tokens is generated."""

from collections.abc import Iterator

import torch
from torch import Tensor

from dar.generation.memory import wrap_out_of_memory
from dar.generation.request import Request
from dar.generation.results import Preview
from dar.generation.settings import DRAFTS
from dar.generation.state import GenerationState
from dar.prior import Prior
from dar.prior.speculative import generate_tokens_by_drafts
from dar.randomness import derived_seed
from dar.tokenizer import SequentialDiffusionTokenizer


def previews(tokenizer: SequentialDiffusionTokenizer, prior: Prior, request: Request) -> Iterator[Preview]:
    """Generate a batch: a preview after every step, each computed when it is asked for."""
    steps = request.settings.steps
    assert steps is not None
    with wrap_out_of_memory(len(request)):
        settings = [request.settings] * len(request)
        state = GenerationState(tokenizer, prior, request.indices, request.seeds, settings, request.prefix)
        columns = _drafted(prior, request) if request.settings.sampler == DRAFTS else None
        for step in range(1, steps + 1):
            while not state.ready():
                if columns is None:
                    state.draw()
                else:
                    state.take(next(columns))
            pixels, known = state.denoise().pixels, state.tokens[:, : state.counts[0]].clone()
            yield Preview(step, pixels, known, step == steps, steps, request.class_names, request.seeds)


def _drafted(prior: Prior, request: Request) -> Iterator[Tensor]:
    """Draw the tokens of a batch by drafts, a column at a time."""
    seeds = [derived_seed(seed, DRAFTS) for seed in request.seeds]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    settings = request.settings
    return generate_tokens_by_drafts(
        prior, torch.tensor(request.indices), generators, settings.guidance_scale, settings.sampling()
    )
