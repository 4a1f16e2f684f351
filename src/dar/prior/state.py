"""Images whose tokens are drawn one by one, each at a token of its own, with guidance and a key-value cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from dar.prior.choice import draw
from dar.prior.decoding import computing_dtype, decoder_of
from dar.prior.drawing import Sampling
from dar.prior.model import Prior
from dar.token_cache import TokenCache


@dataclass(frozen=True)
class RowSettings:
    """How the tokens of one image are drawn.

    Attributes:
        scales: of guidance, at each of N tokens.
        sampling: how a token is drawn from its logits.
    """

    scales: tuple[float, ...]
    sampling: Sampling

    @cached_property
    def is_guided(self) -> bool:
        """Whether the prior computes a row without a class beside this one."""
        return any(scale != 1 for scale in self.scales)


class DrawingState:
    """The state of R images: tokens so far, what the prior has seen of them, and the random numbers of the others.

    Each forward pass holds a row for every image, and after them one without a class for every guided image. Logits
    are combined as uncond + scale * (cond - uncond).

    Args:
        prior: the model.
        classes_R: class indices, int64.
        uniforms_RN: numbers in [0, 1), float64, one a token: all the randomness there is.
        settings: of each image.
        prefix_RP: first tokens to keep instead of drawing them, int64.

    Attributes:
        counts: how many tokens of each image are there.
        tokens: R x N, int64, on the model's device; zeros where none is there yet.
    """

    @torch.no_grad()
    def __init__(
        self,
        prior: Prior,
        classes_R: Tensor,
        uniforms_RN: Tensor,
        settings: Sequence[RowSettings],
        prefix_RP: Tensor,
    ) -> None:
        kept = prefix_RP.shape[1]
        self._settings, self._guided = list(settings), _guided_rows(settings)
        self._uniforms = uniforms_RN.to(prior.device)
        self.counts = [kept] * len(settings)
        self.tokens = torch.zeros(uniforms_RN.shape, dtype=torch.int64, device=prior.device)
        self.tokens[:, :kept] = prefix_RP

        classes_R, guided = classes_R.to(prior.device), self._guided
        null = torch.full_like(classes_R[guided], prior.config.null_class)
        first = prior.class_tokens(torch.cat([classes_R, null]))
        seen = torch.cat([first[:, None], self._rows(self.tokens[:, :kept])], dim=1)
        self._decoder = decoder_of(prior, computing_dtype(prior))
        self._next = seen  # what the prior has yet to see, as many ids of each row

    @cached_property
    def _cache(self) -> TokenCache:
        """What the prior has seen; images whose tokens are drawn elsewhere need none."""
        return self._decoder.new_cache(len(self._next))

    def __len__(self) -> int:
        return len(self.counts)

    def _rows(self, values_R: Tensor) -> Tensor:
        """Repeat what belongs to guided images, for their rows without a class."""
        guided = self._guided
        return torch.cat([values_R, values_R if len(guided) == len(self) else values_R[guided]])

    @torch.no_grad()
    def draw(self) -> Tensor:
        """Draw the next token of every image that has one left; others take part in the computing all the same.

        Returns:
            R tokens, int64, on the model's device; of an image that had none left, its last one.
        """
        last = self._uniforms.shape[1] - 1
        new = [int(count <= last) for count in self.counts]
        self.counts = [min(count, last) for count in self.counts]  # where the new token goes, or the last one is
        counts = None if all(new) else [*new, *(new[row] for row in self._guided)]
        logits = self._combined(self._decoder.next_logits(self._next, self._cache, counts))
        drawn = self._drawn(logits, _column(self._uniforms, self.counts))
        if counts is not None:
            drawn = torch.where(torch.tensor(new, device=drawn.device) > 0, drawn, self.tokens[:, -1])
        _column_put(self.tokens, self.counts, drawn)
        self._next = self._rows(drawn)[:, None]
        self.counts = [count + 1 for count in self.counts]
        return drawn

    def take(self, drawn_R: Tensor) -> None:
        """Take the next token of every image from where it was drawn; all have as many, and one left."""
        _column_put(self.tokens, self.counts, drawn_R)
        self._next = torch.cat([self._next, self._rows(drawn_R)[:, None]], dim=1)
        self.counts = [count + 1 for count in self.counts]

    def _combined(self, logits: Tensor) -> Tensor:
        """Combine the logits of guided images with those without a class."""
        guided = self._guided
        if not guided:
            return logits
        scales = [self._settings[row].scales[self.counts[row]] for row in guided]
        scale = scales[0] if len(set(scales)) == 1 else torch.tensor(scales, device=logits.device)[:, None]
        conditional, unconditional = logits.split([len(self), len(guided)])
        if len(guided) == len(self):
            return unconditional + scale * (conditional - unconditional)
        combined = conditional.clone()
        combined[guided] = unconditional + scale * (conditional[guided] - unconditional)
        return combined

    def _drawn(self, logits_RV: Tensor, uniforms_R: Tensor) -> Tensor:
        """Draw a token of each image in its own way; images of one way together."""
        ways = [settings.sampling for settings in self._settings]
        if len(set(ways)) == 1:
            return draw(logits_RV, uniforms_R, ways[0])
        drawn = torch.zeros(len(self), dtype=torch.int64, device=logits_RV.device)
        for way in set(ways):
            rows = [row for row, own in enumerate(ways) if own == way]
            drawn[rows] = draw(logits_RV[rows], uniforms_R[rows], way)
        return drawn

    def select(self, rows: Sequence[int]) -> Self:
        """Copy some images, in any order, also more than once."""
        without_class = {row: len(self) + i for i, row in enumerate(self._guided)}
        own = [*rows, *(without_class[row] for row in rows if row in without_class)]
        made = self._copy([self._settings[row] for row in rows], [self.counts[row] for row in rows])
        made.tokens, made._uniforms = self.tokens[list(rows)], self._uniforms[list(rows)]
        made._cache, made._next = self._cache.select(own), self._next[own]
        return made

    def reseed(self, uniforms_RN: Tensor) -> None:
        """Replace the random numbers."""
        self._uniforms = uniforms_RN.to(self._uniforms.device)

    @torch.no_grad()
    def _read_ahead(self) -> None:
        """Let the prior see all that it has yet to see but the last id, as rows must that are to join others."""
        if self._next.shape[1] > 1:
            self._decoder.next_logits(self._next[:, :-1], self._cache)
            self._next = self._next[:, -1:]

    @classmethod
    def joined(cls, states: Sequence[Self]) -> Self:
        """Copy the images of several states of one prior into one."""
        settings = [settings for state in states for settings in state._settings]
        made = states[0]._copy(settings, [count for state in states for count in state.counts])
        made.tokens, made._uniforms = torch.cat([s.tokens for s in states]), torch.cat([s._uniforms for s in states])
        for state in states:
            state._read_ahead()
        with_class = [(state, list(range(len(state)))) for state in states]
        without = [(state, list(range(len(state), len(state._cache.lengths)))) for state in states]
        parts = [(state, rows) for state, rows in [*with_class, *without] if rows]
        made._cache = TokenCache.joined([state._cache.select(rows) for state, rows in parts])
        made._next = torch.cat([state._next[rows] for state, rows in parts])
        return made

    def _copy(self, settings: list[RowSettings], counts: list[int]) -> Self:
        """Make a state of the same prior, without its tensors."""
        made = type(self).__new__(type(self))
        made._decoder, made._settings, made.counts = self._decoder, settings, counts
        made._guided = _guided_rows(settings)
        return made


def _guided_rows(settings: Sequence[RowSettings]) -> list[int]:
    return [row for row, own in enumerate(settings) if own.is_guided]


def _column(values_RN: Tensor, columns: Sequence[int]) -> Tensor:
    """Take from each row the value of a column of its own."""
    if len(set(columns)) == 1:
        return values_RN[:, columns[0]]
    return values_RN.gather(1, torch.tensor(columns, device=values_RN.device)[:, None])[:, 0]


def _column_put(values_RN: Tensor, columns: Sequence[int], new_R: Tensor) -> None:
    """Write a value of each row at a column of its own."""
    if len(set(columns)) == 1:
        values_RN[:, columns[0]] = new_R
    else:
        values_RN.scatter_(1, torch.tensor(columns, device=values_RN.device)[:, None], new_R[:, None])
