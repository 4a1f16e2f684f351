"""The images on their way: a row of one generation's state for each, which every step serves all at once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from dar.generation.state import Denoised, GenerationState
from dar.pipeline import DARPipeline
from dar.serve.jobs import Event, Finished, Job, Listener, Previewed, Ticket

QUIET_SHARE = 4
"""The share of an image's tokens, one part of so many, that others may draw while it waits to be denoised with them;
where previews are wanted it waits for one group of tokens at most."""


@dataclass(eq=False)
class Accepted:
    """A job, whom to tell, and since when it has been running."""

    job: Job
    listener: Listener
    ticket: Ticket = field(default_factory=Ticket)
    started: float = 0.0
    ready_since: int | None = None  # the token step at which its next denoising step could run


class Batch:
    """Generates images that begin at any token step and have positions, classes, seeds and settings of their own.

    Args:
        pipe: the model.

    Attributes:
        images: the jobs, a row of the state each.
    """

    def __init__(self, pipe: DARPipeline) -> None:
        self.images: list[Accepted] = []
        self._pipe = pipe
        self._state: GenerationState | None = None
        self._token_steps = 1

    def __len__(self) -> int:
        return len(self.images)

    def begin(self, alike: Sequence[Accepted]) -> None:
        """Begin jobs that differ in their seeds only; they share what is computed of their prefix."""
        job, now = alike[0].job, time.monotonic()
        prefix = torch.tensor([job.prefix], dtype=torch.int64)
        state = GenerationState(
            self._pipe.tokenizer, self._pipe.prior, [job.class_index], [job.seed], [job.settings], prefix
        )
        if len(alike) > 1:
            state = state.fork([one.job.seed for one in alike])
        self._state = state if self._state is None else GenerationState.joined([self._state, state])
        for one in alike:
            one.started = now
        self.images += alike

    def advance(self) -> list[tuple[Accepted, Event]]:
        """Run the denoising steps that can run, if one is due, or else draw a token of every image.

        A step waits for those of other images, while their tokens are drawn: one call of the network for many takes
        half of the time of a call for each.

        Returns:
            What the step has made, and of which jobs; those that are finished have left the batch.
        """
        state = self._state
        if state is None:
            return []
        ready, drawable = state.ready(), state.drawable()
        for row, one in enumerate(self.images):
            one.ready_since = None if row not in ready else one.ready_since or self._token_steps
        if ready and (not drawable or len(ready) == len(state) or any(self._is_due(row) for row in ready)):
            return self._made(state, state.denoise())
        state.draw()
        self._token_steps += 1
        return []

    def remove(self, leaving: Sequence[Accepted]) -> None:
        """Free the rows of jobs."""
        kept = [row for row, one in enumerate(self.images) if one not in leaving]
        if len(kept) == len(self):
            return
        assert self._state is not None
        self._state = self._state.select(kept) if kept else None
        self.images = [self.images[row] for row in kept]

    def clear(self) -> None:
        """Free all rows, whatever has become of their state."""
        self.images, self._state = [], None

    def _is_due(self, row: int) -> bool:
        """Tell whether an image has waited for others as long as it may, in tokens."""
        one, config = self.images[row], self._pipe.tokenizer.config
        patience = config.tokens_per_group if one.job.previews else config.num_tokens // QUIET_SHARE
        return self._token_steps - (one.ready_since or 0) >= patience

    def _made(self, state: GenerationState, denoised: Denoised) -> list[tuple[Accepted, Event]]:
        """Collect what a denoising step has made."""
        made: list[tuple[Accepted, Event]] = []
        for row, step, pixels in zip(denoised.rows, denoised.steps, denoised.pixels, strict=True):
            one = self.images[row]
            if state.is_finished(row):
                made.append((one, Finished(pixels.cpu(), tuple(state.tokens[row].tolist()))))
            elif one.job.previews:
                known = max(len(one.job.prefix), state.tokens_seen(row))  # others may have been drawn while it waited
                tokens = tuple(state.tokens[row, :known].tolist())
                made.append((one, Previewed(step, state.num_steps(row), pixels.cpu(), tokens)))
        self.remove([one for one, event in made if isinstance(event, Finished)])
        return made
