"""Tokens as they are drawn, and a denoising step as soon as its group of them is there."""

from collections.abc import Iterator

import torch
from torch import Tensor

from dar.generation.request import Request
from dar.generation.results import Preview
from dar.prior import Prior
from dar.prior.sampling import generate_tokens
from dar.randomness import draw_noise_and_uniforms
from dar.tokenizer import SequentialDiffusionTokenizer


def previews(tokenizer: SequentialDiffusionTokenizer, prior: Prior, request: Request) -> Iterator[Preview]:
    """Generate a batch: a preview after every step, each computed when it is asked for."""
    config, settings = tokenizer.config, request.settings
    noise, uniforms = draw_noise_and_uniforms(request.seeds, config.image_size, config.num_tokens)
    classes = torch.tensor(request.indices)
    columns = generate_tokens(prior, classes, uniforms, settings.guidance_scale, settings.drawing, request.prefix)
    known: list[Tensor] = []
    groups = _groups(columns, config.tokens_per_group, known)
    return _joined(tokenizer.denoise(groups, noise, settings.steps, settings.solver), groups, known, request)


def _groups(columns: Iterator[Tensor], size: int, known: list[Tensor]) -> Iterator[Tensor]:
    """Collect columns of B tokens into ``known``; give each group, B x size, as soon as it is whole."""
    for tokens in columns:
        known.append(tokens)
        if len(known) % size == 0:
            yield torch.stack(known[-size:], dim=1)


def _joined(
    images: Iterator[Tensor], groups: Iterator[Tensor], known: list[Tensor], request: Request
) -> Iterator[Preview]:
    """Join what denoising gives after each step with the tokens known by then."""
    steps = request.settings.steps
    assert steps is not None
    for step, pixels in enumerate(images, start=1):
        is_final = step == steps
        if is_final:
            for _ in groups:  # where steps are fewer than groups, denoising has left some to generate
                pass
        tokens = torch.stack(known, dim=1)
        yield Preview(step, pixels, tokens, is_final, steps, request.class_names, request.seeds)
