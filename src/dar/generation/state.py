"""The state of a generation: tokens drawn one by one, and denoising steps that run as soon as their group is there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from dar.generation.settings import GenerationSettings
from dar.prior import Prior
from dar.prior.state import DrawingState, RowSettings
from dar.randomness import draw_noise_and_uniforms
from dar.tokenizer import SequentialDiffusionTokenizer
from dar.tokenizer.denoising import DenoisingState


@dataclass(frozen=True)
class Denoised:
    """Images after a step.

    Attributes:
        rows: which images of the state.
        steps: how many steps each of them has done.
        pixels: len(rows) x 3 x H x W in [-1, 1]: estimates of the final images, or those themselves.
    """

    rows: list[int]
    steps: list[int]
    pixels: Tensor


class GenerationState:
    """R images on their way, each at a token and a step of its own; nothing of one depends on the others.

    Args:
        tokenizer: of the model.
        prior: of the model.
        classes: R class indices.
        seeds: R seeds.
        settings: of each image; the numbers of steps are known.
        prefix_RP: first tokens to keep, int64; None for none.
    """

    def __init__(
        self,
        tokenizer: SequentialDiffusionTokenizer,
        prior: Prior,
        classes: Sequence[int],
        seeds: Sequence[int],
        settings: Sequence[GenerationSettings],
        prefix_RP: Tensor | None = None,
    ) -> None:
        config, rows = tokenizer.config, len(classes)
        noise, uniforms = draw_noise_and_uniforms(seeds, config.image_size, config.num_tokens)
        prefix_RP = torch.empty(rows, 0, dtype=torch.int64) if prefix_RP is None else prefix_RP
        ways = [RowSettings(tuple(one.guidance_scale.scales(config.num_tokens)), one.sampling()) for one in settings]
        self._group, self._num_tokens = config.tokens_per_group, config.num_tokens
        self._image_size = config.image_size
        self._steps = [one.steps or config.num_steps for one in settings]
        self._drawing = DrawingState(prior, torch.tensor(classes), uniforms, ways, prefix_RP)
        self._denoising = tokenizer.start_denoising(noise, self._steps, [one.solver for one in settings])

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def counts(self) -> list[int]:
        """How many tokens of each image are there."""
        return self._drawing.counts

    @property
    def steps_done(self) -> list[int]:
        """How many steps of each image are done."""
        return self._denoising.steps_done

    @property
    def tokens(self) -> Tensor:
        """R x N, int64, of which the first ``counts`` are there."""
        return self._drawing.tokens

    def num_steps(self, row: int) -> int:
        """Tell how many steps an image has in all."""
        return self._steps[row]

    def tokens_seen(self, row: int) -> int:
        """Tell how many tokens of an image its steps so far have looked at."""
        return self._denoising.groups_seen[row] * self._group

    def is_finished(self, row: int) -> bool:
        """Tell whether all steps of an image are done."""
        return self.steps_done[row] == self._steps[row]

    def drawable(self) -> list[int]:
        """List the images that have tokens left to draw."""
        return [row for row, count in enumerate(self.counts) if count < self._num_tokens]

    def ready(self) -> list[int]:
        """List the images whose next step can run: its group is there, and before the last step all tokens are."""
        return [row for row, count in enumerate(self.counts) if count >= self._tokens_needed(row)]

    def _tokens_needed(self, row: int) -> float:
        """Count the tokens that an image's next step needs; no number is enough where no step is left."""
        step = self._denoising.next_step(row)
        if step is None:
            return math.inf
        is_last = self.steps_done[row] + 1 == self._steps[row]
        return self._num_tokens if is_last else (step.group + 1) * self._group

    def draw(self) -> None:
        """Draw the next token of every image that has one left."""
        self._drawing.draw()

    def take(self, drawn_R: Tensor) -> None:
        """Take the next token of every image from where it was drawn, R tokens; see ``DrawingState.take``."""
        self._drawing.take(drawn_R)

    def denoise(self) -> Denoised:
        """Run the next step of the images that are ready, in one call of the network."""
        rows = self.ready()
        part = self._denoising if len(rows) == len(self) else self._denoising.select(rows)
        _see(part, self.tokens if part is self._denoising else self.tokens[rows], self._group)
        pixels = part.step()
        if part is not self._denoising:
            self._denoising.put(rows, part)
        return Denoised(rows, [self.steps_done[row] for row in rows], pixels)

    def select(self, rows: Sequence[int]) -> Self:
        """Copy some images, in any order, also more than once."""
        made = self._copy([self._steps[row] for row in rows])
        made._drawing, made._denoising = self._drawing.select(rows), self._denoising.select(rows)
        return made

    def fork(self, seeds: Sequence[int]) -> Self:
        """Begin an image for each seed from the one that there is; they share what has been computed of its prefix.

        Raises:
            ValueError: if there are several images, or a step is done.
        """
        if len(self) != 1 or self.steps_done != [0]:
            raise ValueError("only one image whose denoising has not begun can be forked")
        made = self.select([0] * len(seeds))
        noise, uniforms = draw_noise_and_uniforms(seeds, self._image_size, self._num_tokens)
        made._drawing.reseed(uniforms)
        made._denoising.restart(noise)
        return made

    @classmethod
    def joined(cls, states: Sequence[Self]) -> Self:
        """Copy the images of several states of one model into one."""
        made = states[0]._copy([count for state in states for count in state._steps])
        made._drawing = DrawingState.joined([state._drawing for state in states])
        made._denoising = DenoisingState.joined([state._denoising for state in states])
        return made

    def _copy(self, steps: list[int]) -> Self:
        made = type(self).__new__(type(self))
        made._group, made._num_tokens, made._image_size = self._group, self._num_tokens, self._image_size
        made._steps = steps
        return made


def _see(denoising: DenoisingState, tokens_RN: Tensor, size: int) -> None:
    """Let images see the groups of tokens up to that of their next step, one after the other."""
    while behind := [row for row in range(len(denoising)) if not denoising.is_ready(row)]:
        part = denoising if len(behind) == len(denoising) else denoising.select(behind)
        starts = torch.tensor([denoising.groups_seen[row] * size for row in behind], device=tokens_RN.device)
        columns = starts[:, None] + torch.arange(size, device=tokens_RN.device)
        part.see(tokens_RN[behind].gather(1, columns))
        if part is not denoising:
            denoising.put(behind, part)
