"""Streaming: a denoising step runs as soon as its group of tokens is generated."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from dar.generation.memory import wrap_out_of_memory
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
    columns = generate_tokens(prior, classes, uniforms, settings.guidance_scale, settings, request.prefix)
    groups = TokenGroups(columns, config.tokens_per_group)
    return _joined(tokenizer.denoise(groups, noise, settings.steps, settings.solver), groups, request)


class TokenGroups:
    """Gives groups of tokens, B x q, each as soon as it is generated, and keeps all tokens so far.

    Args:
        columns: N times B tokens, generated as they are taken.
        size: q, tokens of a group.
    """

    def __init__(self, columns: Iterator[Tensor], size: int) -> None:
        self._columns, self._size = columns, size
        self._known: list[Tensor] = []

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        group = list(islice(self._columns, self._size))
        if not group:
            raise StopIteration
        self._known += group
        return torch.stack(group, dim=1)

    @property
    def known(self) -> Tensor:
        """The tokens so far: B x n."""
        return torch.stack(self._known, dim=1)

    def finish(self) -> None:
        """Generate the remaining tokens."""
        self._known += self._columns


def _joined(images: Iterator[Tensor], groups: TokenGroups, request: Request) -> Iterator[Preview]:
    """Join what denoising gives after each step with the tokens known by then."""
    steps = request.settings.steps
    assert steps is not None
    with wrap_out_of_memory(len(request)):
        for step, pixels in enumerate(images, start=1):
            is_final = step == steps
            if is_final:
                groups.finish()  # where steps are fewer than groups, denoising has left some to generate
            yield Preview(step, pixels, groups.known, is_final, steps, request.class_names, request.seeds)
